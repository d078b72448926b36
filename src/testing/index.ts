/**
 * Modules for the tests of an application.
 *
 * @since 0.1.0
 */
export * as AggregateLaws from "./AggregateLaws.js"
/** @since 0.1.0 */
export * as AggregateTest from "./AggregateTest.js"
/** @since 0.1.0 */
export * as CheckpointStoreContract from "./CheckpointStoreContract.js"
/** @since 0.1.0 */
export * as CheckpointFaults from "./CheckpointFaults.js"
/** @since 0.1.0 */
export * as Contract from "./Contract.js"
/** @since 0.1.0 */
export * as EventStoreContract from "./EventStoreContract.js"
/** @since 0.1.0 */
export * as Faults from "./Faults.js"
/** @since 0.1.0 */
export * as ProjectionTest from "./ProjectionTest.js"
/** @since 0.1.0 */
export * as SnapshotStoreContract from "./SnapshotStoreContract.js"
/** @since 0.1.0 */
export * as SqlFaults from "./SqlFaults.js"
/** @since 0.1.0 */
export * as StreamsContract from "./StreamsContract.js"
/** @since 0.1.0 */
export * as RecordingStores from "./RecordingStores.js"
