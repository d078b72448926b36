import { InvalidOption } from "../InvalidOption.js"

const oldest = [20, 19]

/**
 * Says why nothing here can work on a Node.js that is too old, which would otherwise fail much later, at the first
 * `crypto` that is not there. A browser, and any other platform that does not say that it is Node.js, passes.
 *
 * @internal
 */
export const platformProblem = (version: string | undefined): InvalidOption | undefined => {
  const [major, minor = 0] = (version ?? "").split(".").map(Number)
  return version === undefined || !(major < oldest[0] || (major === oldest[0] && minor < oldest[1]))
    ? undefined
    : new InvalidOption({
      option: "The version of Node.js that runs effect-eventsourcing",
      value: version,
      expected: `${oldest.join(".")} or newer`
    })
}

/** @internal */
export const nodeVersion = (): string | undefined => globalThis.process?.versions?.node
