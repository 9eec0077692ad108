"""Writes the traces in `data/`: one run of the graph in `desk.py` under each of the real instrumentations.

They need packages that the tests do not: an environment of its own with langgraph, langchain, langsmith, opentelemetry-sdk,
opentelemetry-exporter-otlp-json-file, openinference-instrumentation-langchain, opentelemetry-instrumentation-langchain
(traceloop's) and opentelemetry-instrumentation-genai-langchain (OpenTelemetry's own). Then, at the top of the checkout:

    PYTHONPATH=. python tests/tracing/readers/make_data.py
"""

# pyright: reportMissingImports=false
# The instrumentations are not among the packages of the tests.
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
PRODUCERS = ("openinference", "traceloop", "genai", "langsmith_otel", "langsmith_runs")


def main() -> None:
    """Run each producer in a process of its own, because instrumentation is process-wide."""
    if len(sys.argv) > 1:
        produce(sys.argv[1])
        return
    for producer in PRODUCERS:
        subprocess.run([sys.executable, __file__, producer], check=True, timeout=300)


def produce(producer: str) -> None:
    """Run the graph under one producer."""
    if producer == "langsmith_runs":
        langsmith_runs()
        return
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    path = DATA / f"{producer}.jsonl"
    path.unlink(missing_ok=True)
    provider = TracerProvider(resource=Resource.create({"service.name": "desk"}))
    provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(str(path))))
    instrument(producer, provider)
    run()
    if producer == "langsmith_otel":
        from langchain_core.tracers.langchain import wait_for_all_tracers
        from langsmith.run_trees import get_cached_client

        wait_for_all_tracers()
        get_cached_client().flush()
    provider.shutdown()
    lines = (
        json.dumps(scrubbed(json.loads(line)), ensure_ascii=False) for line in path.read_text("utf-8").splitlines()
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def scrubbed(value: Any) -> Any:
    """What was written, without what it says of the machine it was made on."""
    if isinstance(value, list):
        return [scrubbed(item) for item in value if not (isinstance(item, dict) and machine(item.get("key")))]
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if not machine(key)}
    return value


def machine(key: Any) -> bool:
    """Whether a key is that of something about the machine."""
    name = str(key).rpartition(".")[2]
    return name.startswith(("LANGSMITH", "LANGCHAIN")) or name in {"revision_id", "runtime"}


def instrument(producer: str, provider: Any) -> None:
    """Turn one producer on."""
    if producer == "openinference":
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument(tracer_provider=provider)
    elif producer == "traceloop":
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument(tracer_provider=provider)
    elif producer == "genai":
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
        from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor as Official

        Official().instrument(tracer_provider=provider)
    else:
        from opentelemetry import trace

        os.environ.update(LANGSMITH_TRACING="true", LANGSMITH_TRACING_MODE="otel", LANGSMITH_API_KEY="none")
        os.environ["LANGSMITH_ENDPOINT"] = "http://127.0.0.1:9"
        trace.set_tracer_provider(provider)


def run(**config: Any) -> None:
    """Run the graph once."""
    import desk

    desk.build().invoke(desk.inputs(), {**desk.config(), **config})


def langsmith_runs() -> None:
    """Run the graph under LangSmith's own tracer, and keep what it posts as the API gives it back."""
    from langchain_core.tracers import LangChainTracer
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from langsmith import Client
    from requests import Response, Session

    runs: dict[str, dict[str, Any]] = {}

    class Recorder(Session):
        def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Response:
            body = kwargs.get("data")
            if method in ("POST", "PATCH") and "/runs" in str(url) and body:
                told = json.loads(body)
                name = str(told.get("id") or str(url).rpartition("/")[2])
                runs.setdefault(name, {"id": name}).update({k: v for k, v in told.items() if v is not None})
            answer = Response()
            answer.status_code, answer._content = 200, b"{}"
            return answer

    client = Client("http://127.0.0.1:9", api_key="none", session=Recorder(), auto_batch_tracing=False)
    run(callbacks=[LangChainTracer(client=client)])
    wait_for_all_tracers()
    text = json.dumps(scrubbed(list(runs.values())), indent=1, ensure_ascii=False)
    (DATA / "langsmith_runs.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
