// What follows the feed in each process: the process manager and the read models.
import { Layer } from "effect"
import { Projection, Subscription } from "effect-eventsourcing"
import { Catalogue1, Catalogue2 } from "./catalogue.js"
import { Fulfilment } from "./fulfilment.js"
import { OrderList } from "./orderList.js"

/**
 * The first release has version 1 of the catalogue. The second one runs both versions, until version 2 is promoted and
 * no process of the first release is left. A third release would have version 2 alone.
 */
const catalogueOf = (release: 1 | 2) =>
  release === 1
    ? Projection.layer(Catalogue1)
    : Projection.layerVersions(Catalogue1, Catalogue2)

export const readers = (release: 1 | 2) =>
  Layer.mergeAll(
    catalogueOf(release),
    Projection.layer(OrderList),
    // orders that cannot be fulfilled are set aside, and wait for an operator
    Subscription.layer(Fulfilment, { concurrency: 8, poison: "parkStream" })
  )
