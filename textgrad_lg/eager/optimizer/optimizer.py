"""Optimizers: from the feedback on Variables to new values of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from typing_extensions import override

from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.eager.config import EngineLike, validate_engine_or_get_default
from textgrad_lg.eager.engine.chat import chat_model
from textgrad_lg.eager.errors import NoFeedback, StepRefused
from textgrad_lg.eager.optimizer.request import (
    Check,
    NewText,
    Wishes,
    feedback_on,
    request,
    site_of,
    text_to_edit,
    value_of,
)
from textgrad_lg.eager.reverse import together, unwrapped
from textgrad_lg.llm import ask
from textgrad_lg.optim.edit import EditLimits
from textgrad_lg.optim.planted import Kind
from textgrad_lg.prompt import Template
from textgrad_lg.sync import run_sync
from textgrad_lg.templates import fence
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.eager.variable import Variable
    from textgrad_lg.types import JSON

# Variables are code, answers and mail as well as prompts, and they come from the script itself: what is odd in a prompt is
# not odd there. Addresses and what nobody sees stay refused.
_LIMITS = EditLimits(characters=20_000, allow=tuple(kind for kind in Kind if kind not in (Kind.ADDRESS, Kind.HIDDEN)))
_REMEMBERED = 300
"""Tokens of one step's feedback that are remembered."""


class Optimizer(ABC):
    """What all optimizers have.

    Args:
        parameters: The Variables to improve. What an operation has made may be among them: it is then trained as if it had
            been given. Take it on before the loss is differentiated.

    Raises:
        ValueError: There are none; one is an image; or one was created with `requires_grad=False`.
        TypeError: One is no Variable.
    """

    def __init__(self, parameters: Sequence[Variable]) -> None:
        from textgrad_lg.eager.variable import Variable

        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("there is nothing to optimise: the list of parameters is empty")
        for parameter in self.parameters:
            if not isinstance(parameter, Variable):  # pyright: ignore[reportUnnecessaryIsInstance]  others may give others
                raise TypeError(f"a parameter is a Variable, and not {type(parameter).__name__}")
            if parameter.is_image:
                raise ValueError(f"{parameter.role_description!r} is an image, and only texts and JSON can be improved")
            if not parameter.requires_grad:
                raise ValueError(
                    f"{parameter.role_description!r} was created with requires_grad=False, so it gets no feedback; create it "
                    "with requires_grad=True"
                )
        for parameter in self.parameters:
            parameter.adopted = True

    def zero_grad(self) -> None:
        """Clear the feedback on every parameter."""
        for parameter in self.parameters:
            parameter.reset_gradients()

    @abstractmethod
    def step(self) -> None:
        """Improve the parameters by the feedback on them."""


class TextualGradientDescent(Optimizer):
    """Gives each parameter that got feedback a new value, written by the engine: all of them, or none.

    A parameter without feedback costs no call and keeps its value. What the engine proposes is checked by code (length, slots,
    frozen spans, addresses, `checks`); what is refused is asked for again, with the reason.

    Args:
        parameters: The Variables to improve.
        verbose: Whether to print each new value.
        engine: Writes the new values; the engine that is set if None.
        constraints: What every new value must meet, in words.
        new_variable_tags: Not used: the engine's reply is structured. Taken so that TextGrad's scripts run.
        optimizer_system_prompt: What the engine is told of how to work, beside what it is told anyhow.
        in_context_examples: Texts that are good examples.
        gradient_memory: How many earlier steps' feedback the engine is shown.
        checks: What every new value must meet, in code: each is given the text, and returns why not, or None.
        slots: Placeholders that every new value must keep; by default those in its text, where it looks like a prompt that is
            filled in by `str.format`.
        limits: How far a new value may go; at most 20,000 characters, or three times the old one's, if None.
        allow_unused: Whether `step` passes over a parameter that no loss depends on; else it raises.
        attempts: How often the engine is asked for one new value, at least 1.

    Attributes:
        updates: The Updates of the last step.

    Raises:
        NoEngine: No engine is given and none is set.
        ValueError: See `Optimizer`; or a number is too small.
        TypeError: A list of texts is one text.
    """

    def __init__(  # noqa: PLR0917  TextGrad's order
        self,
        parameters: Sequence[Variable],
        verbose: int = 0,
        engine: EngineLike | None = None,
        constraints: Sequence[str] | None = None,
        new_variable_tags: Sequence[str] | None = None,
        optimizer_system_prompt: str | None = None,
        in_context_examples: Sequence[str] | None = None,
        gradient_memory: int = 0,
        *,
        checks: Sequence[Check] = (),
        slots: Sequence[str] | None = None,
        limits: EditLimits | None = None,
        allow_unused: bool = False,
        attempts: int = 3,
    ) -> None:
        super().__init__(parameters)
        for name, texts in (
            ("constraints", constraints),
            ("in_context_examples", in_context_examples),
            ("slots", slots),
        ):
            if isinstance(texts, str):
                raise TypeError(f"{name} is a list of texts; put the one text into a list")
        if attempts < 1 or gradient_memory < 0:
            raise ValueError("attempts must be at least 1, and gradient_memory at least 0")
        self.engine = validate_engine_or_get_default(engine)
        self.verbose, self.allow_unused, self.attempts = verbose, allow_unused, attempts
        self.constraints, self.in_context_examples = list(constraints or ()), list(in_context_examples or ())
        self.new_variable_tags = list(new_variable_tags or ())
        limits = limits or _LIMITS
        own = (*limits.trusted, *self.constraints, *self.in_context_examples)
        self._wishes = Wishes(
            tuple(self.constraints),
            tuple(self.in_context_examples),
            tuple(checks),
            None if slots is None else tuple(slots),
            replace(limits, trusted=own),
            _told(optimizer_system_prompt, new_variable_tags),
        )
        self.gradient_memory = gradient_memory
        self._past: list[list[dict[str, str]]] = [[] for _ in self.parameters]
        self.updates: tuple[Update, ...] = ()

    @property
    def gradient_memory_dict(self) -> dict[Variable, list[dict[str, str]]]:
        """The feedback of earlier steps that is remembered, by parameter, oldest first."""
        return {
            p: [{"value": one["feedback"]} for one in past] for p, past in zip(self.parameters, self._past, strict=True)
        }

    @override
    def step(self) -> None:
        """Improve the parameters that got feedback, one call each and all at a time.

        Raises:
            NoFeedback: A parameter had no part in any loss that was differentiated since its feedback was last cleared.
            StepRefused: The engine proposed nothing that may be taken.
            Exception: What the engine raised, unchanged. After any of these, every parameter is as it was.
        """
        run_sync(self.astep())

    async def astep(self) -> None:
        """See `step`."""
        if not self.allow_unused:
            self._used()
        chosen = [at for at, parameter in enumerate(self.parameters) if feedback_on(parameter)]
        self.updates = tuple(await together([self._update(at) for at in chosen]))
        for at, update in zip(chosen, self.updates, strict=True):
            parameter = self.parameters[at]
            self._remember(at)
            if update.new != update.old:
                parameter.set_value(value_of(parameter, update.new.text))
            if self.verbose:
                print(f"--- {parameter.role_description}\n{parameter.text}")  # noqa: T201  asked for

    def state_dict(self) -> dict[str, JSON]:
        """What a later process needs to go on: the values and what is remembered, as JSON."""
        values: list[JSON] = [parameter.json for parameter in self.parameters]
        return {"values": values, "past": json.loads(json.dumps(self._past))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` has given, with the same parameters in the same order.

        Raises:
            ValueError: It is of another number of parameters.
        """
        if len(state["values"]) != len(self.parameters):
            raise ValueError(f"the state is of {len(state['values'])} parameters, and there are {len(self.parameters)}")
        self._past = [[dict(one) for one in past] for past in state["past"]]
        for parameter, value in zip(self.parameters, state["values"], strict=True):
            parameter.set_value(value)

    def _used(self) -> None:
        unused = [p.role_description for p in self.parameters if not p.reached and not feedback_on(p)]
        if unused:
            raise NoFeedback(
                f"no loss depends on {', '.join(map(repr, unused))}: make it an input of what the loss judges, take it on in "
                "an optimizer before backward(), call backward() after zero_grad() and before step(), or give "
                "allow_unused=True"
            )

    def _memory(self, at: int) -> list[tuple[str, str]]:
        """What the engine is told of earlier steps."""
        past = self._past[at][-self.gradient_memory :] if self.gradient_memory else []
        return [(f"feedback {ago(len(past) - at)}", one["feedback"]) for at, one in enumerate(past)]

    def _kept(self) -> int:
        """How many steps are remembered."""
        return self.gradient_memory

    def _remember(self, at: int) -> None:
        """Note what this step had to do with, before the new value is set."""
        parameter = self.parameters[at]
        said = reduce(feedback_on(parameter), tokens=_REMEMBERED)
        past = [*self._past[at], {"value": text_to_edit(parameter), "feedback": said}]
        self._past[at] = past[max(0, len(past) - self._kept()) :]

    async def _update(self, at: int) -> Update:
        """Ask for a new value until one may be taken."""
        parameter = self.parameters[at]
        old, site = text_to_edit(parameter), site_of(parameter)
        first = request(parameter, self._wishes, self._memory(at))
        messages: list[BaseMessage] = first
        reason = ""
        model = chat_model(self.engine)
        for _ in range(self.attempts):
            new = (await unwrapped(ask(model, messages, NewText))).value
            text = new.text if isinstance(parameter.value, str) else new.text.strip()
            same = text.strip() == old.strip()
            found = None if same else self._wishes.refused(parameter, text)
            if found is None:
                before = Template(old)
                asked = tuple(dict.fromkeys(gradient.id for gradient in feedback_on(parameter)))
                return Update(site, before, before if same else Template(text), new.why, "tgd", asked)
            reason = found
            messages = [*first[:-1], _with(first[-1], _again(text, reason))]
        raise StepRefused(
            f"the engine proposed nothing in {self.attempts} attempts that may replace {parameter.role_description!r}; the "
            f"last text was refused because {reason}. Nothing was changed. A stronger model, or fewer constraints, may help"
        )


TGD = TextualGradientDescent


def ago(steps: int) -> str:
    """How long ago, in words."""
    return f"{steps} step{'s' if steps > 1 else ''} ago"


def _told(prompt: str | None, tags: Sequence[str] | None) -> str:
    if not prompt:
        return ""
    start, end = tags or ("", "")
    told = prompt.replace("{new_variable_start_tag}", start).replace("{new_variable_end_tag}", end)
    return f"Besides, the user asks you to work like this; the form of the reply stays as it is:\n{told}"


def _again(text: str, reason: str) -> str:
    refused = fence("a text that was refused", text, tokens=1_000)
    return f"{refused}\n\nThis text cannot be taken: {reason}. Write another one."


def _with(message: BaseMessage, words: str) -> HumanMessage:
    """The message with `words` behind it. Some chat templates refuse two human turns in a row."""
    content = message.content
    if isinstance(content, str):
        return HumanMessage(f"{content}\n\n{words}")
    return HumanMessage([*content, {"type": "text", "text": words}])
