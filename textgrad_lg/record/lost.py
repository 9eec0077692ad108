"""Noticing what happens outside a recording because the context was lost in a thread that the user's code started.

While a recording is open, work that is handed to such a thread from inside it is marked, and only that: a server that does
other things in the same process is never meant. In the thread, the mark stands where the recorder would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from textgrad_lg.site import call_path

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

T = TypeVar("T")

SIGN = "in a thread that does not carry the context"
"""Words that are in every such warning and in no other."""


class Lost(BaseCallbackHandler):
    """The mark of one piece of work, and the callback handler that notices its model calls.

    Args:
        warn: Told what was lost, in words.
        config: The config that was in force where the work was handed over: it says in which node.
    """

    run_inline = True
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, warn: Callable[[str], None], config: Mapping[str, Any] | None) -> None:
        super().__init__()
        self._warn, self._config = warn, config

    def run(self, call: Callable[[], T]) -> T:
        """Run the work under its mark. A copy of an older context that the work enters does not have it."""
        token = LOST.set(self)
        try:
            return call()
        finally:
            LOST.reset(token)

    def tell(self, what: str) -> None:
        """Warn that something happened outside the recording.

        Args:
            what: As in "a model was called".
        """
        path, _ = call_path((self._config or {}).get("metadata"))
        where = f"node `{'/'.join(path)}`" if path else "the graph's code"
        self._warn(
            f"{what} {SIGN}, which {where} started by itself: the call was not recorded, got none of the texts that are "
            "tried, and was not counted by a budget. Let LangChain start the thread "
            "(langchain_core.runnables.config.ContextThreadPoolExecutor, Runnable.batch, asyncio.to_thread), or turn on "
            "textgrad_lg.carry_context(), which in a run is Settings(carry_context=True)"
        )

    @override
    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        self.tell("a model was called")

    @override
    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        self.tell("a model was called")


LOST: ContextVar[Lost | None] = ContextVar("textgrad_lg_lost", default=None)
"""The mark of what runs here; None nearly everywhere."""
