"""LangSmith as a place to attach Gradients to: each is feedback on a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from textgrad_lg.errors import DataError
from textgrad_lg_tracing.secrets import mask

if TYPE_CHECKING:
    from textgrad_lg_integrations.annotate import Annotation

_SPAN_ID_DIGITS = 16


class FeedbackWriter(Protocol):
    """The part of `langsmith.Client` that is used."""

    def create_feedback(self, run_id: Any = None, key: str = "unnamed", **fields: Any) -> Any:
        """Attach feedback to a run."""
        ...


@dataclass(frozen=True)
class LangSmith:
    """Attaches annotations as feedback.

    Attributes:
        client: A `langsmith.Client`; None for one that is made from the environment.
        project: The id of the project that the runs are in. LangSmith is going to ask for it; its SDK warns where it is
            missing.
    """

    client: FeedbackWriter | None = field(default=None, repr=False)
    project: UUID | str | None = None

    def send(self, annotations: Iterable[Annotation]) -> None:
        """Attach the annotations, one request each; see `Annotator`."""
        from langsmith import Client
        from langsmith.utils import LangSmithConflictError

        client = self.client if self.client is not None else cast("FeedbackWriter", Client())
        for annotation in annotations:
            run = run_id(annotation.span)
            ids = ",".join(map(str, cast("list[str]", annotation.metadata.get("textgrad.gradient.ids", []))))
            try:
                client.create_feedback(
                    run,
                    annotation.key,
                    score=annotation.score,
                    comment=annotation.text,
                    session_id=self.project,
                    source_info=dict(annotation.metadata),
                    feedback_source_type="model",
                    # The same feedback has the same id, so that LangSmith can tell that it has it.
                    feedback_id=uuid5(NAMESPACE_URL, f"{annotation.key} {run} {ids}"),
                )
            except LangSmithConflictError:
                continue
            except Exception as error:  # noqa: BLE001  the client raises what requests and its own checks raise
                # Without its cause: that may quote the request, and a request carries the key.
                told = mask(f"{type(error).__name__}: {error}")
                raise DataError(
                    f"LangSmith did not take feedback on run {run}: {told}. It needs LANGSMITH_API_KEY, or a client of yours, "
                    "and the run must be in its workspace"
                ) from None


def run_id(span: str) -> UUID:
    """The id by which LangSmith knows a span: its own, or for one that came by OTLP the span's id, filled up with zeros.

    Args:
        span: A UUID, or 16 hex digits.

    Raises:
        DataError: It is neither.
    """
    try:
        return UUID(int=int(span, 16)) if len(span) == _SPAN_ID_DIGITS else UUID(span)
    except ValueError as error:
        raise DataError(
            f"{span!r} is neither the id of a LangSmith run nor that of an OpenTelemetry span. Annotate a Trace that was "
            "read from LangSmith or from OTLP"
        ) from error
