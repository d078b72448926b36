import { InvalidOption } from "../InvalidOption.js"

/**
 * Says why a version of Node.js is refused. These are the `engines` of package.json. An older version fails much later,
 * without `crypto`, or cannot tell that a database file is gone, without `process.getBuiltinModule`. Browsers and other
 * platforms pass.
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

export const nodeVersion = (): string | undefined => globalThis.process?.versions?.node
