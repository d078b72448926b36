import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, pipe } from "effect"
import { InvalidOption, StreamId } from "effect-eventsourcing"
import { murmur3 } from "../src/internal/murmur3.js"
import { byteOrder } from "../src/internal/text.js"

describe("the partition of a stream", () => {
  const texts = fc.string({ unit: "grapheme" })
  const streams = fc.tuple(texts, texts).map(([aggregate, id]) => StreamId.make(aggregate, id))

  it.prop("is a whole number below the number of partitions, always the same", [streams, fc.integer({ min: 1 })], ([
    stream,
    of
  ]) => {
    const partition = StreamId.partition(stream, of)
    assert.isTrue(Number.isInteger(partition) && partition >= 0 && partition < of, `${partition} of ${of}`)
    assert.strictEqual(StreamId.partition({ ...stream }, of), partition)
    assert.strictEqual(pipe(stream, StreamId.partition(of)), partition)
    assert.strictEqual(StreamId.partition(stream, 1), 0)
  })

  it("is the same in every release", () => {
    const partitions = [["Account", "a-1"], ["Account", "a-2"], ["Order", "a-1"], ["Ä", "😀"]].map(([aggregate, id]) =>
      StreamId.partition(StreamId.make(aggregate, id), 2 ** 32)
    )
    assert.deepStrictEqual(partitions, [1852841922, 3841641837, 371200854, 3414877690])
  })

  it("depends on the aggregate and on the id", () => {
    const streams = [StreamId.make("a", "bc"), StreamId.make("ab", "c"), StreamId.make("a", "bd")]
    assert.strictEqual(new Set(streams.map(StreamId.partition(2 ** 32))).size, 3)
  })

  it("spreads streams evenly, also those whose ids are even numbers", () => {
    for (const  of of[2, 3, 16]) {
      const counts = Array.from({ length: of }, () => 0)
      for (let n = 0; n < 1_000 * of; n++) counts[StreamId.partition(StreamId.make("Account", String(2 * n)), of)]++
      for (const count of counts) assert.isTrue(count > 850 && count < 1_150, `${counts}`)
    }
  })

  it("rejects a number of partitions that is not a whole number, 1 or more", () => {
    for (const  of of[0, -1, 1.5, NaN, Infinity]) {
      assert.throws(() => StreamId.partition(StreamId.make("a", "b"), of), InvalidOption.InvalidOption)
    }
  })

  it("is MurmurHash3", () => {
    const known: ReadonlyArray<readonly [text: string, hash: number]> = [
      ["", 0],
      ["a", 0x3c2569b2],
      ["hello", 0x248bfa47],
      ["hello, world", 0x149bbb7f],
      ["The quick brown fox jumps over the lazy dog", 0x2e4ff723]
    ]
    for (const [text, hash] of known) assert.strictEqual(murmur3(text), hash, text)
  })
})

describe("the order of texts by their bytes", () => {
  const texts = fc.string({ unit: fc.constantFrom("a", "b", "ä", "\uFFFD", "\uE000", "😀", "\u{10FFFF}") })

  it.prop("is that of their UTF-8", [texts, texts], ([a, b]) => {
    assert.strictEqual(Math.sign(byteOrder(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)))
  })
})
