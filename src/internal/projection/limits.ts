/** Names are parts of primary keys. */
export const maxNameBytes = 255

export const maxPartitions = 1_024

/** The characters of the reason why a partition stopped or an event is parked. */
export const maxReason = 2_000
