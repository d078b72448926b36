// The options of reads, which EventStore exports.

/**
 * The events of a stream that a reader wants, and their order.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadRange {
  /** The first version to read. Default 1. */
  readonly fromVersion?: number | undefined
  /** The last version to read. Default: up to the end. */
  readonly toVersion?: number | undefined
  /** Reads the newest event first, and ends at `fromVersion`. Default false. */
  readonly reverse?: boolean | undefined
}

/**
 * The options of `read`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadOptions extends ReadRange {
  /** The number of events in a page. Default 1,000. A page has at most 4,000, and at most about 16 MB or one event. */
  readonly pageSize?: number | undefined
}

/**
 * The options of `readEvents`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadEventsOptions extends ReadRange {
  /** The maximal number of events. If the result has as many, more may follow. */
  readonly limit: number
}
