"""Chat models for tests: one that says what it was told to say, one that follows the instructions in its prompt."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SkipValidation
from typing_extensions import override

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

Reply = str | dict[str, Any] | AIMessage | BaseException
"""Text; arguments for the one tool or schema that is bound; a whole message; or an exception to raise."""


@dataclass(frozen=True)
class Request:
    """One request as a model received it.

    Attributes:
        messages: The messages, in order.
        options: The keyword arguments of the call: `tools`, `stop`, `response_format` and the like.
    """

    messages: tuple[BaseMessage, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        """The request as text, for snapshots: one `role: content` a message, then the names of the tools."""
        lines = [f"{message.type}: {message.text}" for message in self.messages]
        names = [tool["function"]["name"] for tool in self.options.get("tools", [])]
        return "\n".join([*lines, f"tools: {', '.join(names)}"] if names else lines)


class DoubleChatModel(BaseChatModel):
    """What both test doubles share: they note each request, and answer through `generate` and `stream` alike."""

    model_name: str = "double"
    _requests: list[Request] = PrivateAttr(default_factory=list[Request])
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def requests(self) -> list[Request]:
        """Every request received so far, in the order of arrival."""
        return self._requests

    @property
    def _llm_type(self) -> str:
        return "textgrad-lg-double"

    def _reply(self, messages: Sequence[BaseMessage], at: int) -> Reply:
        msg = f"{type(self).__name__} does not say what it replies"
        raise TypeError(msg)

    @override
    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message(messages, kwargs))])

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._message(messages, kwargs)):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._message(messages, kwargs)):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)

    def _message(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        with self._lock:
            at = len(self._requests)
            self._requests.append(Request(tuple(messages), options))
        reply = self._reply(messages, at)
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, AIMessage):
            return reply
        text = reply if isinstance(reply, str) else json.dumps(reply)
        usage = {"input_tokens": sum(len(m.text) for m in messages) // 4, "output_tokens": len(text) // 4 + 1}
        metadata: Any = {**usage, "total_tokens": sum(usage.values())}
        tools: list[dict[str, Any]] = options.get("tools") or []
        if isinstance(reply, dict) and tools:
            call = {"name": tools[0]["function"]["name"], "args": reply, "id": f"call_{at}", "type": "tool_call"}
            return AIMessage("", tool_calls=[call], usage_metadata=metadata)
        return AIMessage(text, usage_metadata=metadata)


class ScriptedChatModel(DoubleChatModel):
    """Says what it was told to say.

    Args:
        replies: Either the replies in order, after which a further request raises `AssertionError`; or a function of
            the messages received.
    """

    replies: SkipValidation[Sequence[Reply] | Callable[[Sequence[BaseMessage]], Reply]] = Field(
        default=(), exclude=True
    )

    @override
    def _reply(self, messages: Sequence[BaseMessage], at: int) -> Reply:
        if callable(self.replies):
            return self.replies(messages)
        if at >= len(self.replies):
            return AssertionError(f"the script has {len(self.replies)} replies, and this is request {at + 1}")
        return self.replies[at]


@dataclass(frozen=True)
class Rule:
    """An instruction that a `SimulatedChatModel` understands.

    Attributes:
        instruction: Words that must stand in one of the messages it is sent; case and white space do not matter.
        effect: Makes the reply as it is with the instruction from the reply as it is without it.
    """

    instruction: str
    effect: Callable[[str, Sequence[BaseMessage]], str]


class SimulatedChatModel(DoubleChatModel):
    """Behaves according to the instructions that its messages really contain, and to nothing else.

    With it an optimisation can be tested honestly and repeatably: the score rises if and only if the instruction that
    was missing reaches the call that needs it.

    Args:
        answer: What it replies when no instruction of `rules` is in the messages. A reply that is not text (a tool
            call, say) is returned as it is.
        rules: The instructions it understands; the effects of those present are applied in this order.
    """

    answer: SkipValidation[Callable[[Sequence[BaseMessage]], Reply]] = Field(exclude=True)
    rules: SkipValidation[Sequence[Rule]] = Field(default=(), exclude=True)

    @override
    def _reply(self, messages: Sequence[BaseMessage], at: int) -> Reply:
        reply = self.answer(messages)
        if not isinstance(reply, str):
            return reply
        read = _plain("\n".join(message.text for message in messages))
        for rule in self.rules:
            if _plain(rule.instruction) in read:
                reply = rule.effect(reply, messages)
        return reply


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """The message in the pieces a streaming model would send: one a word, the tool calls and the usage with the last."""
    words = message.text.split(" ")
    for at, word in enumerate(words):
        last = at == len(words) - 1
        tool_call_chunks = [
            {
                "name": call["name"],
                "args": json.dumps(call["args"]),
                "id": call["id"],
                "index": index,
                "type": "tool_call_chunk",
            }
            for index, call in enumerate(message.tool_calls if last else [])
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=word if last else f"{word} ",
                tool_call_chunks=cast("Any", tool_call_chunks),
                usage_metadata=message.usage_metadata if last else None,
                chunk_position="last" if last else None,
            )
        )
