"""Calls of a model with text: LLMCall and those that put together what it is given."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import override

from textgrad_lg.eager.config import EngineLike, validate_engine_or_get_default
from textgrad_lg.eager.defaults import SYSTEM_PROMPT_ROLE, VARIABLE_OUTPUT_ROLE
from textgrad_lg.eager.engine.base import Content
from textgrad_lg.eager.function import Function
from textgrad_lg.eager.operation import Operation, Use
from textgrad_lg.eager.variable import Variable
from textgrad_lg.types import SpanKind


class LLMCall(Function):
    """A call of a model with one text.

    Args:
        engine: The engine; the one that is set if None.
        system_prompt: The system prompt.
        purpose: What the call is for, where it is an evaluation: carried to every request of the reverse pass.
        verdict: Whether the reply says in words what is wrong with the input, so that it is feedback on it as it stands.

    Raises:
        NoEngine: No engine is given and none is set.
    """

    def __init__(
        self,
        engine: EngineLike | None = None,
        system_prompt: Variable | None = None,
        *,
        purpose: str = "",
        verdict: bool = False,
    ) -> None:
        self.engine = validate_engine_or_get_default(engine)
        self.system_prompt = system_prompt
        self.purpose, self.verdict = purpose, verdict
        if system_prompt is not None and not system_prompt.role_description:
            system_prompt.set_role_description(SYSTEM_PROMPT_ROLE)

    @override
    def forward(self, input_variable: Variable, response_role_description: str | None = None) -> Variable:
        """Call the model.

        Args:
            input_variable: What it is given.
            response_role_description: What its reply is for.

        Raises:
            Exception: What the engine raised, unchanged.
        """
        if input_variable.is_image:
            raise ValueError(f"{input_variable.role_description!r} is an image; use MultimodalLLMCall for it")
        return self.called(input_variable.text, [input_variable], response_role_description)

    def called(
        self,
        content: Content,
        inputs: Iterable[Variable],
        role: str | None,
        *,
        purpose: str = "",
        reply: str | None = None,
    ) -> Variable:
        """Call the engine with `content`, and record what it was made from.

        Args:
            content: What the engine is given.
            inputs: What `content` was made from; the system prompt is added.
            role: What the reply is for.
            purpose: What the call is for, where this call says more than the operation.
            reply: The part of a reply that counts, where it has been made already.
        """
        system = self.system_prompt
        # Noted before the call, which may take long: another thread may set a new value meanwhile.
        used: tuple[Use, ...] = tuple(source.use() for source in ([system] if system else []) + list(inputs))
        if reply is None:
            reply = self.engine(content, system_prompt=system.text if system else None)
        operation = Operation(
            SpanKind.LLM, type(self).__name__, used, purpose=purpose or self.purpose, verdict=self.verdict
        )
        return Variable.made(reply, role or VARIABLE_OUTPUT_ROLE, operation)


class FormattedLLMCall(LLMCall):
    """A call of a model with several texts, put together by a format string.

    A format string that is a valid one for exactly these fields is formatted as `str.format` does; in any other one, the
    fields alone are replaced, and every other brace is text.

    Args:
        engine: The engine; the one that is set if None.
        format_string: The text, with `{field}` where a field goes.
        fields: The names of the fields. The values of a mapping are not used.
        system_prompt: The system prompt.
        purpose: What the call is for, where it is an evaluation; `format_string` if None.
        verdict: Whether the reply says in words what is wrong with its one trainable input.
    """

    def __init__(
        self,
        engine: EngineLike | None,
        format_string: str,
        fields: Iterable[str],
        system_prompt: Variable | None = None,
        *,
        purpose: str | None = None,
        verdict: bool = False,
    ) -> None:
        super().__init__(engine, system_prompt, purpose=format_string if purpose is None else purpose, verdict=verdict)
        self.format_string = format_string
        self.fields = list(fields)

    @override
    def forward(self, inputs: Mapping[str, Variable], response_role_description: str | None = None) -> Variable:  # pyright: ignore[reportIncompatibleMethodOverride]  as TextGrad has it
        """Call the model with the fields of `inputs`.

        Raises:
            ValueError: The fields are not those that were announced, or one is an image.
            Exception: What the engine raised, unchanged.
        """
        check_fields(self.fields, inputs)
        if images := [name for name, variable in inputs.items() if variable.is_image]:
            raise ValueError(f"the field {images[0]!r} is an image; use OrderedFieldsMultimodalLLMCall for it")
        values = {name: variable.text for name, variable in inputs.items()}
        return self.called(formatted(self.format_string, values), inputs.values(), response_role_description)


class LLMCall_with_in_context_examples(LLMCall):  # noqa: N801  TextGrad's name
    """A call of a model whose reply may hold its result between `<FINAL>` tags, with examples for the reverse pass."""

    @override
    def forward(
        self,
        input_variable: Variable,
        response_role_description: str | None = None,
        in_context_examples: Sequence[str] | None = None,
    ) -> Variable:
        """Call the model.

        Args:
            input_variable: What it is given.
            response_role_description: What its reply is for.
            in_context_examples: Examples of good replies: shown in the reverse pass beside the inputs.

        Returns:
            What stands between the tags; the whole reply where there are none.
        """
        system = self.system_prompt.text if self.system_prompt else None
        reply = self.engine(input_variable.text, system_prompt=system)
        tagged = re.search(r"<FINAL>(.*?)(?:</FINAL>|\Z)", reply, re.DOTALL)
        examples = [
            Variable(
                "\n\n".join(in_context_examples or ()), requires_grad=False, role_description="examples of good replies"
            )
            for _ in range(bool(in_context_examples))
        ]
        found = tagged[1].strip() if tagged else reply
        return self.called("", [input_variable, *examples], response_role_description, reply=found)


def formatted(format_string: str, values: Mapping[str, str]) -> str:
    """The format string with its fields filled; a value is never searched for fields.

    Example:
        >>> formatted('Judge {code}. Reply as {"ok": true}.', {"code": "print({x})"})
        'Judge print({x}). Reply as {"ok": true}.'
    """
    try:
        parsed = list(string.Formatter().parse(format_string))
    except ValueError:
        parsed = []
    plain = all(name in values and not spec and not way for _, name, spec, way in parsed if name is not None)
    if parsed and plain:
        return "".join(text + (values[name] if name is not None else "") for text, name, _, _ in parsed)
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda field: values[field[1]], format_string) if names else format_string


def check_fields(fields: Sequence[str], inputs: Mapping[str, Variable]) -> None:
    """Raise where the fields given are not those announced."""
    if set(fields) != set(inputs):
        raise ValueError(f"the fields should be {list(fields)}, and are {list(inputs)}")
