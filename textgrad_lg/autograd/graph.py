"""The graph that a reverse pass runs over: the Trace with its Scores, pruned to what can be blamed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.trace import CANDIDATE, CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgrad_lg.example import Score

CONTROL = "control"
"""`Edge.via` of "this decided that that ran". Such an edge is never seen in a value, so it does not rival those that are."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One evaluator's verdict: where a reverse pass starts.

    Attributes:
        variable: The id of the Variable that the `eval` Span made.
        span: The id of that Span.
        key: The evaluator's name.
        score: Higher is better, 1.0 is perfect; None where the verdict is in words alone.
        text: The comment, or the score and what was expected where there is no comment.
        expected: What was expected, as JSON text; empty where nothing is known.
    """

    variable: str
    span: str
    key: str
    score: float | None
    text: str
    expected: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a reverse pass walks over.

    Attributes:
        trace: The scored Trace.
        seeds: The verdicts it starts from.
        made: The ids of all Variables behind the verdicts, each after those it was made from.
        order: The ids of the Variables to differentiate, consumers before what they consumed.
        edges: For each of `order`, the edges into it that are followed.
        consumers: For each Variable reached, the targets of the edges out of it that are followed, in `order`.
        seen_by: For each Variable reached, the positions in `seeds` of the verdicts it had a part in.
        weight: For each Variable reached, the weight of the surest path from a verdict to it.
    """

    trace: Trace
    seeds: tuple[Seed, ...]
    made: tuple[str, ...]
    order: tuple[str, ...]
    edges: Mapping[str, tuple[Edge, ...]]
    consumers: Mapping[str, tuple[str, ...]]
    seen_by: Mapping[str, tuple[int, ...]]
    weight: Mapping[str, float]

    def score(self, variable: str) -> float | None:
        """The worst score that the Variable had a part in."""
        scores = (self.seeds[at].score for at in self.seen_by[variable])
        return min((score for score in scores if score is not None), default=None)


def seed(trace: Trace, scores: Sequence[Score]) -> Trace:
    """The Trace with one `eval` Span for each Score that has a value, or is a verdict in words: a comment and no error.

    A Span's Variable is fed by the output fields that its evaluator read (`Score.fields`), or by all of them where none of
    these is an output. A run that failed and has no output is judged by what it made last: the Variables that a Span made
    and nothing used, with edges of weight `CANDIDATE`.
    """
    end = max((span.end for span in trace.spans), default=0.0)
    taken = {span.id for span in trace.spans} | {variable.id for variable in trace.variables}
    spans, variables, edges = list(trace.spans), list(trace.variables), list(trace.edges)
    for score in scores:
        if score.value is None and (score.error is not None or not score.comment):
            continue
        span = _free(taken, len(spans))
        attributes: dict[str, JSON] = {
            "score": score.value,
            "comment": score.comment,
            "expected": score.expected,
            "fields": list(score.fields),
        }
        spans.append(Span(span, SpanKind.EVAL, score.key, start=end, end=end, attributes=attributes))
        value: JSON = {"score": score.value, "comment": score.comment}
        variables.append(Variable(f"{span}.out", value, f"verdict of `{score.key}`", span))
        edges += [Edge(source, f"{span}.out", span, weight) for source, weight in _judged(trace, score)]
    return replace(trace, spans=tuple(spans), variables=tuple(variables), edges=tuple(edges))


def relevant(trace: Trace) -> Pruned:
    """Prune a scored Trace to the ancestors of what was judged that descend from a trainable Parameter.

    Where a Variable has a confirmed edge that leads to a trainable Parameter, its unconfirmed edges are other explanations
    that nothing speaks for, and are not followed; where it has none, they are. What decided that a node ran (`CONTROL`) is
    no rival explanation and is always followed, at its low weight. Weights multiply along a path.

    The order is made from the verdicts and the edges alone: it does not tell in which order branches that do not depend on
    each other were recorded.

    The pass starts from the verdicts below 1.0, and those without a score; where all are perfect, from all of them, so that
    the feedback says what to keep.
    """
    kept = _leading(trace)
    verdicts = _seeds(trace)
    seeds = [found for found in verdicts if found.score is None or found.score < 1] or verdicts
    seeds = tuple(found for found in seeds if found.variable in kept)
    masks = {found.variable: 1 << at for at, found in enumerate(seeds)}
    weight = {found.variable: 1.0 for found in seeds}
    consumers: dict[str, list[str]] = {}
    order: list[str] = []
    made = _ordered(trace, [found.variable for found in seeds])
    for target in reversed(made):
        if target not in masks or not kept.get(target):
            continue
        order.append(target)
        for edge in kept[target]:
            masks[edge.source] = masks.get(edge.source, 0) | masks[target]
            weight[edge.source] = max(weight.get(edge.source, 0.0), weight[target] * edge.weight)
            users = consumers.setdefault(edge.source, [])
            if target not in users:
                users.append(target)
    return Pruned(
        trace,
        seeds,
        made,
        tuple(order),
        {target: kept[target] for target in order},
        {source: tuple(users) for source, users in consumers.items()},
        {name: tuple(at for at in range(len(seeds)) if mask >> at & 1) for name, mask in masks.items()},
        weight,
    )


def _leading(trace: Trace) -> dict[str, tuple[Edge, ...]]:
    """For each Variable that descends from a trainable Parameter, the edges to follow. One sweep: edges point backwards."""
    trainable = {variable.id for variable in trace.variables if variable.site is not None and variable.requires_grad}
    kept: dict[str, tuple[Edge, ...]] = {}
    for variable in trace.variables:
        edges = [e for e in trace.incoming.get(variable.id, ()) if e.source in trainable or e.source in kept]
        confirmed = any(e.weight >= CONFIRMED and e.via != CONTROL for e in edges)
        followed = tuple(e for e in edges if not confirmed or e.weight >= CONFIRMED or e.via == CONTROL)
        if followed:
            kept[variable.id] = followed
    return kept


def _ordered(trace: Trace, roots: Sequence[str]) -> tuple[str, ...]:
    """What leads to the roots, and these, sources first: depth first, along each Variable's own edges in their order.

    Edges that are less sure are walked first: what they lead to, a router's decision say, comes before what the Variable was
    made of, and so is further from the output.
    """
    found: dict[str, None] = {}
    entered: set[str] = set()
    # A stack instead of recursion, and entered once: a loop may be thousands of visits deep.
    todo = [(root, False) for root in reversed(roots)]
    while todo:
        variable, left = todo.pop()
        if left:
            found[variable] = None
        elif variable not in entered:
            entered.add(variable)
            todo.append((variable, True))
            edges = sorted(trace.incoming.get(variable, ()), key=lambda edge: edge.weight)
            todo += [(edge.source, False) for edge in reversed(edges)]
    return tuple(found)


def _seeds(trace: Trace) -> list[Seed]:
    found: list[Seed] = []
    for variable in trace.variables:
        span = trace.span_by_id.get(variable.span or "")
        if span is None or span.kind is not SpanKind.EVAL:
            continue
        score, comment, expected = (span.attributes.get(key) for key in ("score", "comment", "expected"))
        wanted = json.dumps(expected, ensure_ascii=False, sort_keys=True) if expected else ""
        text = str(comment or "").strip()
        if isinstance(score, int | float):
            text = text or "; ".join([f"score {score:g}", *([f"expected {wanted}"] * bool(wanted))])
            found.append(Seed(variable.id, span.id, span.name, float(score), text, wanted))
        elif text:
            found.append(Seed(variable.id, span.id, span.name, None, text, wanted))
    return found


def _judged(trace: Trace, score: Score) -> list[tuple[str, float]]:
    fields = [field for field in score.fields if field in trace.outputs] or list(trace.outputs)
    if fields:
        return [(name, CONFIRMED) for name in dict.fromkeys(trace.outputs[field] for field in fields)]
    used = {edge.source for edge in trace.edges}
    return [(v.id, CANDIDATE) for v in trace.variables if v.span is not None and v.id not in used]


def _free(taken: set[str], number: int) -> str:
    while f"s{number}" in taken or f"s{number}.out" in taken:
        number += 1
    taken |= {f"s{number}", f"s{number}.out"}
    return f"s{number}"
