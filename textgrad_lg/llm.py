"""Asking a chat model for a structured reply, with retries.

Every model call that the library makes for itself (judge, gradient, proposal) goes through `ask`. The reply is structured
output where the model has it; JSON in the reply's text is the second way in, and saying what was wrong is the third.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from copy import deepcopy
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from langchain_core.exceptions import ModelError as ProviderError
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from textgrad_lg.errors import ModelError, TextgradError, UnusableReply
from textgrad_lg.transport import with_fast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

T = TypeVar("T", bound=BaseModel)

_LONGEST_WAIT = 60.0
"""Seconds. A server that asks for more is not waited for any longer than this."""
_QUOTED = 2_000
"""Characters of an unusable reply that are shown to the model when it is asked again."""
_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS, _SERVER_ERRORS = 408, 429, 500
_OVERLOADED = {_TOO_MANY_REQUESTS, 503, 529}
"""Where a server says that it is asked too much; 529 is Anthropic's."""
_CUT_OFF = "it was cut off at its length limit; be brief"
_UNREACHABLE = {"TransportError", "APIConnectionError", "APITimeoutError"}
"""Base classes of httpx, and of the clients generated as OpenAI's is, known by name: importing them all would cost more."""
_MISREAD = (TypeError, AttributeError, LookupError)
"""What clients raise of a reply that has the status of a good one and another shape, as that of a server in between."""
_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_SECRET = re.compile(r"(?i)\b(?:sk|pk|rk|lsv2|gsk|xai)[-_][\w*.-]{6,}|\b(?:bearer\s+|key[=:]\s*)\S{8,}|\b[\w-]{32,}\b")


class Form(BaseModel):
    """What a reply must look like.

    Its JSON schema is made once. LangChain and the client each ask for it at every call, and to make it takes longer than
    all else that a call takes.
    """

    @classmethod
    @override
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As that of any pydantic model; the caller may change what it is given."""
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        return deepcopy(_schema(cls))


@cache
def _schema(form: type[BaseModel]) -> dict[str, Any]:
    return cast("Any", BaseModel.model_json_schema).__func__(form)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A usable reply of a model.

    Attributes:
        value: The reply, validated.
        model: The model's name.
        input_tokens: Tokens sent, failed attempts included as far as known; None where the model did not say.
        output_tokens: Tokens received, in the same way.
        start: Unix time in seconds at which the first attempt began.
        end: Unix time in seconds at which the last one ended.
        attempts: How many calls were made.
    """

    value: T
    model: str
    input_tokens: int | None
    output_tokens: int | None
    start: float
    end: float
    attempts: int


async def ask(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    schema: type[T],
    *,
    attempts: int = 3,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.time,
) -> Reply[T]:
    """Ask `model` for a reply of the form `schema`.

    Rate limits, server errors, timeouts, lost connections and replies that the client cannot read are waited out: 1, 2, 4,
    ... seconds, or as long as the server's `Retry-After` says, at most a minute. An unusable reply is answered at once with
    what was wrong with it. Refusals and rejected requests (400, 401, 403, 404) are not tried again.

    Args:
        model: Any LangChain chat model.
        messages: The request.
        schema: What the reply must look like.
        attempts: Calls at most, at least 1.
        sleep: Waits; another one makes tests fast.
        clock: Unix time in seconds.

    Raises:
        UnusableReply: The model refused, or its last reply could not be read.
        ModelError: The call failed for good.
        BudgetExhausted: The call was not admitted; it is never tried again.
    """
    _, name = model_name(model)
    start = clock()
    runnable, request = _structured(model, list(messages), schema)
    conversation, used = request, (None, None)
    for attempt in range(1, attempts + 1):
        last = attempt >= attempts
        try:
            raw, parsed, error = _unpack(await runnable.ainvoke(conversation))
        except TextgradError:
            raise
        except Exception as caught:
            fault = _unreadable(caught)
            if fault:
                raw, parsed, error = AIMessage(""), None, None
            elif last or not _passing(caught):
                raise ModelError(
                    f"the model {name!r} failed at attempt {attempt} of {attempts}: {_in_words(caught)}. {_cure(caught)}"
                ) from caught
            else:
                await sleep(_wait(caught, attempt))
                continue
        else:
            fault = ""
        used = _added(used, raw)
        refusal = _refusal(raw, error)
        if refusal:
            raise UnusableReply(
                f"the model {name!r} refused at attempt {attempt}: {_clean(refusal)}. Asking again would not help; "
                "look at what the graph was given, or take another model."
            )
        value, wrong = (parsed, "") if isinstance(parsed, schema) else _read(raw, schema)
        wrong = fault or wrong
        if value is not None:
            return Reply(value, name, *used, start=start, end=clock(), attempts=attempt)
        if last:
            raise UnusableReply(
                f"the model {name!r} gave no usable reply in {attempts} attempts; the last one: {wrong}. "
                "A model that supports structured output, or a higher limit on its output tokens, helps."
            )
        conversation = _again(request, raw, wrong, schema)
    msg = f"attempts is {attempts}; at least one is needed"
    raise ValueError(msg)


def resolve_model(model: str | BaseChatModel | None) -> BaseChatModel | None:
    """The model meant by `model`: itself, or the one that LangChain's `init_chat_model` makes of its name.

    Args:
        model: A chat model; a name as in "openai:gpt-4o-mini"; or None for no model.

    Raises:
        ModelError: The name is unknown, or the package of its provider is not installed or lacks its key.
    """
    if not isinstance(model, str):
        return model
    from langchain.chat_models import init_chat_model

    try:
        made = init_chat_model(model)
    except ImportError as error:
        raise ModelError(
            f"the model {model!r} needs a package that is not installed: {_clean(str(error))}. Install it, or pass a "
            "chat model object instead of a name."
        ) from error
    except Exception as error:
        raise ModelError(
            f"no chat model could be made of {model!r}: {_in_words(error)}. A name looks like 'openai:gpt-4o-mini' and "
            "takes its key from the environment; a chat model object is taken as it is."
        ) from error
    return with_fast(made)


def model_name(model: BaseChatModel) -> tuple[str, str]:
    """The provider and the name of a model, as in `("openai", "gpt-4o-mini")`; empty where it does not say."""
    # LangChain has no public way to ask for what it reports to LangSmith.
    params = model._get_ls_params()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return str(params.get("ls_provider") or ""), str(params.get("ls_model_name") or "")


def output_limit(model: BaseChatModel) -> int | None:
    """The tokens that a model may answer at most; None where it does not say."""
    limit = model._get_ls_params().get("ls_max_tokens")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return limit if isinstance(limit, int) else None


def _structured(
    model: BaseChatModel, messages: list[BaseMessage], schema: type[BaseModel]
) -> tuple[Runnable[Any, Any], list[BaseMessage]]:
    """What to call, and the request: a model without structured output is told the schema in words."""
    try:
        return cast("Runnable[Any, Any]", model.with_structured_output(schema, include_raw=True)), messages
    except NotImplementedError:
        return cast("Runnable[Any, Any]", model), _with_words(messages, _form(schema))


def _unpack(reply: Any) -> tuple[AIMessage, object, BaseException | None]:
    if isinstance(reply, AIMessage):
        return reply, None, None
    return reply["raw"], reply.get("parsed"), reply.get("parsing_error")


def _read(raw: AIMessage, schema: type[T]) -> tuple[T | None, str]:
    """Read the reply from its tool calls or its text; also returns what was wrong, for the model to mend."""
    wrong = "it holds no JSON object"
    for at, found in enumerate(_objects(raw)):
        try:
            return schema.model_validate(found), ""
        except ValidationError as invalid:
            wrong = wrong if at else _invalid(invalid)
    if _stopped(raw) in {"length", "max_tokens", "MAX_TOKENS"}:
        wrong = _CUT_OFF
    return None, wrong


def _invalid(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the object'}: {e['msg']}" for e in error.errors()[:5])


def _objects(raw: AIMessage) -> Iterator[Any]:
    for call in raw.tool_calls:
        yield call["args"]
    texts = [call["args"] or "" for call in raw.invalid_tool_calls]
    for text in [*texts, *_FENCED.findall(raw.text), raw.text]:
        yield from _json_objects(text)


def _json_objects(text: str) -> Iterator[Any]:
    """The outermost JSON objects in a text. At most 20 openings are tried, so a hostile text costs no more than those."""
    decoder, at = json.JSONDecoder(strict=False), text.find("{")
    for _ in range(20):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield value
        at = text.find("{", end)


def _again(request: list[BaseMessage], raw: AIMessage, wrong: str, schema: type[BaseModel]) -> list[BaseMessage]:
    said = raw.text.strip() or "\n".join(json.dumps(call["args"], ensure_ascii=False) for call in raw.tool_calls)
    mend = f"Your reply could not be used: {wrong}.\n\n{_form(schema)}"
    if not said:
        return _with_words(request, mend.replace("Your reply", "An earlier reply", 1))
    return [*request, AIMessage(said[:_QUOTED]), HumanMessage(mend)]


def _form(schema: type[BaseModel]) -> str:
    form = json.dumps(schema.model_json_schema(), ensure_ascii=False, sort_keys=True)
    return f"Reply with one JSON object that fits this JSON schema, and with nothing else:\n{form}"


def _with_words(messages: list[BaseMessage], words: str) -> list[BaseMessage]:
    """Add `words` to the last human turn: some chat templates refuse two human turns in a row."""
    if messages and isinstance(messages[-1], HumanMessage):
        return [*messages[:-1], HumanMessage(f"{messages[-1].text}\n\n{words}")]
    return [*messages, HumanMessage(words)]


def _refusal(raw: AIMessage, error: BaseException | None) -> str:
    if said := raw.additional_kwargs.get("refusal"):
        return str(said)
    if error is not None and "Refusal" in type(error).__name__:
        return str(error)
    reason = _stopped(raw)
    return f"it stopped because of {reason}" if reason in {"content_filter", "refusal", "SAFETY"} else ""


def _stopped(raw: AIMessage) -> str:
    metadata: dict[str, Any] = raw.response_metadata
    return str(metadata.get("finish_reason") or metadata.get("stop_reason") or "")


def _added(used: tuple[int | None, int | None], raw: AIMessage) -> tuple[int | None, int | None]:
    usage = raw.usage_metadata
    if usage is None:
        return used
    return (used[0] or 0) + usage["input_tokens"], (used[1] or 0) + usage["output_tokens"]


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return None


def _unreadable(error: Exception) -> str:
    """What was wrong with the reply, where the error is about the reply: OpenAI's client reads replies, and raises."""
    if isinstance(error, ValidationError):
        return _invalid(error)
    if any(base.__name__ == "LengthFinishReasonError" for base in type(error).__mro__):
        return _CUT_OFF
    return _clean(str(error)) if isinstance(error, OutputParserException | json.JSONDecodeError) else ""


def _misread(error: Exception) -> bool:
    """Whether a provider's client could not read the reply. What anything else raises of this kind is a fault in code."""
    trace = error.__traceback__ if isinstance(error, _MISREAD) else None
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if package.startswith("langchain_") and package != "langchain_core":
            return True
        trace = trace.tb_next
    return False


def _passing(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = _status(error)
    if _misread(error):
        return True
    if status is not None:
        return status in {_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS} or status >= _SERVER_ERRORS
    if isinstance(error, ProviderError):
        return error.is_retryable
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    return any(base.__name__ in _UNREACHABLE for base in type(error).__mro__)


def asked_too_much(error: BaseException) -> tuple[bool, float | None]:
    """Whether a call failed because the server is asked too much, and in how many seconds it wants to be asked again.

    Returns:
        The seconds are None where the server did not say, and at most a minute.
    """
    if _status(error) not in _OVERLOADED:
        return False, None
    return True, _retry_after(error)


def _wait(error: Exception, attempt: int) -> float:
    """Seconds to wait after the `attempt`th call."""
    asked = _retry_after(error)
    return min(2.0 ** (attempt - 1), _LONGEST_WAIT) if asked is None else asked


def _retry_after(error: BaseException) -> float | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = str(headers.get("retry-after") or headers.get("Retry-After") or "")
    try:
        seconds = float(asked)
    except ValueError:
        seconds = _until(asked, str(headers.get("date") or headers.get("Date") or "")) or math.nan
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT)


def _until(date: str, now: str) -> float | None:
    """Seconds from the server's own `Date` to its `Retry-After` date, so that neither clock has to be right."""
    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError):
        return None


def _cure(error: Exception) -> str:
    status = _status(error)
    if status in {401, 403}:
        return "Check the key and the rights of the account."
    if _misread(error):
        return "The model's client could not read the reply: see whether the server speaks the client's language."
    if _passing(error):
        return "Try again later, or lower the concurrency."
    return "It was not tried again, because the same request would fail again."


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {_clean(str(error))}" if str(error) else type(error).__name__


def _clean(text: str) -> str:
    """One short line without anything that looks like a key: errors are journalled and shown."""
    return _SECRET.sub("[hidden]", " ".join(text.split()))[:300].rstrip(".")
