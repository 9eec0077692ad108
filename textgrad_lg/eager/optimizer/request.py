"""The request for a new text, and what of the reply may take the old text's place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from textgrad_lg.autograd.images import with_images
from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.autograd.request import shares
from textgrad_lg.eager.graph import site_name
from textgrad_lg.eager.images import block, shown
from textgrad_lg.eager.optimizer.slots import slots_of
from textgrad_lg.eager.variable import Feedback, Variable
from textgrad_lg.gradient import Gradient
from textgrad_lg.optim.edit import EditLimits, check, keep_margins
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.templates import fence, fill, tokens_in
from textgrad_lg.variable import is_image

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.types import JSON

FEEDBACK, CONTEXT, MEMORY, EXAMPLES = 1_200, 2_400, 2_400, 2_000
"""Hard caps in tokens: all feedback, all that shows how the text was used, all that came before, all examples."""
_CONTEXTS = 6
"""Operations at most that show how the text was used: the latest are taken."""

Check = Callable[[str], str | None]
"""Given a proposed text: why it may not be taken, in words; None if it may."""


class NewText(BaseModel):
    """A new version of the text."""

    model_config = ConfigDict(extra="ignore")

    why: str = Field(description="Why this version answers the feedback, in one or two sentences.")
    text: str = Field(description="The whole new text.")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks of every new text.

    Attributes:
        constraints: In words; told to the engine.
        examples: Texts that are good examples; shown to the engine.
        checks: In code; what they refuse is not taken.
        slots: The placeholders to keep, for each text; found in the text if None.
        limits: How far a new text may go.
        instructions: What else the engine is told, of how to work.
    """

    constraints: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    slots: tuple[str, ...] | None = None
    limits: EditLimits = field(default_factory=EditLimits)
    instructions: str = ""

    def kept(self, text: str) -> tuple[str, ...]:
        """The placeholders of `text` that a new text has to keep."""
        return slots_of(text) if self.slots is None else tuple(name for name in self.slots if f"{{{name}}}" in text)

    def refused(self, variable: Variable, new: str) -> str | None:
        """Why `new` may not take the place of the Variable's text; None if it may."""
        old = text_to_edit(variable)
        slots = self.kept(old)
        # Braces are placeholders in a prompt alone: in code, JSON and LaTeX they come and go.
        plain = str.maketrans("", "") if slots else str.maketrans("{}", "()")
        limits = self.limits
        first, second = (Template(text.translate(plain), slots) for text in (old, new))
        reason = check(first, second, limits=limits)
        if reason is None and not isinstance(variable.value, str):
            reason = _no_json(variable.value, new)
        for one in self.checks:
            reason = reason or one(new)
        return reason


def text_to_edit(variable: Variable) -> str:
    """The Variable's text, as the engine is given it and gives it back."""
    return (
        variable.value if isinstance(variable.value, str) else json.dumps(variable.value, ensure_ascii=False, indent=2)
    )


def value_of(variable: Variable, new: str) -> JSON:
    """The new value that a new text is."""
    return keep_margins(variable.value, new) if isinstance(variable.value, str) else json.loads(new)


def feedback_on(variable: Variable) -> list[Gradient]:
    """The feedback on a Variable, that which was added by hand included; empty texts are none."""
    return [
        feedback.gradient
        if isinstance(feedback, Feedback)
        else Gradient(variable.role_description, feedback.text, "", "by hand", site=site_of(variable))
        for feedback in variable.gradients
        if feedback.text.strip()
    ]


def site_of(variable: Variable) -> Site:
    """The Site that an Update of this Variable carries."""
    return Site((site_name(variable.role_description),), "text")


def request(variable: Variable, wishes: Wishes, memory: Sequence[tuple[str, str]] = ()) -> list[BaseMessage]:
    """The request for a new text, as it is sent.

    Args:
        variable: The text, with the feedback on it.
        wishes: What the user asks of every new text.
        memory: What came before, oldest first: pairs of a title and a text.
    """
    text = text_to_edit(variable)
    limits = wishes.limits
    feedback = reduce(feedback_on(variable), tokens=FEEDBACK)
    operations = list({id(f.operation): f.operation for f in variable.gradients if isinstance(f, Feedback)}.values())
    used = [operation for operation in operations if operation is not None][-_CONTEXTS:]
    siblings = {use.key: use for operation in used for use in operation.inputs if use.variable is not variable}
    texts = [use for use in siblings.values() if not (isinstance(use.value, bytes) or is_image(use.value))]
    given = shares([shown(use.value) for use in texts], CONTEXT)
    shown_with = "\n\n".join(
        fence(use.variable.role_description, shown(use.value), tokens=share)
        for use, share in zip(texts, given, strict=True)
    )
    past = shares([before for _, before in memory], MEMORY)
    messages = fill(
        "step",
        role=variable.role_description,
        instructions=wishes.instructions,
        text=fence("the text now", text, tokens=tokens_in(text), exact=True),
        slots=_titled("Slots, which are filled in later; keep each of them", [f"{{{s}}}" for s in wishes.kept(text)]),
        feedback=fence("feedback, the most pressing first", feedback, tokens=FEEDBACK),
        context=f"What the text was used with, when it got this feedback:\n\n{shown_with}" if shown_with else "",
        memory="\n\n".join(
            fence(title, before, tokens=share) for (title, before), share in zip(memory, past, strict=True)
        ),
        constraints=_titled("Constraints", wishes.constraints),
        examples="\n\n".join(
            fence("example of a good text", example, tokens=share)
            for example, share in zip(wishes.examples, shares(wishes.examples, EXAMPLES), strict=True)
        ),
        longest=str(limits.longest(Template(text))),
    )
    images = ((use.variable.role_description, use.value) for use in siblings.values() if use not in texts)
    return with_images(messages, [(role, block(value)) for role, value in images])


def _no_json(old: object, new: str) -> str | None:
    try:
        value = json.loads(new)
    except ValueError as error:
        return f"the new text is not JSON, and the old one is: {error}"
    return None if isinstance(value, type(old)) else f"the new JSON is {type(value).__name__}, not {type(old).__name__}"


def _titled(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"- {item}" for item in items)]) if items else ""
