import type { Registration } from "./model.js"
import { mismatch, type SubscriptionMismatch } from "./storeErrors.js"

/** Tells whether a version is new, known, or does not fit the versions of its name that are stored. */
export const verdict = (
  versions: ReadonlyArray<Pick<Registration, "version" | "kind" | "definition">>,
  registration: Registration
): "New" | "Known" | SubscriptionMismatch => {
  const { definition, kind, version } = registration
  if (versions.some((one) => one.kind !== kind)) return mismatch(registration, "OtherDefinition")
  const known = versions.find((one) => one.version === version)
  if (known !== undefined) return known.definition === definition ? "Known" : mismatch(registration, "OtherDefinition")
  return versions.some((one) => one.version > version) ? mismatch(registration, "OlderVersion") : "New"
}
