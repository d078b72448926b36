import type { Peer } from "../peer.js"
import * as Castore from "./castore.js"
import * as Emmett from "./emmett.js"
import * as MessageDb from "./messageDb.js"

export const onSqlite = async (filename: string): Promise<ReadonlyArray<Peer>> => [await Emmett.onSqlite(filename)]

export const onPostgres = async (url: string): Promise<ReadonlyArray<Peer>> => [
  await Emmett.onPostgres(url),
  await Castore.onPostgres(url),
  await MessageDb.onPostgres(url)
]

export const inMemory = (): ReadonlyArray<Peer> => [Castore.inMemory()]

/** The peers that can follow the events of all streams. */
export const consumersOnPostgres = Emmett.consumerOnPostgres
