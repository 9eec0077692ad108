"""Redact: one function of the user's decides what models and spans may be shown of what runs hold.

It stands in front of all that a run shows of other runs: to the model that criticises, to those that propose, to the
library's own judges, and, in `textgrad_lg_tracing`, to spans. The graph itself is given what it was always given.

What is hidden is no evidence: Gradients on a Variable of which nothing was shown are left out, and a demonstration of which
something was hidden is not proposed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self, cast

from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import leaf_texts, text_of

if TYPE_CHECKING:
    from textgrad_lg.example import Example
    from textgrad_lg.gradient import Gradients
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.variable import Variable

Redactor = Callable[[str, object], object]
"""Given the place of a value and the value, returns what may be shown.

The value is text, a number, a boolean or None: never a list or a mapping, whose parts are given one by one; keys are not
given. The place is a path with dots. For models it begins with `inputs.{field}`, `outputs.{field}`, `variable.{id}`,
`span.{id}`, `example`, `reference`, `demo`, `message`, `reply` or `judged`; in spans with the attribute's key, as in
`gen_ai.input.messages.0.parts.0.content`. It may be called from several threads, and should always give the same for the
same: what models are asked is remembered by what they are shown."""

WITHHELD: Final = "[withheld: the redactor failed]"
"""What is shown in the place of a value at which the redactor raised."""

_log = logging.getLogger("textgrad_lg")
_WORD = re.compile(r"\w{3,}")
_OWN = frozenset(
    (
        *(
            "model",
            "provider",
            "agent",
            "tools",
            "description",
            "purpose",
            "tool_call_id",
            "task",
            "step",
            "triggers",
            "options",
        ),
        *("run_id", "replayed", "seconds", "input_tokens", "output_tokens", "score", "fields"),
        *("response_format", "output_config", "response_json_schema"),
    )
)
"""Attributes of Spans that are the application's or the recorder's own."""
_MESSAGE = ("id", "role", "type", "site", "tool_call_id", "call_id", "tool_use_id")
"""What a message and its blocks are told apart by."""
_IN_FORCE: ContextVar[Redactor | None] = ContextVar("textgrad_lg_redactor", default=None)


def in_force() -> Redactor | None:
    """The redactor of the run that this code is part of; None outside of runs, and where a run has none."""
    return _IN_FORCE.get()


@contextmanager
def redacting(redactor: Redactor | None) -> Generator[None]:
    """Within it, `redactor` is in force: for the library's own judges, and for callbacks that have none of their own."""
    token = _IN_FORCE.set(redactor)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def shown(redactor: Redactor, place: str, value: JSON) -> JSON:
    """What the redactor lets through of one value that is no list and no mapping. Never raises.

    Args:
        redactor: The user's.
        place: Where the value is.
        value: Text, a number, a boolean or None.
    """
    try:
        found = redactor(place, value)
        return found if isinstance(found, str | int | float | bool | None) else str(found)
    except Exception as error:  # noqa: BLE001  what the redactor did not pass must not be shown, and the run goes on
        _log.debug("the redactor raised %s at %s", type(error).__name__, place)
        return WITHHELD


@dataclass(frozen=True, slots=True)
class Redaction:
    """What may be shown of what runs hold. Without a redactor all of it, and the same objects are given back.

    Attributes:
        redactor: The user's; None for none.
        keep: Texts that are the user's own, such as prompts in force; they are shown as they are, wherever they stand.
    """

    redactor: Redactor | None = None
    keep: frozenset[str] = frozenset()

    @classmethod
    def on(cls, redactor: Redactor | None, trace: Trace, parameters: Mapping[Site, Template]) -> Self:
        """That of a labelled Trace: its prompts are the user's own, but for what was filled into their slots.

        Args:
            redactor: The user's; None for none.
            trace: The run.
            parameters: The Parameters that it is labelled with.
        """
        known = (
            (variable, parameters.get(variable.site)) for variable in trace.parameters if variable.site is not None
        )
        return cls(redactor, frozenset(text_of(one.value) for one, own in known if own is not None and not own.slots))

    def value(self, place: str, value: JSON) -> JSON:
        """A value, part by part."""
        if self.redactor is None:
            return value
        return self._value(self.redactor, place, value)

    def text(self, place: str, text: str) -> str:
        """A text."""
        return str(self.value(place, text))

    def trace(self, trace: Trace) -> Trace:
        """A Trace with the same ids, edges and Sites, and with the values that may be shown."""
        if self.redactor is None:
            return trace
        places = {name: f"inputs.{field}" for field, name in trace.inputs.items()}
        places |= {name: f"outputs.{field}" for field, name in trace.outputs.items()}

        def variable(one: Variable) -> Variable:
            return replace(one, value=self.value(places.get(one.id, f"variable.{one.id}"), one.value))

        def span(one: Span) -> Span:
            place = f"span.{one.id}"
            attributes = {
                key: value if key in _OWN else self.value(f"{place}.{key}", value)
                for key, value in one.attributes.items()
            }
            error = None if one.error is None else self.text(f"{place}.error", one.error)
            return replace(one, attributes=attributes, error=error)

        return replace(
            trace,
            variables=tuple(map(variable, trace.variables)),
            spans=tuple(map(span, trace.spans)),
            warnings=tuple(self.text("warning", warning) for warning in trace.warnings),
        )

    def evidence(self, gradients: Gradients, before: Trace, after: Trace) -> Gradients:
        """The Gradients without those on a Variable of which nothing was shown; those on Parameters all stay.

        Args:
            gradients: Of the reverse pass over `after`.
            before: The Trace as it was recorded.
            after: What `trace(before)` gave.
        """
        if before is after:
            return gradients
        verdicts = {span.id for span in before.spans if span.kind is SpanKind.EVAL}
        hidden = {
            variable.id
            for variable in before.variables
            if variable.site is None
            and variable.span not in verdicts
            and _hidden(variable.value, after.variable_by_id[variable.id].value)
        }
        items = tuple(gradient for gradient in gradients if gradient.variable not in hidden)
        return replace(gradients, items=items) if len(items) < len(gradients) else gradients

    def example(self, example: Example) -> Example:
        """An Example with the same id."""
        if self.redactor is None:
            return example
        wanted = self.value("reference", cast("JSON", example.reference_outputs))
        return replace(
            example,
            inputs=self.value("example", example.inputs),
            reference_outputs=cast("dict[str, JSON] | None", wanted),
        )

    def demos(self, demos: Iterable[Demo]) -> tuple[Demo, ...]:
        """The demonstrations of which nothing is hidden: one with a gap in it would teach the gap."""
        return tuple(demo for demo in demos if self._whole(demo))

    def _whole(self, demo: Demo) -> bool:
        given = all(self.value(f"demo.{name}", text) == text for name, text in demo.inputs)
        return given and self.value("demo.output", demo.output) == demo.output

    def _value(self, redactor: Redactor, place: str, value: JSON) -> JSON:
        if isinstance(value, Mapping):
            parts = "role" in value and "content" in value
            return {key: self._part(redactor, f"{place}.{key}", key, item, parts) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(redactor, f"{place}.{at}", item) for at, item in enumerate(value)]
        return value if isinstance(value, str) and value in self.keep else shown(redactor, place, value)

    def _part(self, redactor: Redactor, place: str, key: str, item: JSON, of_message: bool) -> JSON:
        """One field of a mapping; of a message's, what tells it apart stays, and so do the names of the tools it calls."""
        if not of_message:
            return self._value(redactor, place, item)
        if key in _MESSAGE:
            return item
        if key in ("content", "tool_calls", "invalid_tool_calls") and isinstance(item, list):
            own = _MESSAGE if key == "content" else (*_MESSAGE, "name")
            return [
                {k: v if k in own else self._value(redactor, f"{place}.{at}.{k}", v) for k, v in block.items()}
                if isinstance(block, dict)
                else self._value(redactor, f"{place}.{at}", block)
                for at, block in enumerate(item)
            ]
        return self._value(redactor, place, item)


def _hidden(before: JSON, after: JSON) -> bool:
    """Whether no word, and no value that is no text, is left of what was there."""
    if before == after:
        return False
    texts, left = list(leaf_texts(before)), list(leaf_texts(after))
    words = {word for text in left for word in _WORD.findall(text)}
    return not any(text in left or words.intersection(_WORD.findall(text)) for text in texts if text.strip())
