// The aggregates of the shop as entities of a cluster.
import { Layer } from "effect"
import { SnapshotPolicy } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { Order, Orders } from "../shop/order.js"
import { Product, Products } from "../shop/product.js"

const ProductEntity = AggregateEntity.make(Product)
const OrderEntity = AggregateEntity.make(Order)

/** Runs a share of the products and orders in this process. */
export const EntitiesLive = Layer.merge(
  AggregateEntity.layer(ProductEntity, {
    snapshots: SnapshotPolicy.background({ every: 100 }),
    snapshotOnPassivation: { after: 20 }
  }),
  AggregateEntity.layer(OrderEntity)
)

/** The repositories of the shop, which call the entities wherever they are. */
export const RepositoriesLive = Layer.merge(
  AggregateEntity.repository(Products, ProductEntity),
  AggregateEntity.repository(Orders, OrderEntity)
)
