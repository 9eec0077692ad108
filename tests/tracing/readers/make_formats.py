"""Writes `mlflow.json` and `mlflow_rest.json` in `data/formats`: the trace of `sample.py`, taken in and given out by MLflow's code.

It needs a package that the tests do not: an environment of its own with mlflow-skinny (3.17), opentelemetry-sdk and
opentelemetry-exporter-otlp-proto-common. Then, at the top of the checkout:

    PYTHONPATH=. python tests/tracing/readers/make_formats.py

The other files beside it were written by hand after the published shapes of each API, with the values of the same trace:
`jaeger.json` (query API), `phoenix.json` (`/v1/projects/{project}/spans`) and `phoenix_otlp.json` (`/spans/otlpv1` beside it),
`langfuse.json` (`/api/public/traces/{id}`). `phoenix_otlpv1_recorded.json.gz` is what Phoenix 20.26 answered when it had been sent
`../openinference.jsonl`.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.tracing.readers import sample

DATA = Path(__file__).parent / "data" / "formats"


def main() -> None:
    """Write the file."""
    from mlflow.entities import Span, Trace, TraceData, TraceInfo, TraceLocation, TraceState  # pyright: ignore[reportMissingImports]
    from mlflow.protos.service_pb2 import GetTrace  # pyright: ignore[reportMissingImports]
    from mlflow.utils.proto_json_utils import message_to_json  # pyright: ignore[reportMissingImports]

    group = sample.proto().resource_spans[0]
    spans = [Span.from_otel_proto(span) for scope in group.scope_spans for span in scope.spans]
    info = TraceInfo(
        trace_id=spans[0].trace_id,
        trace_location=TraceLocation.from_experiment_id("0"),
        request_time=sample.T0 // sample.MS,
        state=TraceState.OK,
    )
    DATA.mkdir(parents=True, exist_ok=True)
    trace = Trace(info, TraceData(spans))
    (DATA / "mlflow.json").write_text(json.dumps(trace.to_dict(), indent=1) + "\n")
    rest = json.loads(message_to_json(GetTrace.Response(trace=trace.to_proto())))
    (DATA / "mlflow_rest.json").write_text(json.dumps(rest, indent=1) + "\n")


if __name__ == "__main__":
    main()
