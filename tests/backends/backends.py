"""The three backends: how each is started, and how its own API is asked for what it holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from tests.backends.servers import ask, free_ports, running

HOME = Path(__file__).parents[2] / ".venv-backends"
"""Where `make` installs them."""


@dataclass(frozen=True)
class Seen:
    """A span as a backend gives it back; `parent` is empty for the root."""

    trace: str
    span: str
    parent: str
    name: str
    start: int
    failed: bool
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...] = ()


class Backend(Protocol):
    """A running backend.

    Attributes:
        url: Where OTLP is posted to.
        headers: What it asks for besides, as in `OTEL_EXPORTER_OTLP_HEADERS`.
    """

    url: str
    headers: str

    def spans(self, session: str) -> list[Seen]:
        """The spans of a session, found by its id."""
        ...

    def forms(self, session: str) -> dict[str, list[Any]]:
        """The session's traces in each form that the API offers and a reader takes."""
        ...


class Jaeger:
    """Jaeger all in one: its collector and its query service, in memory."""

    program = HOME / "jaeger" / "all-in-one"
    headers = ""

    def __init__(self, url: str, query: str) -> None:
        self.url, self.query = url, query

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator[Jaeger]:
        """Start it; it lives until the end of the block."""
        otlp, query, *others = free_ports(7)
        names = ("collector.otlp.grpc", "collector.grpc-server", "collector.http-server", "query.grpc-server")
        flags = {"collector.otlp.http": otlp, "query.http-server": query, "admin.http": others.pop()}
        flags |= dict(zip(names, others, strict=True))
        command = [cls.program, *(f"--{name}.host-port=127.0.0.1:{port}" for name, port in flags.items())]
        found = cls(f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{query}/api")
        with running(command, folder, f"{found.query}/services", {"SPAN_STORAGE_TYPE": "memory"}):
            yield found

    def spans(self, session: str) -> list[Seen]:
        return [self._seen(span) for trace in self._traces(session) for span in trace["spans"]]

    def trace(self, name: str) -> list[Seen]:
        """The spans of one trace."""
        return [self._seen(span) for span in ask(f"{self.query}/traces/{name}")["data"][0]["spans"]]

    def forms(self, session: str) -> dict[str, list[Any]]:
        traces = self._traces(session)
        third = [ask(f"{self.query}/v3/traces/{trace['traceID']}") for trace in traces]
        return {"/api/traces": [{"data": traces}], "/api/v3/traces": third}

    def _traces(self, session: str) -> list[Any]:
        tags = json.dumps({"session.id": session})
        return ask(f"{self.query}/traces?{urlencode({'service': 'textgrad_lg', 'tags': tags, 'limit': 1000})}")["data"]

    def _seen(self, span: Any) -> Seen:
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        up = [it for it in span["references"] if it["refType"] == "CHILD_OF" and it["traceID"] == span["traceID"]]
        others = (it for it in span["references"] if it not in up)
        return Seen(
            span["traceID"].rjust(32, "0"),
            span["spanID"].rjust(16, "0"),
            up[0]["spanID"].rjust(16, "0") if up else "",
            span["operationName"],
            span["startTime"],
            tags.get("otel.status_code") == "ERROR",
            tags,
            tuple((it["traceID"].rjust(32, "0"), it["spanID"].rjust(16, "0")) for it in others),
        )


class Phoenix:
    """Phoenix, with a database of its own in a folder."""

    program = HOME / "phoenix" / "bin" / "phoenix"
    headers = ""

    def __init__(self, url: str) -> None:
        self.url = url
        self.project = f"{url}/v1/projects/default"

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator[Phoenix]:
        """Start it; it lives until the end of the block."""
        port, grpc = free_ports(2)
        env = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        }
        found = cls(f"http://127.0.0.1:{port}")
        with running([cls.program, "serve"], folder, f"{found.url}/healthz", env):
            yield found

    def spans(self, session: str) -> list[Seen]:
        found = [
            Seen(
                span["context"]["trace_id"],
                span["context"]["span_id"],
                span["parent_id"] or "",
                span["name"],
                span["start_time"],
                span["status_code"] == "ERROR",
                span["attributes"],
            )
            for span in self._spans()
        ]
        return [span for span in found if span.trace in self.sessions().get(session, ())]

    def sessions(self) -> dict[str, list[str]]:
        """The ids of the traces of each session, by its id."""
        found = ask(f"{self.project}/sessions?limit=100")["data"]
        return {at["session_id"]: [trace["trace_id"] for trace in at["traces"]] for at in found}

    def forms(self, session: str) -> dict[str, list[Any]]:
        traces = self.sessions()[session]
        return {"/v1/projects/…/spans": [span for span in self._spans() if span["context"]["trace_id"] in traces]}

    def annotate(self, **about: Any) -> None:
        """Attach an annotation to a span."""
        ask(f"{self.url}/v1/span_annotations?sync=true", {"data": [about]})

    def annotations(self, span: str) -> list[Any]:
        """What is attached to a span."""
        return ask(f"{self.project}/span_annotations?span_ids={span}")["data"]

    def _spans(self) -> list[Any]:
        found, cursor = [], None
        while cursor is not None or not found:
            page = ask(f"{self.project}/spans?limit=500{f'&cursor={quote(cursor)}' if cursor else ''}")
            found += page["data"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        return found


class MLflow:
    """MLflow's tracking server, with a database of its own in a folder."""

    program = HOME / "mlflow" / "bin" / "mlflow"
    headers = "x-mlflow-experiment-id=0"

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator[MLflow]:
        """Start it; it lives until the end of the block."""
        (port,) = free_ports(1)
        store = f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}"
        command = [cls.program, "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", store]
        found = cls(f"http://127.0.0.1:{port}")
        env = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with running(command, folder, f"{found.url}/health", env):
            yield found

    def spans(self, session: str) -> list[Seen]:
        found = []
        for name in self._ids(session):
            data = ask(f"{self.url}/ajax-api/3.0/mlflow/get-trace-artifact?request_id={name}")
            found += [self._seen(name.removeprefix("tr-"), span) for span in data["spans"]]
        return found

    def forms(self, session: str) -> dict[str, list[Any]]:
        script = Path(__file__).with_name("mlflow_traces.py")
        python = self.program.with_name("python")
        done = subprocess.run([python, "-W", "ignore", script, self.url, session], capture_output=True, check=True)
        return {"mlflow.search_traces": [json.loads(line) for line in done.stdout.splitlines()]}

    def _ids(self, session: str) -> list[str]:
        where = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        wanted = f"metadata.`mlflow.trace.session` = '{session}'"
        body = {"locations": [where], "filter": wanted, "max_results": 100}
        return [trace["trace_id"] for trace in ask(f"{self.url}/api/3.0/mlflow/traces/search", body).get("traces", [])]

    def _seen(self, trace: str, span: Any) -> Seen:
        return Seen(
            trace,
            _hex(span["span_id"]),
            _hex(span["parent_span_id"] or ""),
            span["name"],
            span["start_time_unix_nano"],
            span["status"]["code"] == "STATUS_CODE_ERROR",
            {key: json.loads(value) for key, value in span["attributes"].items()},
            tuple((link["trace_id"].removeprefix("tr-"), link["span_id"]) for link in span["links"]),
        )


def _hex(text: str) -> str:
    import base64

    return base64.b64decode(text).hex()
