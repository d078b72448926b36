import { InvalidOption } from "../InvalidOption.js"

/**
 * Says why a version of Node.js is refused. These are the `engines` of package.json: an older one fails much later, at the
 * first `crypto` that is not there, or (21, and 22 before 22.3) cannot tell that a database file is gone, as it has no
 * `process.getBuiltinModule`. A browser, and any other platform that does not say that it is Node.js, passes.
 *
 * @internal
 */
export const platformProblem = (version: string | undefined): InvalidOption | undefined => {
  const [major, minor = 0] = (version ?? "").split(".").map(Number)
  const isTooOld = major < 20 || (major === 20 && minor < 19) || major === 21 || (major === 22 && minor < 12)
  return version === undefined || !isTooOld
    ? undefined
    : new InvalidOption({
      option: "The version of Node.js that runs effect-eventsourcing",
      value: version,
      expected: "20.19, or 22.12 or newer"
    })
}

/** @internal */
export const nodeVersion = (): string | undefined => globalThis.process?.versions?.node
