"""Tool calls in a replay: answered from memory, run, or refused.

While a replay that remembers tools is open, `BaseTool.run` and `arun` are wrapped, above the callbacks and in the way in
which the overlay wraps chat models. A tool that is answered for, or refused, is replaced by a stand-in, with which
LangChain's own method emits the callbacks.
"""

# LangGraph ships no stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from pydantic import PrivateAttr
from typing_extensions import override

from textgrad_lg.errors import ReplayError
from textgrad_lg.overlay.scope import surroundings
from textgrad_lg.overlay.wrappers import Wrappers
from textgrad_lg.record.notes import REPLAYED, SECONDS
from textgrad_lg.replay.book import Asked, Book
from textgrad_lg.replay.keys import NoKey, arguments, lane, renamed, tool_key
from textgrad_lg.replay.values import NoForm, error_from_json, error_to_json, output_from_json, output_to_json
from textgrad_lg.site import call_path
from textgrad_lg.types import Tools

if TYPE_CHECKING:
    from types import TracebackType

    from textgrad_lg.replay.memo import Entry

_Method = Callable[..., Any]
_Given = str | dict[str, Any]
_THIS_CALL = "\x00this call\x00"
"""Stands for the call's own id in what a tool returned: in another run it has another."""


class ToolMemory:
    """What becomes of the tool calls of one run.

    Args:
        book: What is known.
        tools: The rule for all tools.
        pure: Names of tools that may run again.

    Attributes:
        refused: The first refusal. A graph may take it for a failure of the tool and go on; the run does not count.
    """

    def __init__(self, book: Book, tools: Tools, pure: Iterable[str]) -> None:
        self.refused: ReplayError | None = None
        self._book, self._pure = book, frozenset(pure)
        self._runs_new = tools is not Tools.REPLAY

    def open(self, tool: BaseTool, given: _Given, call_id: str | None) -> ToolCall:
        """Look a call up, and say what becomes of it."""
        place = surroundings()
        path, agent = call_path(place)
        # Where it is made is no part of the question, but two places do not share an order.
        branch = json.dumps([path, agent, lane(place)])
        try:
            asked = self._book.ask(tool_key(tool, given), branch, tool.name)
        except NoKey as why:
            return self._unknown(tool, given, call_id, None, f"an argument cannot be compared: {why}")
        found = asked.found
        if found is None:
            return self._unknown(tool, given, call_id, asked, "no recorded run called it so")
        if found.reason is not None:
            return self._unknown(tool, given, call_id, asked, found.reason)
        return ToolCall(StandIn.giving(tool, found, call_id), None, call_id)

    def _unknown(self, tool: BaseTool, given: _Given, call_id: str | None, asked: Asked | None, why: str) -> ToolCall:
        if self._runs_new or tool.name in self._pure:
            return ToolCall(tool, asked, call_id)
        error = ReplayError(
            f"in a replay no tool runs twice, and {tool.name}({_shown(arguments(tool, given))}) cannot be answered from "
            f"memory: {why}. If running it again does no harm, mark it pure (pure=[{tool.name!r}]); to let all tools run "
            'what is not remembered, use tools="record"; to let them run as always, tools="run"'
        )
        self.refused = self.refused or error
        return ToolCall(StandIn.refusing(tool, error), None, call_id)


class ToolCall:
    """One call of a tool while it goes on.

    Attributes:
        tool: The tool to run: itself, or a stand-in.
    """

    def __init__(self, tool: BaseTool, asked: Asked | None, call_id: str | None) -> None:
        self.tool = tool
        self._asked, self._id = asked, call_id
        self._outer = _IN_TOOL.get()
        self._made_calls = False

    def __enter__(self) -> Self:
        note_call()
        self._token = _IN_TOOL.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _IN_TOOL.reset(self._token)
        if self._asked is None or error is None:
            return
        if isinstance(error, GraphBubbleUp):
            self._asked.keep(None, "it interrupted the graph or handed over to another")
        elif isinstance(error, Exception):
            self._remember(lambda: {"raised": error_to_json(error)})
        else:
            self._asked.drop()

    def note_call(self) -> None:
        """Told that a model or another tool is called inside."""
        self._made_calls = True
        if self._outer is not None:
            self._outer.note_call()

    def returned(self, output: Any) -> Any:
        """Have what it returned remembered; gives it back."""
        if self._asked is not None:
            self._remember(lambda: {"returned": _without_id(output_to_json(output), self._id)})
        return output

    def _remember(self, write: Callable[[], Any]) -> None:
        assert self._asked is not None
        if self._made_calls:
            # Its result depends on prompts inside it, which may be the ones that change.
            self._asked.keep(None, "it called a model or another tool, so its result has to be made again from theirs")
            return
        try:
            self._asked.keep(write())
        except (NoForm, TypeError, ValueError) as why:
            self._asked.keep(None, f"its result could not be remembered: {why}")


class StandIn(BaseTool):
    """Looks like a tool to callbacks, and answers without it."""

    name: str = ""
    description: str = ""
    _tool: BaseTool = PrivateAttr()
    _answer: Callable[[], Any] = PrivateAttr()

    @classmethod
    def giving(cls, tool: BaseTool, found: Entry, call_id: str | None) -> StandIn:
        """A stand-in that returns or raises what is remembered."""
        value = cast("dict[str, Any]", found.value)
        told = {REPLAYED: True, SECONDS: found.seconds}
        if "raised" in value:
            return cls._of(tool, _raising(error_from_json(value["raised"])), told)
        output = output_from_json(renamed(value["returned"], {_THIS_CALL: call_id or ""}))
        return cls._of(tool, lambda: output, told)

    @classmethod
    def refusing(cls, tool: BaseTool, error: ReplayError) -> StandIn:
        """A stand-in that refuses to run."""
        return cls._of(tool, _raising(error), {})

    @classmethod
    def _of(cls, tool: BaseTool, answer: Callable[[], Any], told: Mapping[str, Any]) -> StandIn:
        self = cls(
            name=tool.name,
            description=tool.description,
            callbacks=tool.callbacks,
            tags=tool.tags,
            verbose=tool.verbose,
            metadata={**(tool.metadata or {}), **told},
        )
        self._tool, self._answer = tool, answer
        return self

    @override
    def _filter_injected_args(self, tool_input: dict[str, Any]) -> dict[str, Any]:
        return self._tool._filter_injected_args(tool_input)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _to_args_and_kwargs(
        self, tool_input: _Given, tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # They were checked when the call was recorded, and nothing reads them now.
        return (), {}

    @override
    def _run(self) -> Any:
        return self._answer()

    @override
    async def _arun(self) -> Any:
        return self._answer()


_IN_TOOL: ContextVar[ToolCall | None] = ContextVar("textgrad_lg_tool", default=None)
_MEMORY: ContextVar[ToolMemory | None] = ContextVar("textgrad_lg_tool_memory", default=None)


def note_call() -> None:
    """Tell the tool calls that go on in this context that a model or another tool is called in them."""
    around = _IN_TOOL.get()
    if around is not None:
        around.note_call()


@contextmanager
def remembering_tools(memory: ToolMemory) -> Generator[None]:
    """Let `memory` decide about the tool calls of this context."""
    with _WRAPPERS.on():
        token = _MEMORY.set(memory)
        try:
            yield
        finally:
            _MEMORY.reset(token)


def _run(original: _Method) -> _Method:
    @functools.wraps(original)
    def run(self: BaseTool, tool_input: _Given, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        call = _open(self, tool_input, tool_call_id)
        if call is None:
            return original(self, tool_input, *args, tool_call_id=tool_call_id, **kwargs)
        with call:
            return call.returned(original(call.tool, tool_input, *args, tool_call_id=tool_call_id, **kwargs))

    return run


def _arun(original: _Method) -> _Method:
    @functools.wraps(original)
    async def arun(
        self: BaseTool, tool_input: _Given, *args: Any, tool_call_id: str | None = None, **kwargs: Any
    ) -> Any:
        call = _open(self, tool_input, tool_call_id)
        if call is None:
            return await original(self, tool_input, *args, tool_call_id=tool_call_id, **kwargs)
        with call:
            return call.returned(await original(call.tool, tool_input, *args, tool_call_id=tool_call_id, **kwargs))

    return arun


_WRAPPERS = Wrappers(BaseTool, {"run": _run, "arun": _arun})


def _open(tool: BaseTool, given: _Given, call_id: str | None) -> ToolCall | None:
    memory = _MEMORY.get()
    # A stand-in comes through here where its own `arun` falls back to `run`.
    return None if memory is None or isinstance(tool, StandIn) else memory.open(tool, given, call_id)


def _raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def _without_id(value: Any, call_id: str | None) -> Any:
    return renamed(value, {call_id: _THIS_CALL}) if call_id else value


def _shown(given: str | Mapping[str, Any]) -> str:
    if isinstance(given, str):
        return repr(given)
    return ", ".join(f"{name}={value!r}" for name, value in given.items())
