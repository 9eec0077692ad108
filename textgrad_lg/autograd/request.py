"""The parts that requests of the reverse pass are made of, each under its own hard cap.

Feedback that grows with the depth of the graph is the known failure of textual gradients. Here the parts that every request
carries (the goal, the verdicts, what was expected, what was tried) come unchanged from their source and not from the request
before, and no part exceeds its cap, so that the size of a request does not depend on its depth.

The caps are in tokens of three characters (`templates.CHARS_PER_TOKEN`), because no model's own tokenizer is at hand: English
has about four characters a token, so that it stays below; a script with a token a character, such as Chinese, may take
three times the figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from textgrad_lg.descriptions import is_description, purpose
from textgrad_lg.errors import ModelError
from textgrad_lg.gradient import GradientCall
from textgrad_lg.llm import Form, ask, model_name
from textgrad_lg.site import Site
from textgrad_lg.templates import clip, fence, tokens_in, tokens_shown
from textgrad_lg.types import JSON
from textgrad_lg.variable import readable, text_of, without_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from textgrad_lg.autograd.graph import Pruned
    from textgrad_lg.trace import Trace
    from textgrad_lg.variable import Variable

T = TypeVar("T", bound=BaseModel)

GOAL, VERDICTS, INPUT, OUTPUT, TRIED = 200, 400, 300, 300, 300
"""Tokens, for each of the parts that every request carries."""
FEEDBACK, ITEM = 500, 200
"""Tokens of all feedback on one Variable, and of one piece of feedback that a model gave."""
PROMPTS, INPUTS, OTHERS, RESULT = 2400, 1600, 800, 800
"""Tokens of a call's Parameters, of its inputs, of the rest it was given, and of what it made."""
MOST = 12
"""How many Parameters, and how many inputs, one request asks about; which of more, `evidence.likeliest` says."""
NAME = 40
"""Tokens of a step's name."""


class Criticism(BaseModel):
    """Feedback on one of the texts shown."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(description="The id of the text, exactly as it was shown, such as P1.")
    feedback: str = Field(description="One to three sentences; empty if the text is not at fault.")


class CallFeedback(Form):
    """Feedback on one model call, split by what could have been better."""

    model_config = ConfigDict(extra="ignore")

    about_this: list[Criticism] = Field(description="What the call's own prompts (P1, P2, ...) should ask for.")
    about_inputs: list[Criticism] = Field(description="What the call should have been given instead (V1, V2, ...).")


class Feedback(Form):
    """Feedback on the texts shown."""

    model_config = ConfigDict(extra="ignore")

    feedback: list[Criticism]


@dataclass(frozen=True, slots=True)
class Critic:
    """What a reverse pass asks with.

    Attributes:
        model: Gives the feedback.
        goal: What the graph is for, in the user's words; may be empty.
        tried: What was tried before, by Parameter, each with what became of it; the latest last.
        sleep: Waits between attempts.
        clock: Unix time in seconds.
        excerpt: Tokens of a call's Parameters, and of its inputs; `PROMPTS` and `INPUTS` if None.
        strict: Whether a call that failed for good is raised, instead of being recorded.
    """

    model: BaseChatModel
    goal: str = ""
    tried: Mapping[Site, Sequence[str]] = field(default_factory=dict[Site, "Sequence[str]"])
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.time
    excerpt: int | None = None
    strict: bool = False

    def common(self, pruned: Pruned, seen_by: Iterable[int], sites: Iterable[Site]) -> dict[str, str]:
        """The parts that every request carries: the goal, the verdicts behind the feedback, the output, what was tried."""
        told: list[str] = []
        for at in seen_by:
            seed = pruned.seeds[at]
            score = "" if seed.score is None else f"score {seed.score:g}. "
            told.append(f"{seed.key}: {score}{seed.text}")
            # A long comment is cut, and what was expected may be in the piece that is cut out.
            if seed.expected and (seed.expected not in seed.text or tokens_in(seed.text) > VERDICTS // 8):
                told.append(f"{seed.key}: expected {seed.expected}")
        made = pruned.trace.output()
        output = readable(json.dumps(without_ids(made), ensure_ascii=False, sort_keys=True))
        if tokens_in(output) > OUTPUT:
            output = lines(made, OUTPUT)
        # The latest attempts first: they are the ones that must not be repeated, and the cap cuts in the middle.
        tried = [
            f"{site}: {text}" for site in dict.fromkeys(sites) for text in reversed(list(self.tried.get(site, ())))
        ]
        return {
            "goal": _part("goal of the whole system", self.goal, GOAL),
            "verdicts": _part("verdicts on the output of the whole system", joined(told, VERDICTS), VERDICTS),
            "output": _part("output of the whole system", output, OUTPUT),
            "tried": _part("what was tried before, latest first", "\n".join(tried), TRIED),
        }

    async def ask(self, span: str, messages: Sequence[BaseMessage], schema: type[T]) -> tuple[T | None, GradientCall]:
        """Ask about one Span; also returns the record of the call. None, and `error` in the record, where it failed for good.

        Raises:
            BudgetExhausted: The call was not admitted.
            ModelError: It failed for good, and the critic is `strict`.
        """
        start = self.clock()
        try:
            reply = await ask(self.model, messages, schema, sleep=self.sleep, clock=self.clock)
        except ModelError as error:
            if self.strict:
                raise
            _, name = model_name(self.model)
            return None, GradientCall(span, name, start=start, end=self.clock(), error=str(error))
        used = (reply.input_tokens, reply.output_tokens)
        return reply.value, GradientCall(span, reply.model, *used, start=reply.start, end=reply.end)


def run_input(trace: Trace, shown: Collection[str]) -> str:
    """The input of the whole run, as a part of its own; empty where any of the Variables `shown` is of it."""
    if set(trace.inputs.values()).intersection(shown):
        return ""
    values = {field: trace.variable_by_id[name].value for field, name in trace.inputs.items()}
    return _part("input of the whole system", lines(values, INPUT), INPUT)


def lines(values: Mapping[str, JSON], tokens: int) -> str:
    """One `name: value` a line, see `joined`."""
    texts = (
        readable(
            value if isinstance(value, str) else json.dumps(without_ids(value), ensure_ascii=False, sort_keys=True)
        )
        for value in values.values()
    )
    return joined([f"{key}: {text}" for key, text in zip(values, texts, strict=True)], tokens)


def joined(texts: Sequence[str], tokens: int) -> str:
    """The texts, one a line, in at most `tokens`: each is cut to its share, so that a long one does not hide the rest."""
    shared = shares(texts, max(tokens - tokens_in("\n" * len(texts)), 0))
    return "\n".join(clip(text, share) for text, share in zip(texts, shared, strict=True))


def listing(variables: Sequence[tuple[str, Variable]], tokens: int) -> str:
    """One fence for each Variable, labelled with its id in this request and its role; `tokens` for all of them together."""
    texts = [readable(text_of(variable.value)) for _, variable in variables]
    return "\n\n".join(
        fence(f"{name}: {variable.role}", text, tokens=share)
        for (name, variable), text, share in zip(variables, texts, shares(texts, tokens), strict=True)
    )


def explained(variables: Iterable[tuple[str, Variable]]) -> str:
    """What the Parameters are that are no prompts, so that feedback on a description says what it should tell; else empty."""
    sites = [
        (name, variable.site) for name, variable in variables if variable.requires_grad and variable.site is not None
    ]
    use = ", ".join(f"{name} ({purpose(site)})" for name, site in sites if is_description(site))
    settings = ", ".join(name for name, site in sites if site.is_setting)
    told = [
        f"Not prompts but descriptions, by which the model decides, are: {use}. Of such a description, say what it should "
        "tell the model."
        if use
        else "",
        f"Not prompts but settings are: {settings}. Of a setting, say which value it should have." if settings else "",
    ]
    return "\n\n".join(filter(None, told))


def shares(texts: Sequence[str], tokens: int) -> list[int]:
    """How many of `tokens` each text gets: all it needs where it needs less than an equal share, which leaves more for the rest."""
    given = [0] * len(texts)
    left = tokens
    for done, at in enumerate(sorted(range(len(texts)), key=lambda at: len(texts[at]))):
        given[at] = min(tokens_shown(texts[at]), left // (len(texts) - done))
        left -= given[at]
    return given


def by_id(said: Iterable[Criticism], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The feedback by id, what was said twice joined, in the order of `known`; and the ids that are not known."""
    found: dict[str, list[str]] = {name: [] for name in known}
    unknown: list[str] = []
    for item in said:
        name, text = item.id.strip(" `'\"[]()."), item.feedback.strip()
        if name not in found:
            unknown.append(name[:20])
        elif text and text not in found[name]:
            found[name].append(text)
    return {name: "\n".join(texts) for name, texts in found.items() if texts}, unknown


def _part(label: str, text: str, tokens: int) -> str:
    return fence(label, text, tokens=tokens) if text.strip() else ""
