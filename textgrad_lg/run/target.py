"""Target: what an optimisation run makes better. A graph of this process, or one that is deployed elsewhere."""

# LangGraph ships no stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textgrad_lg.errors import GraphError, TraceError
from textgrad_lg.overlay import Given, Watch, overlay, through_doors, unbind
from textgrad_lg.record import Discovery, discover, record
from textgrad_lg.record.settings import check_reached, declared, with_context
from textgrad_lg.run.deploy import from_registry
from textgrad_lg.run.invoke import as_graph, invoke

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from langgraph.pregel import Pregel

    from textgrad_lg.domain import Domain
    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.replay import Replay
    from textgrad_lg.run.schedule import Schedule
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run that is wanted of a Target.

    Attributes:
        inputs: The graph's input.
        texts: The texts in force: those that differ from the graph's own.
        config: What the user wants each run to be given, in the shape of a `RunnableConfig`.
        thread: A thread id that was never used before.
        trace: The id that the Trace shall have.
        example: The id of the Example.
        meter: Admits every model call.
        seen: Told the model of every call.
        memo: Answers the calls that earlier runs made; None where all are made. A Target whose runs it cannot reach
            leaves it alone.
    """

    inputs: Any
    texts: Texts
    config: Mapping[str, Any]
    thread: str
    trace: str
    example: str
    meter: Meter
    seen: Callable[[BaseChatModel], None] | None = None
    memo: Replay | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a Job.

    Attributes:
        outputs: The graph's output; None where it raised.
        trace: The recorded run; None where nothing was recorded.
        error: What the graph raised.
    """

    outputs: Any
    trace: Trace | None
    error: Exception | None = None


class Target(Protocol):
    """What an optimisation run makes better."""

    @property
    def name(self) -> str:
        """The graph's name; its prompts are named by it in a registry."""
        ...

    @property
    def state(self) -> str:
        """What its runs depend on besides their texts and inputs, as far as this is known; a run goes on only under the same."""
        ...

    async def run(self, job: Job, schedule: Schedule) -> Ran:
        """Run the graph once, recorded, under the texts of the job. What the graph raises is returned, not raised."""
        ...

    def discover(self, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Find the Parameters; see `record.discover`."""
        ...

    def extend(self, found: Discovery, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Add the Parameters of places that only these runs reached; see `Discovery.extend`."""
        ...

    def improved(self, registry: PromptRegistry) -> Any:
        """What the user gets as `result.graph`: it runs with the registry's production texts."""
        ...

    def check(self) -> None:
        """Asked before the production label is moved.

        Raises:
            VersionConflict: Somebody else has published to it since the run began.
        """
        ...

    def published(self, registry: PromptRegistry) -> None:
        """Told after the production label was moved, by a run or by a rollback.

        Raises:
            VersionConflict: As in `check`.
            GraphError: It cannot be reached. In both cases the label is put back where it was.
        """
        ...


@runtime_checkable
class Deployed(Protocol):
    """Something that is deployed elsewhere, and can be made a Target."""

    def target(self) -> Target:
        """It as it is now.

        Raises:
            GraphError: It cannot be reached, or is not there.
        """
        ...


def as_target(graph: object, domains: Mapping[str, Domain] | None = None) -> tuple[Target, Texts]:
    """What `optimize` is to make better, and the texts that were laid over it before, in which it starts.

    Args:
        graph: The graph.
        domains: The settings that may be changed, by their printed Sites.

    Raises:
        UnknownParameter: One of `domains` is not the name of a setting.
        DomainError: What stands for its domain is none.
        GraphError: `graph` is neither a compiled graph nor something deployed.
    """
    if any(kind.__name__ == "RemoteGraph" and kind.__module__.startswith("langgraph.") for kind in type(graph).__mro__):
        raise GraphError(
            "a RemoteGraph can be run from here, and says nothing of its prompts; pass the assistant behind it: "
            "optimize(Assistant.of(remote_graph), evals), with Assistant from textgrad_lg_integrations.langgraph_server"
        )
    if isinstance(graph, Deployed):
        if domains:
            raise GraphError(
                "domains: the settings of a graph that is deployed elsewhere are out of reach from here; give "
                "optimize the graph itself, or leave domains out"
            )
        return graph.target(), {}
    # A bound graph is made better from the texts it has now, and not laid over them.
    compiled, start = unbind(as_graph(graph))
    return LocalGraph(compiled, declared(domains or {})), start


def _steady() -> Callable[[], float]:
    """A clock that begins with the time of day and never goes back, whatever becomes of the machine's."""
    began = time.time() - time.monotonic()
    return lambda: began + time.monotonic()


@dataclass(frozen=True, slots=True)
class LocalGraph:
    """A compiled graph of this process."""

    graph: Pregel[Any, Any, Any, Any]
    domains: Mapping[Site, Domain] = field(default_factory=dict["Site", "Domain"])

    @property
    def name(self) -> str:
        """The graph's name."""
        return self.graph.get_name()

    @property
    def state(self) -> str:
        """Nothing is known: a graph's own text shows only as it runs."""
        return ""

    async def run(self, job: Job, schedule: Schedule) -> Ran:
        """Run the graph under an overlay and a recorder."""
        outputs: Any = None
        error: Exception | None = None
        watch = Watch(frozenset(self.domains))
        config, told = self._config(job)
        with (
            record(example=job.example, ids=lambda: job.trace, clock=_steady()) as recording,
            overlay(job.texts, meter=job.meter, seen=job.seen, watch=watch if self.domains else None),
            nullcontext() if job.memo is None else job.memo.in_force(),
        ):
            try:
                outputs = await invoke(self.graph, job.inputs, config, job.thread, schedule)
            except Exception as raised:  # noqa: BLE001  any exception of the user's graph is a result, not our failure
                error = raised
        try:
            trace = recording.trace
            trace = with_context(trace, told)
            trace = replace(trace, warnings=(*trace.warnings, *watch.notes)) if watch.notes else trace
        except TraceError:
            trace = None
        return Ran(outputs, trace, error)

    def _config(self, job: Job) -> tuple[Mapping[str, Any], dict[Site, str]]:
        """The config of a run with the settings in force that come in by it, and what these are."""
        config = job.config
        given = Given(config.get("context"), config.get("configurable") or {})
        new, told = through_doors(self.graph.context_schema, given, job.texts, self.domains)
        context = {} if new.context is None else {"context": new.context}
        configurable = {"configurable": new.configurable} if new.configurable else {}
        return {**config, **context, **configurable}, told

    def discover(self, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Find the Parameters in the runs and in the graph's code."""
        unreached = check_reached(traces, self.domains, self.graph.nodes)
        found = discover(traces, self.graph, only=only, domains=self.domains)
        return replace(found, warnings=(*found.warnings, *unreached)) if unreached else found

    def extend(self, found: Discovery, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Add the Parameters of places that only these runs reached."""
        return found.extend(traces, self.graph, only=only)

    def improved(self, registry: PromptRegistry) -> Any:
        """A copy of the graph that is bound to the registry."""
        return from_registry(self.graph, registry)

    def check(self) -> None:
        """Nothing: the registry itself compares and swaps."""

    def published(self, registry: PromptRegistry) -> None:
        """Nothing: a bound graph asks the registry at each run."""
