"""The runs of one recording as a tree: what LangChain's callbacks told, put together when the Trace is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from weakref import ReferenceType, ref

from textgrad_lg.record.notes import CALL, END, PREVIOUS, TASK, Failed, Fork, Previous, Said, Used, id_text

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.record.notes import Log
    from textgrad_lg.record.uses import Use

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Lane:
    """Runs of one parent that followed each other, because one thread and one asyncio task started them all.

    Attributes:
        base: The lane it forked from; None for the lane of the parent itself.
        at: How many runs `base` held when it forked.
        count: How many runs it holds.
    """

    base: Lane | None = None
    at: int = 0
    count: int = 0


@dataclass(slots=True, eq=False, weakref_slot=True)
class Run:
    """One run as the callbacks told it. Values are references; see `snapshot` for what is copied.

    Attributes:
        id: LangChain's run id as text.
        kind: "chain", "prompt", "llm", "tool" or "retriever".
        name: The run's name; may be empty.
        enclosing: A weak reference to the enclosing run, see `parent`; None for the outermost.
        metadata: What LangGraph and the user attached.
        tags: LangGraph's `graph:step:<n>` and `seq:step:<n>` among them.
        inputs: What it was given.
        raw: The `id()` of the very object it was given, which is not kept: what it holds would be kept with it.
        extra: `invocation_params`, `tool_call_id`, `description` and the like.
        start: The clock's time, in seconds.
        lane: The lane of its parent that it belongs to.
        main: The lane of its own children that were started where it was.
        children: In the order of arrival, which depends on timing where there is concurrency.
        end: The clock's time, in seconds; None while it runs.
        outputs: What it returned; of a model call the `Reply`.
        error: What it raised, control flow included.
        handoff: The `Command` that it raised to its parent graph, as it was then: LangGraph readdresses it later.
        uses: The prompts held by name that its own code used, in the order of arrival.
    """

    id: str
    kind: str
    name: str
    enclosing: ReferenceType[Run] | None
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    inputs: Any
    raw: int
    extra: Mapping[str, Any]
    start: float
    lane: Lane
    main: Lane = field(default_factory=Lane)
    children: list[Run] = field(default_factory=list["Run"])
    end: float | None = None
    outputs: Any = None
    error: BaseException | None = None
    handoff: Any = None
    uses: list[Use] = field(default_factory=list["Use"])

    @property
    def parent(self) -> Run | None:
        """The enclosing run, which is there as long as the outermost is; None for the outermost.

        Held weakly, so that runs are no cycle: they go when the last to hold them goes, and not when the garbage
        collector comes round, which would have to look at each of them.
        """
        return None if self.enclosing is None else self.enclosing()

    @property
    def namespace(self) -> str:
        """LangGraph's checkpoint namespace: the task that this run belongs to; empty outside any."""
        return str(self.metadata.get("langgraph_checkpoint_ns") or "")

    @property
    def is_node(self) -> bool:
        """Whether this run is a task of a graph: a node, or a `@task` of the functional API."""
        parent = self.parent
        inherited = parent.namespace if parent is not None else ""
        return self.kind == "chain" and self.namespace not in ("", inherited)


def to_run(log: Log) -> Run:
    """The outermost run of a log, with all that ran inside it."""
    runs: dict[int | str, Run] = {}
    lanes: dict[Fork, Lane] = {}
    said: dict[Said, BaseMessage] = {}
    # A copy: what was left running in the background may still note something.
    for note in log.notes[:]:
        if isinstance(note, Used):
            runs[note.run].uses.append(note.use)
        elif isinstance(note, Previous):
            run = runs[note.run]
            run.extra = {**run.extra, PREVIOUS: note.value}
        elif isinstance(note, Failed):
            run = runs[note.run]
            if run.end is None:
                run.outputs, run.end, run.error, run.handoff = note.outputs, note.end, note.error, note.handoff
        elif len(note) == END:
            run = runs[note[0]]
            # What ended twice, as a chain that raised in its last callback, ended the first time.
            if run.end is None:
                _, run.outputs, run.end = note
        else:
            key, around, kind, name, told, tags, inputs, raw, extra, start, fork = note
            parent = runs.get(around) if runs else None
            runs[key] = run = Run(
                id_text(key),
                kind,
                name or "",
                None if parent is None else ref(parent),
                _metadata(kind, told),
                tags or (),
                [_message(at, said) for at in inputs] if kind == "llm" else inputs,
                raw,
                {"invocation_params": extra} if kind == "llm" else extra or _NOTHING,
                start,
                Lane() if parent is None else _lane(parent, fork, lanes),
            )
            if parent is not None:
                parent.children.append(run)
    return next(iter(runs.values()))


def _message(sent: Any, known: dict[Said, BaseMessage]) -> Any:
    """A message that was sent; one object for all that say the same, as a prompt in a loop does each time."""
    if not isinstance(sent, Said):
        return sent
    if sent not in known:
        known[sent] = sent.kind(sent.text)
    return known[sent]


def _metadata(kind: str, told: Any) -> Mapping[str, Any]:
    if isinstance(told, tuple):
        # Of a chain that is no task, it is only the first.
        return dict(zip(TASK if kind == "chain" else CALL, cast("tuple[Any, ...]", told), strict=False))
    return told or _NOTHING


def _lane(parent: Run, fork: Fork | None, lanes: dict[Fork, Lane]) -> Lane:
    """The lane of `parent` that a run belongs to which was noted now."""
    lane = parent.main if fork is None else lanes.get(fork)
    if lane is None:
        assert fork is not None
        base = parent.main if fork.base is None else lanes.get(fork.base, parent.main)
        lanes[fork] = lane = Lane(base, base.count)
    lane.count += 1
    return lane
