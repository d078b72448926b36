// the library with those of its internal parts that a simulation runs alone
export * from "../../src/index.js"
export * as Snapshotter from "../../src/internal/repository/snapshotter.js"
