"""Engines and chat models, each made of the other: the reverse pass asks chat models, scripts call engines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import SkipValidation
from typing_extensions import override

from textgrad_lg.eager.engine.base import Content, EngineLM
from textgrad_lg.eager.images import block
from textgrad_lg.llm import model_name

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForLLMRun


class ChatEngine(EngineLM):
    """A LangChain chat model as an engine.

    Args:
        model: Any chat model. Its own settings (temperature, seed, retries, cache) hold.
        system_prompt: Sent where a call has none of its own.
    """

    def __init__(self, model: BaseChatModel, system_prompt: str = "") -> None:
        self.model, self.system_prompt = model, system_prompt
        self.model_string = model_name(model)[1]
        self.base_url: str | None = getattr(model, "openai_api_base", None)

    @override
    def generate(self, content: Any = None, system_prompt: str | None = None, **kwargs: Any) -> str:
        """The model's reply.

        Args:
            content: A text; or a list of texts, bytes of images, and content blocks. `prompt` is another name for it.
            system_prompt: The system prompt.
            kwargs: Sampling parameters for this call, which are handed to the model.

        Raises:
            Exception: What the model raised, unchanged. How often it tries again is a setting of the model.
        """
        content = kwargs.pop("prompt", None) if content is None else content
        messages: list[BaseMessage] = []
        if system := system_prompt or self.system_prompt:
            messages.append(SystemMessage(system))
        messages.append(HumanMessage(content if isinstance(content, str) else _blocks(content)))
        return self.model.invoke(messages, **kwargs).text

    def __repr__(self) -> str:
        return f"ChatEngine({self.model_string or type(self.model).__name__})"


class FunctionEngine(EngineLM):
    """A function as an engine.

    Args:
        function: Given the content and, where it takes a second argument, the system prompt; returns the reply.
    """

    def __init__(self, function: Callable[..., str]) -> None:
        self._function = function
        self.model_string = getattr(function, "__name__", type(function).__name__)
        self._given_system = _takes_two(function)

    @override
    def generate(self, content: Any, system_prompt: str | None = None, **kwargs: Any) -> str:
        """The function's reply. Without a second argument, the system prompt stands before the content."""
        if self._given_system:
            return self._function(content, system_prompt)
        if not system_prompt:
            return self._function(content)
        if isinstance(content, str):
            return self._function(f"{system_prompt}\n\n{content}")
        return self._function([system_prompt, *content])


class CalledModel(BaseChatModel):
    """An engine as a chat model. It has no structured output of its own, so it is told in words what form is wanted.

    Args:
        engine: The engine.
    """

    engine: SkipValidation[Any]

    @property
    @override
    def _llm_type(self) -> str:
        return "textgrad-lg-engine"

    @property
    def model_name(self) -> str:
        """The engine's name for its model: where LangChain looks for it."""
        return self.engine.model_string

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.engine.model_string}

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        system = "\n\n".join(message.text for message in messages if message.type == "system")
        rest = [message for message in messages if message.type != "system"]
        reply = self.engine(_content(rest), system_prompt=system or None)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


def chat_model(engine: EngineLM) -> BaseChatModel:
    """The chat model behind an engine, or one that calls it."""
    return engine.model if isinstance(engine, ChatEngine) else CalledModel(engine=engine)


def _content(messages: Sequence[BaseMessage]) -> Content:
    """The turns of a conversation as one content: a text where there is nothing but text."""
    parts: list[Any] = []
    for message in messages:
        name = "" if len(messages) == 1 else f"{message.type}:\n"
        content = message.content
        if isinstance(content, str) or all(isinstance(part, str) for part in content):
            parts.append(f"{name}{message.text}")
        else:
            parts += [
                part["text"] if isinstance(part, dict) and part.get("type") == "text" else part for part in content
            ]
    return "\n\n".join(parts) if all(isinstance(part, str) for part in parts) else parts


def _blocks(content: Any) -> list[str | dict[str, Any]]:
    if not isinstance(content, Sequence):
        raise TypeError(f"an engine is given a text, or a list of texts and images, and not {type(content).__name__}")
    return [
        {"type": "text", "text": part} if isinstance(part, str) else block(part)
        for part in cast("Sequence[Any]", content)
    ]


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in given)
