"""The callback handler: notes what happens while a graph runs, one tuple when a run starts and one when it ends.

This is the hot path, so what is noted (`notes.py`) is put together elsewhere (`runs.py`), when the Trace is read: here are
references, and copies only of what a node may change in place (`snapshot.py`).
"""

from __future__ import annotations

from asyncio import _get_running_loop, current_task  # pyright: ignore[reportPrivateUsage]  # as in `asyncio.events`
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from operator import itemgetter
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import ParentCommand
from typing_extensions import override

from textgrad_lg.record.notes import (
    CALL,
    NAMESPACE,
    TASK,
    THREAD,
    TRIGGERS,
    Failed,
    Fork,
    Key,
    Log,
    Previous,
    Reply,
    Said,
    Used,
)
from textgrad_lg.record.snapshot import snapshot

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.documents import Document

    from textgrad_lg.record.uses import Use


_TASK = itemgetter(*TASK)
_PROMPTS = (SystemMessage, HumanMessage)
_ENTRY = ("__start__",)

_Known = tuple[list[tuple[Any, ...]], int, object, object]
"""What those that start inside a run must know of it, as a plain tuple, too: where they are noted, the thread or asyncio
task that it was started in, its LangGraph namespace, and if it is a graph's task, what triggered it, else None."""

# The fork that the current context is in. A context copied for a new thread or task carries it along.
_FORK: ContextVar[Fork | None] = ContextVar("textgrad_lg_fork", default=None)


class RunLog(BaseCallbackHandler):
    """The callback handler: notes each run and nothing more.

    Not a `BaseTracer`: LangGraph redacts what tracers get. `run_inline` keeps it out of the executor in async graphs,
    where every event would otherwise be a thread hop.

    Args:
        clock: Gives the time in seconds.
        started: Called with each outermost run, and the id of the run around it that is not known here, if any.
    """

    run_inline = True
    # As properties, as which they are inherited, they are a call for each event.
    ignore_chain = ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = False  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, clock: Callable[[], float], started: Callable[[Log, UUID | None], None]) -> None:
        super().__init__()
        self._known: dict[object, _Known] = {}
        self._texts: dict[str, str] = {}
        self.closed = False
        self._clock = clock
        self._started = started

    def close(self) -> None:
        """Forget all runs and take no more events."""
        self.closed = True
        self._known, self._texts = {}, {}
        self._started = _ignore

    def knows(self, run_id: UUID | None) -> bool:
        """Whether a run was noted here."""
        return getattr(run_id, "int", run_id) in self._known

    def use(self, run_id: UUID, use: Use) -> bool:
        """Note a prompt that a run's code used, from any thread; returns whether the run is known here."""
        key: Any = getattr(run_id, "int", run_id)
        known = self._known.get(key)
        if known is not None:
            known[0].append(Used(key, use))
        return known is not None

    @override
    def on_chain_start(  # noqa: C901  in one piece, which is faster
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_type: str | None = None,
        name: str | None = None,
        kind: str = "chain",
        extra: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Few calls and few objects: in a graph whose nodes do little, this is most of what recording costs.
        if self.closed:
            return
        if run_type == "prompt":
            kind = run_type
        key: Any = getattr(run_id, "int", run_id)
        around: Any = getattr(parent_run_id, "int", parent_run_id)
        parent = self._known.get(around)
        # Not `current_task()` alone: outside a loop it raises, which takes longer than all the rest of this.
        loop = _get_running_loop()
        # One number for threads and tasks: no thread has an object's address for its name.
        place = get_ident() if loop is None else id(current_task(loop) or loop)
        namespace = metadata.get(NAMESPACE) if metadata else None
        log = triggers = fork = None
        told: Any = metadata
        if parent is None:
            log = Log()
            notes = log.notes
        else:
            notes, its_place, its_namespace, its_triggers = parent
            if not namespace or metadata is None:
                pass  # outside any graph
            elif namespace == its_namespace:
                told = (namespace,) if kind == "chain" else tuple(map(metadata.get, CALL))
            elif kind == "chain":
                tags = None  # the number of the step, which is in the metadata too
                triggers = metadata.get(TRIGGERS, ())
                if THREAD not in metadata:
                    try:  # noqa: SIM105  `suppress` takes as long as all the rest
                        told = _TASK(metadata)
                    except KeyError:
                        pass
            if its_triggers == _ENTRY:
                self._known[around] = notes, its_place, its_namespace, ()
                _note_previous(notes, around)
            # The tasks that a graph runs are in its own order, so theirs need not be noted.
            if place != its_place and (triggers is None or its_triggers is not None):
                fork = _forked(around, place)
        name = name or (serialized or {}).get("name")
        at = self._clock()
        notes.append((key, around, kind, name, told, tags, snapshot(inputs), id(inputs), extra, at, fork))
        self._known[key] = notes, place, namespace, triggers
        if log is not None:
            self._started(log, parent_run_id)

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
        sent = [at if at.id is not None else self._said(at) for at in messages[0]] if messages else []
        params = kwargs.get("invocation_params")
        run: Any = {"run_id": run_id, "parent_run_id": parent_run_id, "tags": tags, "metadata": metadata}
        self.on_chain_start(serialized, sent, **run, name=kwargs.get("name"), kind="llm", extra=params)

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
        params = kwargs.get("invocation_params")
        run: Any = {"run_id": run_id, "parent_run_id": parent_run_id, "tags": tags, "metadata": metadata}
        self.on_chain_start(serialized, list(prompts), **run, name=kwargs.get("name"), kind="llm", extra=params)

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
        run: Any = {"run_id": run_id, "parent_run_id": parent_run_id, "tags": tags, "metadata": metadata}
        self.on_chain_start(serialized, given, **run, name=kwargs.get("name"), kind="tool", extra=extra)

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
        run: Any = {"run_id": run_id, "parent_run_id": parent_run_id, "tags": tags, "metadata": metadata}
        self.on_chain_start(serialized, query, **run, name=kwargs.get("name"), kind="retriever")

    @override
    def on_chain_end(
        self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Any = None, **kwargs: Any
    ) -> None:
        # All that LangChain gives is named, because what is not would be put into a dict.
        key = getattr(run_id, "int", run_id)
        known = self._known.get(key)
        if known is not None:
            known[0].append((key, snapshot(outputs), self._clock()))

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self.on_chain_end(_reply(response), run_id=run_id)

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.on_chain_end(output, run_id=run_id)

    @override
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        self.on_chain_end(documents, run_id=run_id)

    @override
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, None, error)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, _reply(kwargs.get("response")), error)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, None, error)

    @override
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, None, error)

    def _said(self, message: BaseMessage) -> Any:
        """A message that was built for this call: its kind and text where that is all there is, and equal texts once."""
        kind, text = type(message), message.content
        told = message.additional_kwargs or message.response_metadata or message.name is not None
        if told or kind not in _PROMPTS or type(text) is not str:
            return message
        return Said(kind, self._texts.setdefault(text, text))

    def _fail(self, run_id: UUID, outputs: Any, error: BaseException) -> None:
        key: Any = getattr(run_id, "int", run_id)
        known = self._known.get(key)
        if known is not None:
            handoff = cast("Any", error).args[0] if isinstance(error, ParentCommand) else None
            known[0].append(Failed(key, snapshot(outputs), self._clock(), error, handoff))


def _note_previous(notes: list[tuple[Any, ...]], entrypoint: Key) -> None:
    """Note what an entrypoint was given by an earlier run: no callback tells it, but what it calls runs in its context."""
    config = var_child_runnable_config.get() or {}
    previous = getattr(config.get("configurable", {}).get("__pregel_runtime"), "previous", None)
    if previous is not None:
        notes.append(Previous(entrypoint, snapshot(previous)))


def _forked(parent: Key, place: int) -> Fork:
    """The fork that a run belongs to which starts at another place than the run around it."""
    current = _FORK.get()
    inherited = current if current is not None and current.parent == parent else None
    if inherited is not None and inherited.place == place:
        return inherited
    fork = Fork(parent, place, inherited)
    _FORK.set(fork)
    return fork


def _reply(response: LLMResult | None) -> Reply | None:
    if response is None:
        return None
    first = response.generations[0][0] if response.generations and response.generations[0] else None
    return Reply(first and (getattr(first, "message", None) or first.text), response.llm_output)


def _ignore(_log: Log, _parent: UUID | None) -> None:
    return
