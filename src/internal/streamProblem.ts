import { maxAggregateBytes, maxIdBytes, type StreamId } from "../StreamId.js"
import { keyProblem } from "./text.js"

/** Says why no store can keep this stream. `undefined` if every store can. */
export const streamProblem = (stream: StreamId): string | undefined => {
  if (typeof stream !== "object" || stream === null) return "the stream is not one that StreamId.make returns"
  const aggregate = keyProblem(stream.aggregate, maxAggregateBytes)
  if (aggregate !== undefined) return `the aggregate name ${aggregate}`
  const id = keyProblem(stream.id, maxIdBytes)
  return id === undefined ? undefined : `the id ${id}`
}
