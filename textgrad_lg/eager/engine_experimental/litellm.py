"""LiteLLMEngine, under the name that TextGrad's scripts import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textgrad_lg.eager.engine.cache import ReplyCache
from textgrad_lg.eager.engine.chat import ChatEngine
from textgrad_lg.eager.engine.names import get_engine


class LiteLLMEngine(ChatEngine):
    """A model by litellm's name for it, called through LangChain: litellm itself is not needed.

    Args:
        model_string: As in "gpt-4o" or "anthropic/claude-3-opus-20240229".
        system_prompt: Sent where a call has none of its own.
        is_multimodal: Not used: any model may be given images.
        cache: See `get_engine`.
        kwargs: Settings of the chat model.

    Raises:
        UnknownEngine: There is no such model.
    """

    def __init__(
        self,
        model_string: str,
        system_prompt: str = "",
        is_multimodal: bool = True,
        cache: bool | str | Path | ReplyCache = False,
        **kwargs: Any,
    ) -> None:
        made = get_engine(f"experimental:{model_string}", cache=cache, **kwargs)
        assert isinstance(made, ChatEngine)
        super().__init__(made.model, system_prompt)
