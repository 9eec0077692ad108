"""A process-wide patch of six methods of `BaseChatModel`, while an overlay is open.

They are wrapped above the callbacks, so that traces show the text that was sent, and below everything that a graph can
hold a prompt in. Where no overlay is in force in the context, a wrapper only passes the call on. A subclass that
overrides one of them and does not call `super()` is out of reach.
"""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig

from textgrad_lg.overlay.call import Call, open_call, usage_of
from textgrad_lg.overlay.scope import current
from textgrad_lg.overlay.wrappers import Wrappers

_Method = Callable[..., Any]
_Chunks = Generator[AIMessageChunk]
_AsyncChunks = AsyncGenerator[AIMessageChunk]
_END: Any = object()


def _generate(original: _Method) -> _Method:
    @functools.wraps(original)
    def generate(
        self: BaseChatModel,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        *args: Any,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        opened = open_call(self, messages, metadata, stop, kwargs)
        if opened is None:
            return original(self, messages, stop, *args, metadata=metadata, **kwargs)
        call, options = opened
        with call:
            call.enter()
            with call.step():
                result = original(
                    call.answering, call.prompts, stop, *args, metadata=call.metadata(metadata), **options
                )
                return _settled(call, result)

    return generate


def _agenerate(original: _Method) -> _Method:
    @functools.wraps(original)
    async def agenerate(
        self: BaseChatModel,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        *args: Any,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        opened = open_call(self, messages, metadata, stop, kwargs)
        if opened is None:
            return await original(self, messages, stop, *args, metadata=metadata, **kwargs)
        call, options = opened
        with call:
            await call.aenter()
            with call.step():
                result = await original(
                    call.answering, call.prompts, stop, *args, metadata=call.metadata(metadata), **options
                )
                return _settled(call, result)

    return agenerate


def _stream(original: _Method) -> _Method:
    @functools.wraps(original)
    def stream(
        self: BaseChatModel,
        input: Any,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        opened = _open_stream(self, input, config, stop, kwargs)
        if opened is None:
            yield from original(self, input, config, stop=stop, **kwargs)
            return
        call, options = opened
        heard = _Heard(call)
        with call:
            call.enter(whole=False)
            items = cast(
                "_Chunks", original(call.answering, call.prompts[0], call.configured(config), stop=stop, **options)
            )
            with closing(items):
                while True:
                    with call.step():
                        chunk = next(items, _END)
                    if chunk is _END:
                        break
                    heard.add(chunk)
                    call.lend()
                    yield chunk
                    call.take_back()
            heard.end()

    return stream


def _astream(original: _Method) -> _Method:
    @functools.wraps(original)
    async def astream(
        self: BaseChatModel,
        input: Any,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        opened = _open_stream(self, input, config, stop, kwargs)
        if opened is None:
            async with aclosing(cast("_AsyncChunks", original(self, input, config, stop=stop, **kwargs))) as items:
                async for chunk in items:
                    yield chunk
            return
        call, options = opened
        heard = _Heard(call)
        with call:
            await call.aenter(whole=False)
            items = cast(
                "_AsyncChunks", original(call.answering, call.prompts[0], call.configured(config), stop=stop, **options)
            )
            async with aclosing(items):
                while True:
                    with call.step():
                        chunk = await anext(items, _END)
                    if chunk is _END:
                        break
                    heard.add(chunk)
                    call.lend()
                    yield chunk
                    call.take_back()
            heard.end()

    return astream


def _stream_v3(original: _Method) -> _Method:
    @functools.wraps(original)
    def stream_v3(
        self: BaseChatModel,
        input: Any,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        opened = _open_stream(self, input, config, stop, kwargs)
        if opened is None:
            return original(self, input, config, stop=stop, **kwargs)
        call, options = opened
        with _until_watched(call) as watch:
            call.enter(whole=False)
            return watch(original(call.answering, call.prompts[0], call.configured(config), stop=stop, **options))

    return stream_v3


def _astream_v3(original: _Method) -> _Method:
    @functools.wraps(original)
    async def astream_v3(
        self: BaseChatModel,
        input: Any,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        opened = _open_stream(self, input, config, stop, kwargs)
        if opened is None:
            return await original(self, input, config, stop=stop, **kwargs)
        call, options = opened
        with _until_watched(call) as watch:
            await call.aenter(whole=False)
            return watch(await original(call.answering, call.prompts[0], call.configured(config), stop=stop, **options))

    return astream_v3


def _open_stream(
    model: BaseChatModel,
    input: Any,  # noqa: A002  LangChain's name for it
    config: RunnableConfig | None,
    stop: list[str] | None,
    options: Mapping[str, Any],
) -> tuple[Call, Mapping[str, Any]] | None:
    if current() is None:
        return None
    messages = model._convert_input(input).to_messages()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return open_call(model, [messages], (config or {}).get("metadata"), stop, options)


def _settled(call: Call, result: LLMResult) -> LLMResult:
    call.settle([usage_of(cast("Any", generations)) for generations in result.generations])
    if call.remembered:
        call.keep(cast("Any", result.generations), result.llm_output)
    return result


class _Heard:
    """What a stream has given so far: what it used and, where somebody remembers it, the message."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage: UsageMetadata | None = None
        self._chunks: list[BaseMessage] | None = [] if call.remembered else None

    def add(self, chunk: BaseMessage) -> None:
        more = cast("UsageMetadata | None", getattr(chunk, "usage_metadata", None))
        if more is not None:
            self._usage = add_usage(self._usage, more)
        if self._chunks is not None:
            self._chunks.append(chunk)

    def end(self) -> None:
        """The stream was read to its end."""
        self._call.settle([self._usage])
        if self._chunks:
            # A model that cannot stream gives one whole message here, and `generate` has had it remembered by now.
            message: Any = functools.reduce(operator.add, cast("list[Any]", self._chunks))
            self._call.keep([[ChatGeneration(message=message)]])


@contextmanager
def _until_watched(call: Call) -> Generator[Callable[[Any], Any]]:
    """Settle `call` if its stream could not be made; the stream does it from then on."""
    try:
        yield functools.partial(_watch, call)
    except BaseException as error:
        call.abandon(error)
        raise


def _watch(call: Call, stream: Any) -> Any:
    """Settle `call` when its v3 stream finishes, fails, or is thrown away unread.

    `dispatch` and `fail` are the two public doors through which the stream's driver tells it how the call goes.
    """
    dispatch, fail = stream.dispatch, stream.fail
    call.lend()  # from now on it goes on only as its reader wants

    def watched_dispatch(event: Any) -> None:
        dispatch(event)
        if stream.done:
            message = stream.output_message
            call.settle([None if message is None else message.usage_metadata])
            if message is not None:
                call.keep([[ChatGeneration(message=message)]])

    def watched_fail(error: BaseException) -> None:
        call.abandon(error)
        fail(call.refused or error)

    stream.dispatch, stream.fail = watched_dispatch, watched_fail
    _mark_requests(call, stream)
    weakref.finalize(stream, call.abandon).atexit = False
    return stream


def _mark_requests(call: Call, stream: Any) -> None:
    """Have the requests of a v3 stream made as part of its call: they are made when somebody reads, in that context."""
    start: Any = getattr(stream, "_ensure_started", None)
    more: Any = getattr(stream, "_request_more", None)

    async def started() -> None:
        with call.step():  # in whose context the task is made that sends
            await start()

    def pumped() -> bool:
        with call.step():
            return more()

    # Both attributes are LangChain's own affair: without them the stream goes on as it is, and its retries are not seen.
    if type(stream).__name__.startswith("Async"):
        if start is not None:
            stream.set_start(started)
    elif more is not None:
        stream.bind_pump(pumped)


WRAPPERS = Wrappers(
    BaseChatModel,
    {
        "generate": _generate,
        "agenerate": _agenerate,
        "stream": _stream,
        "astream": _astream,
        "_chat_model_stream_v3": _stream_v3,
        "_achat_model_stream_v3": _astream_v3,
    },
)
"""The wrappers of this process. The only mutable state here, and it is back to nothing when the last overlay closes."""
