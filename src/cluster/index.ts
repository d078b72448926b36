/**
 * Aggregates that spread over the processes of a cluster.
 *
 * @since 0.1.0
 */
export * as AggregateEntity from "./AggregateEntity.js"
/** @since 0.1.0 */
export * as SqlCluster from "./SqlCluster.js"
