"""OpenAI's models under the names that TextGrad's scripts import."""

from __future__ import annotations

from typing import Any

from textgrad_lg.eager.engine.base import EngineLM
from textgrad_lg.eager.engine.chat import ChatEngine
from textgrad_lg.eager.engine.names import get_engine

__all__ = ["AzureChatOpenAI", "ChatOpenAI", "EngineLM"]


class ChatOpenAI(ChatEngine):
    """A model of OpenAI's, or of a server that speaks its protocol.

    Args:
        model_string: The model's name.
        system_prompt: Sent where a call has none of its own.
        is_multimodal: Not used: any model may be given images.
        base_url: The server; OpenAI's if None.
        kwargs: Settings of the chat model: `temperature`, `seed`, `api_key`, …

    Raises:
        UnknownEngine: The key is missing.
    """

    def __init__(
        self,
        model_string: str = "gpt-3.5-turbo-0613",
        system_prompt: str = "",
        is_multimodal: bool = False,
        base_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        place = {} if base_url is None else {"base_url": base_url}
        made = get_engine(f"{self._provider}:{model_string}", **place, **kwargs)
        assert isinstance(made, ChatEngine)
        super().__init__(made.model, system_prompt)

    _provider = "openai"


class AzureChatOpenAI(ChatOpenAI):
    """A model of OpenAI's on Azure; see `ChatOpenAI`."""

    _provider = "azure_openai"
