// Checks that a history whose subjects were erased folds to the erased state. It does not if `evolve` computes something
// from personal data, or keeps a part of it: the result would still be in snapshots that are not refused.
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Marks from "../personal/marks.js"
import * as Json from "../schema/json.js"
import { marker } from "../schema/personal.js"
import { concernsPersons } from "../schema/secrets.js"
import { differences } from "./difference.js"
import { attempt, type Checks, violate } from "./purity.js"
import { apart, thrown, valueOf } from "./report.js"
import type { Subject, Types } from "./subject.js"

/** Whether the law says something about an aggregate. */
export const concerns = <T extends Types>(subject: Subject<T>): boolean => concernsPersons(subject)

export const check = <T extends Types>(
  { checks, initial, stateFields, steps, subject }: {
    readonly checks: Checks
    readonly initial: () => T["State"]
    readonly stateFields: ReadonlySet<PropertyKey>
    readonly steps: ReadonlyArray<{ readonly event: T["Event"]; readonly state: T["State"] }>
    readonly subject: Subject<T>
  }
): void => {
  if (!checks.laws.includes("erasure") || steps.length === 0 || !concerns(subject)) return
  let state = initial()
  for (const [index, { event, state: full }] of steps.entries()) {
    if (!checks.inTime()) return
    const erased = eraseEvent(subject, event)
    const expected = erase(subject.state.encode(full), subject.state.decode)
    // what cannot be stored breaks other laws
    if (Either.isLeft(erased) || Either.isLeft(expected)) return
    const before = state
    checks.onCall("evolve")
    const next = attempt(() => checks.globals.run(0, () => subject.evolve(before, erased.right)))
    const explain = `All subjects were erased, and the history was folded up to event ${index + 1}.`
    if (Either.isLeft(next)) {
      const evidence = [valueOf("event", erased.right), ...thrown(next.left)]
      return void violate(checks, "erasure", `${explain} evolve throws.`, evidence, hint)
    }
    state = next.right
    const found = differences(expected.right, state, stateFields)
    if (found.length === 0) continue
    return void violate(checks, "erasure", `${explain} The state differs from the state whose data was erased.`, [
      valueOf("expected, the erased state", expected.right),
      valueOf("actual, by the erased events", state),
      apart(found, "expected", "actual")
    ], hint)
  }
}

const hint =
  "evolve looks into personal data, and keeps something that it found there. Keep the Personal value itself in " +
  "the state, and compute from it where it is shown."

const eraseEvent = <T extends Types>(
  { event: codec }: Subject<T>,
  event: T["Event"]
): Either.Either<T["Event"], unknown> => {
  const decode = codec.decoder(codec.typeOf(event))
  return decode === undefined ? Either.left("unknown") : erase(codec.encode(event), decode)
}

const erase = <A>(
  encoded: Either.Either<unknown, unknown>,
  decode: (json: unknown) => Either.Either<A, unknown>
): Either.Either<A, unknown> =>
  Either.gen(function*() {
    const text = yield* Either.flatMap(encoded, Json.stringify)
    const marked = Marks.find(text)
    for (const { form, replace } of marked?.marks ?? []) {
      if (form._tag === "Clear") replace({ [marker]: form.subject, erased: true })
    }
    const written = marked === undefined ? text : Option.getOrElse(marked.write(), () => text)
    return yield* Either.flatMap(Json.parse(written), decode)
  })
