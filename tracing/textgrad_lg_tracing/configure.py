"""configure: a callback with a tracer provider of its own, for a file or for an OTLP endpoint."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from textgrad_lg.errors import TextgradError
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.exporter import Detail, OTelCallback

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from textgrad_lg_tracing.content import Redactor

_TRACES = "/v1/traces"


@dataclass
class Configured:
    """A callback and where its spans go; also a context manager that shuts both down.

    Attributes:
        callback: Give it to `optimize(..., callbacks=[...])`.
        provider: The tracer provider. It is not set as the provider of the process.
    """

    callback: OTelCallback
    provider: TracerProvider
    _down: bool = field(default=False, init=False, repr=False)

    def shutdown(self) -> None:
        """Write and send what is left, and stop. Once is enough; a second time does nothing."""
        if not self._down:
            self._down = True
            self.callback.close()
            self.provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


def configure(
    endpoint: str | Path,
    *,
    content: bool = False,
    redactor: Redactor | None = None,
    detail: Detail | str = Detail.NODES,
    limit: int = 16_000,
    sample: float = 1.0,
) -> Configured:
    """Send spans to a file or to an OTLP endpoint.

    Args:
        endpoint: The path of a `.jsonl` file, to which OTLP JSON is appended line by line; or the URL of a collector or
            backend, to which OTLP protobuf is posted. `/v1/traces` is added to a URL that does not end with it.
            Headers, such as a token, are read from `OTEL_EXPORTER_OTLP_HEADERS`. A user and password in the URL are sent as
            a header, and are no part of the address that the exporter may log.
        content: See `OTelCallback`.
        redactor: See `OTelCallback`.
        detail: See `OTelCallback`.
        limit: See `OTelCallback`.
        sample: See `OTelCallback`.

    Raises:
        TextgradError: `endpoint` is neither, or the extra `otlp` is not installed.
        OSError: The file cannot be written.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = _exporter(endpoint)
    provider = TracerProvider(resource=Resource.create({at.SERVICE_NAME: "textgrad_lg"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    callback = OTelCallback(provider, content=content, redactor=redactor, detail=detail, limit=limit, sample=sample)
    return Configured(callback, provider)


def _exporter(endpoint: str | Path) -> SpanExporter:
    text = str(endpoint)
    try:
        if isinstance(endpoint, str) and text.startswith(("http://", "https://")):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            address, headers = _address(text)
            return OTLPSpanExporter(endpoint=address, headers=headers)
        if text.endswith(".jsonl"):
            from opentelemetry.exporter.otlp.json.file import FileSpanExporter

            Path(endpoint).parent.mkdir(parents=True, exist_ok=True)
            return FileSpanExporter(endpoint)
    except ImportError as error:
        raise TextgradError(
            'OTLP needs an exporter that is not installed; install it with: pip install "textgrad-lg[otlp]"'
        ) from error
    # Not quoted: what was given may be a URL without its scheme, with a token in it.
    raise TextgradError("endpoint must be a URL (http://localhost:4318) or the path of a .jsonl file, and is neither")


def _address(url: str) -> tuple[str, dict[str, str] | None]:
    """The address of the traces, and the headers that go there; None for those of the environment alone."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    user, _, host = parts.netloc.rpartition("@")
    address = urlunsplit(parts._replace(netloc=host, path=path if path.endswith(_TRACES) else path + _TRACES))
    return address, {"authorization": "Basic " + b64encode(unquote(user).encode()).decode()} if user else None
