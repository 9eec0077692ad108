"""`replay` and `memorise`: run graphs under a Memo, and make one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import ReplayError
from textgrad_lg.overlay import overlay
from textgrad_lg.replay.book import Book, Sink
from textgrad_lg.replay.memo import Entry, Memo
from textgrad_lg.replay.models import ModelRecall, recall
from textgrad_lg.replay.tools import ToolMemory, note_call, remembering_tools
from textgrad_lg.types import Tools

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage


class Replay:
    """One run under a Memo. It may be read while the run goes on, from any thread.

    Args:
        memo: What is known at the start.
        tools: What becomes of tool calls.
        pure: Names of tools that may run again where they are not remembered.
        clock: Gives the time in seconds, to tell how long a call takes.
        sink: Is given each answer before the one who asked.
    """

    def __init__(
        self,
        memo: Memo | None = None,
        *,
        tools: Tools | str = Tools.REPLAY,
        pure: Iterable[str] = (),
        clock: Callable[[], float] = time.perf_counter,
        sink: Sink | None = None,
    ) -> None:
        self._book = Book(memo or Memo(), clock, sink)
        self._tools = Tools(tools)
        self._tool_memory = ToolMemory(self._book, self._tools, pure)

    @property
    def memo(self) -> Memo:
        """What is known now: the Memo of the start, and what was answered since."""
        return self._book.memo.with_entries(self._book.new)

    @property
    def new(self) -> tuple[Entry, ...]:
        """What was answered since the start."""
        return self._book.new

    @property
    def hits(self) -> int:
        """Calls that were answered from memory."""
        return self._book.hits

    @property
    def notes(self) -> tuple[str, ...]:
        """Why calls could not be remembered, each reason once."""
        return tuple(self._book.notes)

    @property
    def refused(self) -> ReplayError | None:
        """The first refusal of a tool call; what the graph made of it does not count."""
        return self._tool_memory.refused

    def recall(
        self,
        model: BaseChatModel,
        prompts: Sequence[Sequence[BaseMessage]],
        stop: Sequence[str] | None,
        options: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> ModelRecall:
        """What is known of a call of a model; for the overlay. Raises what the sink does where it cannot keep any more."""
        self._book.check()
        note_call()
        return recall(self._book, model, prompts, stop, options, metadata=metadata)

    @contextmanager
    def in_force(self) -> Generator[None]:
        """Let this decide about the model calls and tool calls of this context."""
        tools = nullcontext() if self._tools is Tools.RUN else remembering_tools(self._tool_memory)
        with overlay(memory=self), tools:
            yield


@contextmanager
def replay(memo: Memo, *, tools: Tools | str = Tools.REPLAY, pure: Iterable[str] = ()) -> Generator[Replay]:
    """Run graphs again, and call models only for what `memo` does not know.

    Everything runs as always: nodes, routers, callbacks. A model call is answered from memory where the same model was
    sent the same messages and options from the same place in the graph; a repeated question is told apart by its
    ordinal. Texts of an `overlay` are laid over first, so what depends on a changed text is asked anew.
    An answer from memory is told to callbacks like any other, with `textgrad_lg_replayed` in the run's metadata, and
    with `textgrad_lg_seconds`: how long it took when it was made. It is not admitted by a Meter, and uses nothing.

    The block is one run: ordinals count from its start. `memo` does not change; what was answered besides is in
    `Replay.memo`. Scoped by ContextVar, like `overlay`; any number of replays may be open side by side.

    Args:
        memo: What is known.
        tools: What becomes of tool calls. "replay": they never run twice; one that is not remembered raises. A tool that
            itself calls a model or a tool is not remembered, because its result may depend on what has changed.
            "record": those that are not remembered run. "run": all run, as without a replay.
        pure: Names of tools whose calls may run where they are not remembered.

    Yields:
        The Replay.

    Raises:
        ReplayError: A tool was called as no recorded run had called it. Raised from the tool, and again at the end of the
            block where the graph took it for a failure of the tool and went on.
    """
    run = Replay(memo, tools=tools, pure=pure)
    with run.in_force():
        yield run
    if run.refused is not None:
        raise run.refused


@contextmanager
def memorise() -> Generator[Replay]:
    """Remember what models and tools answer to the graphs that run in the block; all of them really run.

    Yields:
        The Replay; its `memo` is what `replay` takes.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> model = FakeListChatModel(responses=["first", "second"])
        >>> with memorise() as run:
        ...     model.invoke("Why?").content
        'first'
        >>> with replay(run.memo):
        ...     model.invoke("Why?").content
        'first'
    """
    run = Replay(tools=Tools.RECORD)
    with run.in_force():
        yield run
