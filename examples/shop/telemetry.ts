// Traces, metrics and logs by OpenTelemetry, if OTEL_EXPORTER_OTLP_ENDPOINT names a collector.
import { Otlp } from "@effect/opentelemetry"
import { FetchHttpClient } from "@effect/platform"
import { Config, Effect, Layer, Option } from "effect"
import { Metrics } from "effect-eventsourcing"

const exporting = (baseUrl: string) =>
  Otlp.layerJson({ baseUrl, resource: { serviceName: "shop" } }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.merge(Metrics.layerCommandMetrics)
  )

export const TelemetryLive = Layer.unwrapEffect(
  Effect.map(
    Config.option(Config.string("OTEL_EXPORTER_OTLP_ENDPOINT")),
    Option.match({ onNone: () => Layer.empty, onSome: exporting })
  )
)
