"""Variable.backward: the Traces of an eager graph through the reverse pass, and the Gradients onto its Variables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field

from textgrad_lg.autograd import backward, relevant
from textgrad_lg.autograd.request import shares
from textgrad_lg.autograd.rules import RULES
from textgrad_lg.eager.config import EngineLike, validate_engine_or_get_default
from textgrad_lg.eager.engine.chat import chat_model
from textgrad_lg.eager.graph import Pass, passes
from textgrad_lg.eager.variable import Feedback, Feedbacks, Variable
from textgrad_lg.errors import ModelError, UnusableReply
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.llm import ask
from textgrad_lg.templates import fence, fill
from textgrad_lg.types import SpanKind, Strategy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

T = TypeVar("T")

_MERGED, _TEXT = 4_000, 800
"""Tokens of all feedback that one merging request shows, and of the text that it is about."""


class Merged(BaseModel):
    """Feedback from several examples as one."""

    model_config = ConfigDict(extra="ignore")

    feedback: str = Field(min_length=1, description="The merged feedback.")


async def differentiate(
    root: Variable, engine: EngineLike | None, *, concurrency: int = 8, excerpt: int | None = None
) -> None:
    """Put feedback on every Variable that had a part in `root`. See `Variable.backward`."""
    found, reached = passes(root)
    # An engine is needed only where somebody has to be asked: a judge's words may be all the feedback there is.
    chosen = validate_engine_or_get_default(engine) if any(map(_asks, found)) else None
    model = None if chosen is None else chat_model(chosen)
    limit = asyncio.Semaphore(concurrency)
    each = max(1, concurrency // max(len(found), 1))

    async def run(one: Pass) -> Gradients:
        async with limit:
            strategy = Strategy.STRUCTURAL if model is None else Strategy.CHAIN
            made = backward(
                one.trace, model, strategy=strategy, goal=one.goal, concurrency=each, excerpt=excerpt, strict=True
            )
            return await unwrapped(made)

    laid = [
        item
        for one, result in zip(found, await together([run(one) for one in found]), strict=True)
        for item in _laid(one, result, root)
    ]
    merged = await together([_merged(group, model, engine, root) for group in _to_merge(laid)])
    replaced = {id(old.feedback): new for group in merged for old, new in group}
    for variable in reached:
        variable.reached = True
    by_variable: dict[int, list[_Laid]] = {}
    for item in laid:
        by_variable.setdefault(id(item.variable), []).append(item)
    for items in by_variable.values():
        variable = items[0].variable
        kept = [old for old in variable.gradients if not (isinstance(old, Feedback) and old.root is root.grad_fn)]
        variable.gradients = Feedbacks([*kept, *(replaced.get(id(item.feedback), item.feedback) for item in items)])


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. The first failure in that order is raised: what is raised does not depend on timing."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        found = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return [result for result in found if not isinstance(result, BaseException)]


async def unwrapped(work: Awaitable[T]) -> T:
    """The result; where the engine itself failed, what it raised, as it was raised."""
    try:
        return await work
    except UnusableReply:
        raise
    except ModelError as error:
        failure = error.__cause__ or error
    # Raised out here, so that it keeps the cause and the context that it came with.
    raise failure


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """One piece of feedback, before it is put on its Variable."""

    variable: Variable
    feedback: Feedback
    mean: int | None


def _asks(one: Pass) -> bool:
    """Whether any of the operations to differentiate needs a model for it."""
    spans = (one.trace.span_by_id[name.removesuffix(".out")] for name in relevant(one.trace).order)
    return any(
        span.kind in RULES and (span.kind is SpanKind.LLM or bool(span.attributes.get("purpose"))) for span in spans
    )


def _laid(one: Pass, gradients: Gradients, root: Variable) -> list[_Laid]:
    found: list[_Laid] = []
    for gradient in gradients:
        variable = one.variables[gradient.variable]
        role = f"feedback to {variable.role_description}"
        operation = one.operations.get(gradient.span)
        found.append(_Laid(variable, Feedback(gradient, role, root=root.grad_fn, operation=operation), one.mean))
    return found


def _to_merge(laid: Sequence[_Laid]) -> list[list[_Laid]]:
    """The feedback that one `aggregate` brings to one trainable Variable, where it is more than one piece."""
    groups: dict[tuple[int, int], list[_Laid]] = {}
    for item in laid:
        if item.mean is not None and item.feedback.gradient.site is not None:
            groups.setdefault((item.mean, id(item.variable)), []).append(item)
    return [group for group in groups.values() if len(group) > 1]


async def _merged(
    group: Sequence[_Laid], model: BaseChatModel | None, engine: EngineLike | None, root: Variable
) -> list[tuple[_Laid, Feedback]]:
    """One piece of feedback made of several: it stands in for each of them, so that it is there once."""
    if model is None:
        model = chat_model(validate_engine_or_get_default(engine))
    gradients = [item.feedback.gradient for item in group]
    reply = await unwrapped(ask(model, merging(group[0].variable, gradients), Merged))
    scores = [gradient.score for gradient in gradients if gradient.score is not None]
    one = replace(
        gradients[0],
        text=reply.value.feedback.strip(),
        example=None,
        score=min(scores, default=None),
        weight=max(gradient.weight for gradient in gradients),
    )
    role = group[0].feedback.role_description
    merged = Feedback(one, role, root=root.grad_fn, sources=tuple(gradients))
    return [(item, merged) for item in group]


def merging(variable: Variable, gradients: Sequence[Gradient]) -> list[BaseMessage]:
    """The request that merges feedback from several examples, as it is sent."""
    texts = [gradient.text for gradient in gradients]
    return fill(
        "aggregate",
        role=variable.role_description,
        text=fence("the text now", variable.text, tokens=_TEXT),
        count=str(len(texts)),
        feedback="\n\n".join(
            fence(f"feedback {at}", text, tokens=share)
            for at, (text, share) in enumerate(zip(texts, shares(texts, _MERGED), strict=True), 1)
        ),
    )
