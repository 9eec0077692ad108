"""Phoenix as a place to attach Gradients to: each is an annotation of a span, by its REST API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.errors import DataError

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_integrations.annotate import Annotation

_BATCH = 100
"""Annotations in one request."""
_SPAN_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Phoenix:
    """Attaches annotations to spans.

    Attributes:
        endpoint: The server's address, as in `http://localhost:6006`.
        headers: Sent with each request, as in `{"authorization": "Bearer ..."}`. They are in no error's text.
        timeout: How long one request may take, in seconds.
    """

    endpoint: str = field(default="http://localhost:6006", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: float = 30.0

    def send(self, annotations: Iterable[Annotation]) -> None:
        """Attach the annotations; Phoenix puts one in the place of another of the same identifier. See `Annotator`."""
        import httpx

        address = f"{self.endpoint.rstrip('/')}/v1/span_annotations"
        data = [_data(annotation) for annotation in annotations]
        for batch in _batches(data):
            try:
                answer = httpx.post(
                    address,
                    params={"sync": "true"},
                    json={"data": batch},
                    headers=dict(self.headers),
                    timeout=self.timeout,
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                # Without its cause: that may quote the request, and a request carries the headers.
                raise DataError(
                    f"Phoenix could not be reached ({type(error).__name__}): is the server running, and is `endpoint` its "
                    "address?"
                ) from None
            if not answer.is_success:
                raise DataError(
                    f"Phoenix did not take the annotations (HTTP {answer.status_code}). With 404 it does not have the spans: "
                    "annotate a Trace that was read from it. With 401 or 403 it asks for `headers`"
                )


def _batches(data: list[JSON]) -> Iterable[list[JSON]]:
    return (data[at : at + _BATCH] for at in range(0, len(data), _BATCH))


def _data(annotation: Annotation) -> JSON:
    if not _SPAN_ID.fullmatch(annotation.span):
        raise DataError(
            f"{annotation.span!r} is not the id of an OpenTelemetry span. Annotate a Trace that was read from Phoenix"
        )
    return {
        "span_id": annotation.span,
        "name": annotation.key,
        "annotator_kind": "LLM",
        "result": {"score": annotation.score, "explanation": annotation.text},
        "metadata": dict(annotation.metadata),
        "identifier": annotation.key,
    }
