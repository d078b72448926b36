import type { Registration } from "./model.js"
import { SubscriptionMismatch } from "./storeErrors.js"

/** Tells whether a version is new, known, or does not fit the versions of its name that are stored. */
export const verdict = (
  versions: ReadonlyArray<Pick<Registration, "version" | "kind" | "definition">>,
  { definition, kind, name, version }: Registration
): "New" | "Known" | SubscriptionMismatch => {
  const mismatch = (reason: SubscriptionMismatch["reason"]) =>
    new SubscriptionMismatch({ subscription: name, version, reason })
  if (versions.some((one) => one.kind !== kind)) return mismatch("OtherDefinition")
  const known = versions.find((one) => one.version === version)
  if (known !== undefined) return known.definition === definition ? "Known" : mismatch("OtherDefinition")
  return versions.some((one) => one.version > version) ? mismatch("OlderVersion") : "New"
}
