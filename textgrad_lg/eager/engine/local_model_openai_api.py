"""A server that speaks OpenAI's protocol, under the name that TextGrad's scripts import."""

from __future__ import annotations

from typing import Any

from textgrad_lg.eager.engine.openai import ChatOpenAI


class ChatExternalClient(ChatOpenAI):
    """The server that an OpenAI client talks to.

    Args:
        client: An `openai.OpenAI`; its address and key are taken, and nothing is written into the environment.
        model_string: The model's name.
        system_prompt: Sent where a call has none of its own.
        kwargs: Settings of the chat model.
    """

    def __init__(self, client: Any, model_string: str, system_prompt: str = "", **kwargs: Any) -> None:
        self.client = client
        place = {"base_url": str(client.base_url), "api_key": client.api_key}
        super().__init__(model_string, system_prompt, **place, **kwargs)
