"""What a server streams of a run, as a Trace: LangChain's events are its callbacks once more, and are read as such."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from langchain_core.messages import BaseMessage, messages_from_dict
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langgraph.types import Command, Send

from textgrad_lg.record.langgraph import to_trace
from textgrad_lg.record.log import RunLog
from textgrad_lg.record.notes import Log
from textgrad_lg.record.runs import to_run
from textgrad_lg_integrations.langgraph_server.plain import entries, items

if TYPE_CHECKING:
    from textgrad_lg.trace import Trace

_MESSAGES = frozenset({"human", "ai", "system", "tool", "AIMessageChunk", "HumanMessageChunk", "chat", "function"})
_COMMAND = frozenset({"graph", "update", "resume", "goto"})
_SEND = frozenset({"node", "arg"})


class EventLog:
    """Reads the events of one run.

    Args:
        name: The graph's name, where no event says it.
        inputs: The run's input.
        clock: Gives the time in seconds; events carry none.
    """

    def __init__(self, name: str, inputs: Any, clock: Callable[[], float]) -> None:
        self._name, self._inputs, self._clock = name, inputs, clock
        self._events: list[tuple[float, Mapping[str, Any]]] = []
        self._began_at = self._now = clock()
        self._log = RunLog(lambda: self._now, self._began)
        self._root: Log | None = None
        self._kinds: dict[UUID, str] = {}
        self._tool_calls: dict[UUID, str] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one event, in the form of `astream_events` version 2; an event of another kind is passed over."""
        # The pieces of a reply stand in its end once more.
        if not str(event.get("event", "")).endswith("_stream"):
            self._events.append((self._clock(), event))

    def trace(self, outputs: Any, error: BaseException | None, *, id: str, example: str) -> Trace:  # noqa: A002
        """The Trace of the run, which has ended; to be asked for once.

        Args:
            outputs: What it gave.
            error: What it raised; None where it did not raise. Whatever had not ended is taken to have raised it.
            id: The Trace's id.
            example: The Example's id.
        """
        ended = self._clock()
        for _, event in self._events:
            # Which call a tool answers is said by what it returns, and wanted where it starts.
            answer = entries(entries(event.get("data")).get("output"))
            if event.get("event") == "on_tool_end" and "tool_call_id" in answer:
                with suppress(ValueError):
                    self._tool_calls[UUID(str(event.get("run_id")))] = str(answer["tool_call_id"])
        for at, event in self._events:
            self._now = at
            with suppress(ValueError):
                self._tell(event)
        if self._root is None:
            self._now = self._began_at
            self._start("chain", uuid4(), {"name": self._name}, {"input": self._inputs})
        assert self._root is not None
        self._now = ended
        if error is not None:
            for run, kind in reversed(self._kinds.items()):
                self._error(kind, run, error)
        else:
            self._log.on_chain_end(outputs, run_id=UUID(self._root.id))
        return to_trace(to_run(self._root), id=id, example=example)

    def _tell(self, event: Mapping[str, Any]) -> None:
        _, _, rest = str(event.get("event", "")).partition("on_")
        kind, _, moment = rest.rpartition("_")
        run = UUID(str(event.get("run_id")))
        data = entries(event.get("data"))
        if moment == "start":
            self._start(kind, run, event, data)
        elif moment == "end":
            self._end(kind, run, data)
        elif moment == "error":
            self._error(kind, run, RuntimeError(str(data.get("error"))))

    def _began(self, log: Log, around: UUID | None) -> None:
        # The first is the graph. A later one without a known parent would be a part of it that lost its place.
        if self._root is None:
            self._root = log

    def _start(self, kind: str, run: UUID, event: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        log, given = self._log, revive(data.get("input"))
        parents = [UUID(str(parent)) for parent in event.get("parent_ids") or ()]
        common: dict[str, Any] = {
            "run_id": run,
            # The innermost that was told of: what is hidden from the stream is a parent too.
            "parent_run_id": next((parent for parent in reversed(parents) if parent in self._kinds), None),
            "tags": list(event.get("tags") or ()),
            "metadata": dict(event.get("metadata") or {}),
            "name": str(event.get("name") or ""),
        }
        self._kinds[run] = kind
        match kind:
            case "chat_model":
                log.on_chat_model_start(None, _batches(given), **common)
            case "llm":
                prompts = items(entries(given).get("prompts")) or [given]
                log.on_llm_start(None, [str(prompt) for prompt in prompts], **common)
            case "tool":
                call = {"tool_call_id": self._tool_calls[run]} if run in self._tool_calls else {}
                log.on_tool_start(None, str(given), inputs=entries(given) or None, **call, **common)
            case "retriever":
                log.on_retriever_start(None, str(entries(given).get("query", given)), **common)
            case "prompt":
                log.on_chain_start(None, given, run_type="prompt", **common)
            case _:
                log.on_chain_start(None, given, **common)

    def _end(self, kind: str, run: UUID, data: Mapping[str, Any]) -> None:
        log, made = self._log, revive(data.get("output"))
        match kind:
            case "chat_model" | "llm":
                log.on_llm_end(_result(made), run_id=run)
            case "tool":
                log.on_tool_end(made, run_id=run)
            case "retriever":
                log.on_retriever_end(made, run_id=run)
            case _:
                log.on_chain_end(made, run_id=run)

    def _error(self, kind: str, run: UUID, error: BaseException) -> None:
        log = self._log
        match kind:
            case "chat_model" | "llm":
                log.on_llm_error(error, run_id=run)
            case "tool":
                log.on_tool_error(error, run_id=run)
            case "retriever":
                log.on_retriever_error(error, run_id=run)
            case _:
                log.on_chain_error(error, run_id=run)


def revive(value: Any) -> Any:
    """JSON with messages, Commands and Sends in it as objects again, as the server had them."""
    if isinstance(value, list):
        return [revive(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    told = cast("dict[str, Any]", value)
    if told.get("type") in _MESSAGES and "content" in told:
        # What only looks like a message stays what it is.
        with suppress(ValueError, TypeError, KeyError):
            return messages_from_dict([{"type": told["type"], "data": told}])[0]
    inner = {key: revive(item) for key, item in told.items()}
    if inner.keys() == _COMMAND:
        return Command(**inner)
    if inner.keys() == _SEND and isinstance(inner["node"], str):
        return Send(inner["node"], inner["arg"])
    return inner


def _batches(given: Any) -> list[list[BaseMessage]]:
    messages = items(entries(given).get("messages", given))
    batch = (items(messages[0]) or messages) if messages else []
    return [[message for message in batch if isinstance(message, BaseMessage)]]


def _result(made: Any) -> LLMResult:
    if isinstance(made, BaseMessage):
        return LLMResult(generations=[[ChatGeneration(message=made)]])
    batch = (items(entries(made).get("generations")) or [None])[0]
    first = entries((items(batch) or [None])[0])
    return LLMResult(generations=[[Generation(text=str(first.get("text", made)))]])
