"""The Trace in the making: Spans as they are opened, in the order of their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.errors import GraphBubbleUp

from textgrad_lg.record.lineage import Lineage
from textgrad_lg.record.order import arranged
from textgrad_lg.record.values import Converter
from textgrad_lg.site import call_path
from textgrad_lg.trace import Span
from textgrad_lg.types import JSON, SpanKind

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from textgrad_lg.record.runs import Run


T = TypeVar("T")


class Draft:
    """What becomes a Trace.

    Attributes:
        convert: Makes JSON of the run's values; its warnings become the Trace's.
        lineage: The Variables and edges.
        spans: In the order of their ids.
        template: What is known of a `ChatPromptTemplate`, its variables and its origin, until the call that it fed is met; by the
            identity of the run that held both.
        images: The ids of the Variables that hold images, by the image as JSON text.
    """

    def __init__(self, root: Run) -> None:
        self.convert = Converter()
        self.lineage = Lineage()
        self.spans: list[Span] = []
        self.template: dict[int, dict[str, JSON]] = {}
        self.images: dict[str, str] = {}
        self._root = root
        self._visits: dict[tuple[SpanKind, tuple[str, ...], str], int] = {}
        # Apart, because what is converted only to find an order need not be in the Trace, nor its warnings.
        self._scratch = Converter()
        self._once: dict[Hashable, Any] = {}

    def once(self, value: T, key: Hashable = None) -> T:
        """The first of equal values, so that a Trace holds each once; `key` stands for one that cannot be hashed."""
        return self._once.setdefault(value if key is None else key, value)

    def open(
        self,
        run: Run,
        kind: SpanKind,
        name: str,
        parent: str | None,
        *,
        attributes: dict[str, JSON] | None = None,
        visit: int | None = None,
        path: tuple[str, ...] | None = None,
    ) -> Span:
        """Add a Span; `visit` is given for a further attempt at the same visit, `path` where it is known."""
        if path is None:
            path = self.once(call_path(run.metadata)[0])
        if visit is None:
            visit = self._visits.get((kind, path, name), 0)
            self._visits[kind, path, name] = visit + 1
        if run.end is None:
            self.convert.warnings[f"{kind} `{name}` had not ended when its run did"] = None
        span = Span(
            id=f"s{len(self.spans)}",
            kind=kind,
            name=name,
            parent=parent,
            path=path,
            visit=visit,
            error=error_text(run),
            start=run.start - self._root.start,
            end=(self._root.end or run.start if run.end is None else run.end) - self._root.start,
            attributes={**(attributes or {}), "run_id": run.id},
        )
        self.spans.append(span)
        return span

    def arranged(self, run: Run, children: Iterable[Run] | None = None) -> list[Run]:
        """A run's children, or some of them, in an order that does not depend on timing."""
        return arranged(list(run.children if children is None else children), run.main, self._scratch)


def failed(run: Run) -> bool:
    """Whether a run raised an error. LangGraph's control flow is raised as well; it is told apart by its type."""
    return run.error is not None and not isinstance(run.error, GraphBubbleUp)


def error_text(run: Run) -> str | None:
    """A run's error in words; None where there is none."""
    if not failed(run):
        return None
    kind, text = type(run.error).__name__, str(run.error)
    # An exception's text is the user's, and may hold what UTF-8 cannot.
    return (f"{kind}: {text}" if text else kind).encode("utf-8", "replace").decode()


def dotted(span: str, side: str, field: str) -> str:
    """The id of a Variable of one field: `s0.in.question`; `s0.in` where the state is not a mapping."""
    return f"{span}.{side}.{field}" if field else f"{span}.{side}"
