"""What a step made of its Gradients, as spans: how they were brought together, and the model calls of the proposers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg.autograd import distinct
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.attributes import Kind
from textgrad_lg_tracing.backward import MAX_IDS
from textgrad_lg_tracing.draft import Draft
from textgrad_lg_tracing.rollouts import llm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.events import BackwardFinished, MadeCall
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.site import Site
    from textgrad_lg_tracing.content import Content


def reductions(passes: Sequence[BackwardFinished], content: Content) -> Iterator[Draft]:
    """One span for each Parameter: the Gradients on it from all examples, and how many different things they say.

    Args:
        passes: The reverse passes of the step.
        content: What of the content may be shown.
    """
    found: dict[Site, list[Gradient]] = {}
    for finished in passes:
        for site, gradients in finished.gradients.parameters().items():
            found.setdefault(site, []).extend(gradients)
    end = max((finished.ended for finished in passes), default=0.0)
    for site, gradients in found.items():
        yield Draft(f"reduce {site}", end, end, partial(_reduced, site, gradients, content))


def _reduced(site: Site, gradients: Sequence[Gradient], content: Content) -> dict[str, AttributeValue]:
    said = distinct(gradients)
    shown = content.fields({at.INPUT: [gradient.text for gradient in gradients], at.OUTPUT: list(said)})
    return {
        **shown,
        at.PHASE: "optimize",
        at.PARAMETER: str(site),
        at.GRADIENT_COUNT: len(gradients),
        at.GRADIENT_DISTINCT: len(said),
        at.GRADIENT_IDS: tuple(dict.fromkeys(gradient.id for gradient in gradients))[:MAX_IDS],
        at.EXAMPLE_COUNT: len({gradient.example or gradient.trace for gradient in gradients}),
    }


def proposing(calls: Iterable[MadeCall]) -> Draft | None:
    """The model calls of the proposers under one span; None where there were none."""
    found = [
        Draft(f"chat {call.model or 'model'}", call.start, call.end, partial(_call, call), Kind.LLM, remote=True)
        for call in calls
    ]
    if not found:
        return None
    draft = Draft("propose", min(call.start for call in found), max(call.end for call in found))
    for call in found:
        draft.add(call)
    return draft


def _call(call: MadeCall) -> dict[str, AttributeValue]:
    return {at.PHASE: "optimize", **llm(call.provider, call.model, call.input_tokens, call.output_tokens)}
