"""Model calls in a replay, and the model that gives a remembered reply in the place of the one that gave it.

LangChain's own methods run with it as their `self`: they emit the same callbacks and the same pieces of a stream as for a
live reply, and nothing of them is written again here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, Generation
from pydantic import PrivateAttr
from typing_extensions import override

from textgrad_lg.record.notes import REPLAYED, SECONDS
from textgrad_lg.replay.book import Asked, Book
from textgrad_lg.replay.flight import Flight, Landed
from textgrad_lg.replay.keys import NoKey, lane, model_key
from textgrad_lg.replay.values import NoForm, reply_from_json, reply_to_json
from textgrad_lg.site import call_path
from textgrad_lg.types import JSON

# What callbacks are told of a model comes from these fields.
_TOLD = ("name", "callbacks", "tags", "verbose", "custom_get_token_ids")


class Remembered(BaseChatModel):
    """Looks like `model` to callbacks, and answers without it.

    A call of it is told to callbacks with `textgrad_lg_replayed` in its metadata, and with `textgrad_lg_seconds`.
    """

    _model: BaseChatModel = PrivateAttr()
    _reply: ChatResult = PrivateAttr()

    @classmethod
    def of(cls, model: BaseChatModel, reply: ChatResult, seconds: float) -> Remembered:
        """A stand-in for `model` that knows the reply to one prompt, and how long that took."""
        self = cls(
            **{name: getattr(model, name) for name in _TOLD},
            metadata={**(model.metadata or {}), REPLAYED: True, SECONDS: seconds},
            cache=False,
            # The reply is as it left the model, and must not be converted twice.
            output_version=None,
        )
        self._model, self._reply = model, reply
        return self

    @property
    @override
    def _llm_type(self) -> str:
        return self._model._llm_type  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @property
    @override
    def _serialized(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]  cached there
        return self._model._serialized  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return self._model._get_invocation_params(stop=stop, **kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self._model._get_ls_params(stop=stop, **kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _combine_llm_outputs(self, _llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        if len(_llm_outputs) == 1:
            return _llm_outputs[0] or {}  # it was combined when it was recorded
        return self._model._combine_llm_outputs(_llm_outputs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    # A reply comes in one piece or in a stream as it would from the model itself.

    @override
    def _should_stream(self, **kwargs: Any) -> bool:
        return self._model._should_stream(**kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _should_use_protocol_streaming(self, **kwargs: Any) -> bool:
        return self._model._should_use_protocol_streaming(**kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._reply

    @override
    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._reply

    @override
    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield self._chunk()

    @override
    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        yield self._chunk()

    def _chunk(self) -> ChatGenerationChunk:
        reply = self._reply.generations[0]
        fields = {name: value for name, value in reply.message.__dict__.items() if name != "type"}
        message = AIMessageChunk(**fields, chunk_position="last")
        return ChatGenerationChunk(message=message, generation_info=reply.generation_info)


class RememberedBatch(Remembered):
    """For a call with several prompts: each is answered by its own model, a stand-in or the real one.

    LangChain asks for the prompts in their order, once each.
    """

    _parts: Iterator[BaseChatModel] = PrivateAttr()

    @classmethod
    def over(
        cls, model: BaseChatModel, replies: Sequence[ChatResult | None], seconds: Sequence[float]
    ) -> RememberedBatch:
        """A stand-in for `model` that knows the replies to some of several prompts."""
        # Callbacks are told of all prompts with the same metadata. Asked together, each had taken as long as all of them.
        self = cast("RememberedBatch", cls.of(model, ChatResult(generations=[]), max(seconds, default=0.0)))
        self._parts = iter(
            [
                model if reply is None else Remembered.of(model, reply, took)
                for reply, took in zip(replies, seconds, strict=True)
            ]
        )
        # Some of its calls are live, and callbacks are told of all of them at once.
        if None in replies:
            self.metadata = model.metadata
        return self

    @override
    def _generate_with_cache(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return next(self._parts)._generate_with_cache(messages, *args, **kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @override
    async def _agenerate_with_cache(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return await next(self._parts)._agenerate_with_cache(messages, *args, **kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def stand_in(model: BaseChatModel, replies: Sequence[ChatResult | None], seconds: Sequence[float]) -> BaseChatModel:
    """The model to call in the place of `model`, which knows these replies to the prompts of one call.

    Args:
        model: The model that is meant.
        replies: For each prompt, the reply; None where it is not known.
        seconds: For each prompt, how long the reply took.
    """
    if all(reply is None for reply in replies):
        return model
    if len(replies) == 1 and replies[0] is not None:
        return Remembered.of(model, replies[0], seconds[0])
    return RememberedBatch.over(model, replies, seconds)


class ModelRecall:
    """What is known of one call of a model; see `overlay.scope.Recall`.

    Args:
        model: The model that is meant.
        asked: For each prompt, what was found; None where it cannot be looked up.
        options: The call's keyword arguments.
    """

    def __init__(
        self, model: BaseChatModel, asked: Sequence[Asked | None], options: Mapping[str, Any] | None = None
    ) -> None:
        replies = [_known_reply(each) for each in asked]
        self.known = [reply is not None for reply in replies]
        took = [each.found.seconds if each and each.found else 0.0 for each in asked]
        self.model = stand_in(model, replies, took)
        self._asked, self._meant, self._options = asked, model, options or {}
        self._leads: tuple[Flight, Hashable] | None = None
        self._follows: Future[Landed | None] | None = None
        self._start = time.perf_counter()

    def join(self, flight: Flight) -> Future[Landed | None] | None:
        """What to wait for, where the same call is under way; see `overlay.scope.Recall`. A batch is made by itself."""
        waited, self._follows = self._follows, None
        landed = None if waited is None else waited.result()
        if landed is not None:
            self.known = [True]
            self.model = stand_in(self._meant, [reply_from_json(landed.value)], [landed.seconds])
            return None
        asked = self._asked[0] if len(self._asked) == 1 else None
        if asked is None or asked.found is not None:
            return None
        key = flight.key(self._meant, self._options, asked.place)
        self._follows = flight.flights.join(key)
        if self._follows is None:
            self._leads, self._start = (flight, key), time.perf_counter()
        return self._follows

    def keep(self, replies: Sequence[Sequence[Generation]], output: Mapping[str, Any] | None) -> None:
        """Remember the replies that were not known."""
        for asked, given in zip(self._asked, replies, strict=False):
            if asked is None:
                continue
            try:
                value = reply_to_json(given, output)
            except (NoForm, TypeError, ValueError) as why:
                asked.keep(None, str(why))
                self._land(None)
            else:
                asked.keep(value)
                self._land(value)

    def drop(self) -> None:
        """Remember nothing of it."""
        for asked in self._asked:
            if asked is not None:
                asked.drop()
        self._land(None)

    def _land(self, value: JSON) -> None:
        """Tell those who wait for the same call."""
        leads, self._leads = self._leads, None
        if leads is not None:
            flight, key = leads
            took = round(time.perf_counter() - self._start, 6)
            flight.flights.land(key, None if value is None else Landed(value, max(took, 0.0)))


def recall(
    book: Book,
    model: BaseChatModel,
    prompts: Sequence[Sequence[BaseMessage]],
    stop: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    metadata: Mapping[str, Any],
) -> ModelRecall:
    """Look one call of a model up, each of its prompts by itself."""
    place = call_path(metadata)
    name, branch = "/".join(place[0]) or "model", lane(metadata)
    asked: list[Asked | None] = []
    for messages in prompts:
        try:
            asked.append(book.ask(model_key(model, messages, stop, options, place), branch, name))
        except NoKey as why:
            book.notes[f"{name}: {why}"] = None
            asked.append(None)
    return ModelRecall(model, asked, options)


def _known_reply(asked: Asked | None) -> ChatResult | None:
    if asked is None or asked.found is None or asked.found.reason is not None:
        return None
    return reply_from_json(asked.found.value)
