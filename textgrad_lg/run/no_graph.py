"""NoGraph: what stands for the graph where there are only traces of it. It cannot be run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from textgrad_lg.errors import GraphError
from textgrad_lg.record import Discovery, discover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.schedule import Schedule
    from textgrad_lg.run.target import Job
    from textgrad_lg.trace import Trace


@dataclass(frozen=True, slots=True)
class NoGraph:
    """A Target without a graph.

    Attributes:
        name: The graph's name, as its traces have it.
    """

    name: str

    @classmethod
    def of(cls, traces: Sequence[Trace]) -> Self:
        """The graph that most of the traces are of."""
        names = Counter(trace.name for trace in traces)
        return cls(min(names, key=lambda name: (-names[name], name)))

    @property
    def state(self) -> str:
        """Nothing is known."""
        return ""

    async def run(self, job: Job, schedule: Schedule) -> NoReturn:
        """Refuse.

        Raises:
            GraphError: Always.
        """
        raise GraphError(f"example {job.example!r} cannot be run: there is no graph, only traces of it")

    def discover(self, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Find the Parameters in the traces."""
        return discover(traces, only=only)

    def extend(self, found: Discovery, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Add the Parameters of places that only these runs reached."""
        return found.extend(traces, only=only)

    def improved(self, registry: PromptRegistry) -> Any:
        """Nothing: there is no graph."""

    def check(self) -> None:
        """Nothing: nothing is published."""

    def published(self, registry: PromptRegistry) -> None:
        """Nothing: nothing is published."""
