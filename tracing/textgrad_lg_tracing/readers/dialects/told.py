"""Told: what one span says of the run behind it, whoever wrote the span."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.span import SourceSpan

_OPENING = '{["'
REDACTED = ("__REDACTED__", "[REDACTED]", "<redacted>", "***REDACTED***")
"""What OpenInference and the usual redactors put in the place of what they hide."""


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()
"""That the span does not say it: content was not captured, or was dropped. None is a value."""


@dataclass(slots=True)
class Told:
    """What a span says of its run.

    Attributes:
        kind: "chain", "prompt", "llm", "tool" or "retriever" as LangChain has them; "eval" for a judgement; "" for a span
            that stands for no run of its own, and whose children belong to the span around it.
        name: The run's name: of a task its node, of a tool the tool.
        metadata: What LangGraph and the user attached, lists and numbers decoded.
        tags: LangGraph's `seq:step:<n>` among them, where they are kept.
        inputs: The state or arguments that it was given, as JSON, or `Coded`.
        outputs: What it returned, as JSON, or `Coded`.
        messages: Of a model call the messages sent, as JSON in the producer's form.
        reply: Of a model call the message that came back.
        params: Of a model call what was sent beside the messages: "tools", "model".
        extra: Of a tool "description" and "tool_call_id".
        usage: "input_tokens" and "output_tokens", where known.
        templates: The texts of a prompt template, each a role and a text with its slots in braces.
        has_ids: Whether messages that had ids were written with them.
        wrapped: The key under which the producer puts what is no mapping; "" where it does not.
        unwrapped: Whether the producer writes a mapping with one text as the text alone.
    """

    kind: str
    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: tuple[str, ...] = ()
    inputs: JSON | Absent | Coded = ABSENT
    outputs: JSON | Absent | Coded = ABSENT
    messages: JSON | Absent = ABSENT
    reply: JSON | Absent = ABSENT
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    templates: tuple[tuple[str, str], ...] = ()
    has_ids: bool = True
    wrapped: str = ""
    unwrapped: bool = False


class Dialect(Protocol):
    """How one producer writes LangGraph's runs into spans."""

    @property
    def name(self) -> str:
        """Who wrote the spans: "langsmith", "openinference" and the like."""
        ...

    def speaks(self, span: SourceSpan) -> bool:
        """Whether a span is this producer's."""
        ...

    def read(self, span: SourceSpan) -> Told:
        """What a span of this producer says."""
        ...


@dataclass(frozen=True, slots=True)
class Coded:
    """A text that the producer says is JSON. It is parsed when it is needed, and much of what a trace holds never is.

    Attributes:
        text: The text.
    """

    text: str


def parsed(value: JSON | Absent | Coded) -> JSON | Absent:
    """What a text says, if it is JSON; else the value as it is. A text that is too deep to be read stays a text."""
    if isinstance(value, Coded):
        value = value.text
    if not isinstance(value, str) or value[:1] not in _OPENING or not value:
        return value
    loads = _fast()
    if loads is not None:
        try:
            return loads(value)
        except ValueError:
            # What Python writes and strict JSON does not allow: NaN, half a surrogate.
            pass
    try:
        found: JSON = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found


@cache
def _fast() -> Callable[[str], JSON] | None:
    """The fast parser, where it is installed: what a client has returned is read without it too."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson.loads


def mapping(value: object) -> dict[str, Any]:
    """A value that is a mapping, or a text that is one in JSON; else an empty one."""
    known = parsed(cast("JSON", value))
    return cast("dict[str, Any]", known) if isinstance(known, dict) else {}


def under(attributes: Mapping[str, JSON], prefix: str) -> dict[str, Any]:
    """The attributes whose keys begin with a prefix, without it; lists and mappings that were written as JSON decoded."""
    cut = len(prefix)
    return {
        key[cut:]: parsed(value) if isinstance(value, str) and value[:1] in "[{" else value
        for key, value in attributes.items()
        if key.startswith(prefix)
    }


def tokens(attributes: Mapping[str, JSON], sent: str, received: str) -> dict[str, int]:
    """A call's tokens, from the attributes that count them."""
    found = {"input_tokens": attributes.get(sent), "output_tokens": attributes.get(received)}
    return {name: int(n) for name, n in found.items() if isinstance(n, int | float) and not isinstance(n, bool)}


def first_messages(value: object) -> JSON | Absent:
    """The messages in a model call's input as LangChain's tracers write it: one list for each call of a batch."""
    found = cast("Any", mapping(value).get("messages"))
    if isinstance(found, list) and found:
        inner = cast("list[Any]", found)
        return cast("JSON", inner[0] if isinstance(inner[0], list) else inner)
    prompts = cast("Any", mapping(value).get("prompts"))
    if isinstance(prompts, list) and prompts:
        return [{"type": "human", "content": str(cast("list[Any]", prompts)[0])}]
    return ABSENT


def first_generation(value: object) -> JSON | Absent:
    """The reply in a model call's output as LangChain's tracers write it."""
    found: Any = mapping(value).get("generations")
    while isinstance(found, list) and found:
        found = cast("list[Any]", found)[0]
    if not isinstance(found, dict):
        return ABSENT
    generation = cast("dict[str, JSON]", found)
    return generation.get("message") or {"type": "ai", "content": generation.get("text") or ""}
