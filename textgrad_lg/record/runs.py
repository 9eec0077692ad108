"""What the recorder keeps while a graph runs: one `Run` for each callback, with references and no conversion."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langgraph.errors import ParentCommand
from langgraph.types import Command
from pydantic import BaseModel
from typing_extensions import override

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.documents import Document


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


@dataclass(slots=True, eq=False)
class Run:
    """One run as the callbacks told it. Values are references; see `snapshot` for what is copied.

    Attributes:
        id: LangChain's run id.
        kind: "chain", "prompt", "llm", "tool" or "retriever".
        name: The run's name; may be empty.
        parent: The enclosing run; None for the outermost.
        metadata: What LangGraph and the user attached.
        tags: LangGraph's `graph:step:<n>` and `seq:step:<n>` among them.
        inputs: What it was given.
        raw: The very object it was given.
        extra: `invocation_params`, `tool_call_id`, `description` and the like.
        start: The clock's time, in seconds.
        place: The thread and the asyncio task that started it.
        lane: The lane of its parent that it belongs to.
        main: The lane of its own children that were started where it was.
        children: In the order of arrival, which depends on timing where there is concurrency.
        end: The clock's time, in seconds; None while it runs.
        outputs: What it returned.
        error: What it raised, control flow included.
        handoff: The `Command` that it raised to its parent graph, as it was then: LangGraph readdresses it later.
    """

    id: str
    kind: str
    name: str
    parent: Run | None
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    inputs: Any
    raw: Any
    extra: Mapping[str, Any]
    start: float
    place: tuple[int, int]
    lane: Lane
    main: Lane = field(default_factory=Lane)
    children: list[Run] = field(default_factory=list["Run"])
    end: float | None = None
    outputs: Any = None
    error: BaseException | None = None
    handoff: Any = None

    @property
    def namespace(self) -> str:
        """LangGraph's checkpoint namespace: the task that this run belongs to; empty outside any."""
        return str(self.metadata.get("langgraph_checkpoint_ns") or "")

    @property
    def is_node(self) -> bool:
        """Whether this run is a task of a graph: a node, or a `@task` of the functional API."""
        inherited = self.parent.namespace if self.parent else ""
        return self.kind == "chain" and self.namespace not in ("", inherited)


# The lane that the current context is in: whose children, where they were started, and the lane itself. A context copied
# for a new thread or task carries it along, which is how a fork is noticed.
_LANE: ContextVar[tuple[Run, tuple[int, int], Lane] | None] = ContextVar("textgrad_lg_lane", default=None)


class RunLog(BaseCallbackHandler):
    """The callback handler: notes each run and nothing more.

    Not a `BaseTracer`: LangGraph redacts what tracers get. `run_inline` keeps it out of the executor in async graphs,
    where every event would otherwise be a thread hop.

    Args:
        clock: Gives the time in seconds.
        started: Called with each outermost run, and the id of the run around it that is not known here, if any.
    """

    run_inline = True

    def __init__(self, clock: Callable[[], float], started: Callable[[Run, UUID | None], None]) -> None:
        super().__init__()
        self.runs: dict[UUID, Run] = {}
        self.closed = False
        self._clock = clock
        self._started = started

    def close(self) -> None:
        """Forget all runs and take no more events."""
        self.closed = True
        self.runs = {}

    @override
    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kind = "prompt" if kwargs.get("run_type") == "prompt" else "chain"
        self._start(
            kind,
            _name(serialized, kwargs),
            inputs,
            {},
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
        )

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        sent = list(messages[0]) if messages else []
        self._start(
            "llm",
            _name(serialized, kwargs),
            sent,
            kwargs,
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
        )

    @override
    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._start(
            "llm",
            _name(serialized, kwargs),
            list(prompts),
            kwargs,
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
        )

    @override
    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        given = input_str if inputs is None else inputs
        extra = {**kwargs, "description": (serialized or {}).get("description")}
        self._start(
            "tool",
            _name(serialized, kwargs),
            given,
            extra,
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
        )

    @override
    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._start(
            "retriever",
            _name(serialized, kwargs),
            query,
            {},
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
        )

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, outputs)

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, response)

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, output)

    @override
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, documents)

    @override
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, None, error)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, kwargs.get("response"), error)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, None, error)

    @override
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, None, error)

    def _start(
        self,
        kind: str,
        name: str,
        inputs: Any,
        extra: Mapping[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None,
        tags: list[str] | None,
        metadata: dict[str, Any] | None,
    ) -> None:
        if self.closed:
            return
        parent = self.runs.get(parent_run_id) if parent_run_id is not None else None
        place = _place()
        run = Run(
            str(run_id),
            kind,
            name,
            parent,
            metadata or {},
            tags or (),
            snapshot(inputs),
            inputs,
            extra,
            self._clock(),
            place,
            Lane() if parent is None else _lane(parent, place),
        )
        self.runs[run_id] = run
        if parent is None:
            self._started(run, parent_run_id)
        else:
            parent.children.append(run)

    def _end(self, run_id: UUID, outputs: Any, error: BaseException | None = None) -> None:
        run = self.runs.get(run_id)
        if run is None or run.end is not None:
            return
        run.outputs = snapshot(outputs)
        run.error = error
        if isinstance(error, ParentCommand):
            run.handoff = cast("Any", error).args[0]
        # Last: whoever sees an end sees all of the run.
        run.end = self._clock()


def snapshot(value: Any) -> Any:
    """A copy of a state's or update's own fields, and of the lists and dicts directly in them.

    Nodes change their state in place (`state["notes"].append(...)`), so what they were given must be kept apart from
    what they made of it. Anything deeper, and every message, is a reference: copying that would cost more than running
    many a node, and changing it in place is an error in LangGraph as well.
    """
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_copy(item) for item in cast("list[Any]", value)]
    if isinstance(value, (BaseMessage, LLMResult, Command)):
        return cast("Any", value)
    if isinstance(value, BaseModel):
        # Not `value.model_copy`, which a user's class may have overridden.
        return BaseModel.model_copy(value, update={key: _copy(item) for key, item in value.__dict__.items()})
    if is_dataclass(value) and not isinstance(value, type):
        # A mapping and not a copy: `__post_init__` and `init=False` stand in the way of copying.
        return {key: _copy(getattr(value, key)) for key in value.__dataclass_fields__ if hasattr(value, key)}
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return list(cast("list[Any]", value))
    if isinstance(value, dict):
        return dict(cast("dict[Any, Any]", value))
    return value


def _place() -> tuple[int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), 0 if task is None else id(task)


def _lane(parent: Run, place: tuple[int, int]) -> Lane:
    """The lane of `parent` that a run started now, at `place`, belongs to."""
    if place == parent.place:
        lane = parent.main
    else:
        current = _LANE.get()
        inherited = current if current is not None and current[0] is parent else None
        if inherited is not None and inherited[1] == place:
            lane = inherited[2]
        else:
            base = parent.main if inherited is None else inherited[2]
            lane = Lane(base, base.count)
            _LANE.set((parent, place, lane))
    lane.count += 1
    return lane


def _name(serialized: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> str:
    name = kwargs.get("name") or (serialized or {}).get("name") or ""
    return str(name)
