/** @since 0.1.0 */
export * as Aggregate from "./Aggregate.js"
/** @since 0.1.0 */
export * as CheckpointStore from "./CheckpointStore.js"
/** @since 0.1.0 */
export * as Event from "./Event.js"
/** @since 0.1.0 */
export * as EventStore from "./EventStore.js"
/** @since 0.1.0 */
export * as ExpectedVersion from "./ExpectedVersion.js"
/** @since 0.1.0 */
export * as InvalidOption from "./InvalidOption.js"
/** @since 0.1.0 */
export * as KeyStore from "./KeyStore.js"
/** @since 0.1.0 */
export * as Metrics from "./Metrics.js"
/** @since 0.1.0 */
export * as Personal from "./Personal.js"
/** @since 0.1.0 */
export * as Position from "./Position.js"
/** @since 0.1.0 */
export * as Postgres from "./Postgres.js"
/** @since 0.1.0 */
export * as Projection from "./Projection.js"
/** @since 0.1.0 */
export * as Projections from "./Projections.js"
/** @since 0.1.0 */
export * as Repository from "./Repository.js"
/** @since 0.1.0 */
export * as Retention from "./Retention.js"
/** @since 0.1.0 */
export * as Snapshot from "./Snapshot.js"
/** @since 0.1.0 */
export * as SnapshotPolicy from "./SnapshotPolicy.js"
/** @since 0.1.0 */
export * as SnapshotStore from "./SnapshotStore.js"
/** @since 0.1.0 */
export * as Sqlite from "./Sqlite.js"
/** @since 0.1.0 */
export * as SqlCheckpointStore from "./SqlCheckpointStore.js"
/** @since 0.1.0 */
export * as SqlEventStore from "./SqlEventStore.js"
/** @since 0.1.0 */
export * as SqlKeyStore from "./SqlKeyStore.js"
/** @since 0.1.0 */
export * as SqlMigrations from "./SqlMigrations.js"
/** @since 0.1.0 */
export * as SqlSnapshotStore from "./SqlSnapshotStore.js"
/** @since 0.1.0 */
export * as SqlStores from "./SqlStores.js"
/** @since 0.1.0 */
export * as StreamId from "./StreamId.js"
/** @since 0.1.0 */
export * as Streams from "./Streams.js"
/** @since 0.1.0 */
export * as Subscription from "./Subscription.js"
/** @since 0.1.0 */
export * as Tenants from "./Tenants.js"
/** @since 0.1.0 */
export * as Versions from "./Versions.js"
/** @since 0.1.0 */
export * as Wakeup from "./Wakeup.js"
