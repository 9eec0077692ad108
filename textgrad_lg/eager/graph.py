"""From the eager graph to Traces: what led to a loss, as the reverse pass reads it.

A batch of losses becomes one Trace for each example, so that no request shows one example's texts in another's. Losses that
judge results of the same operations are one example. Nothing here recurses: a graph may be as deep as it likes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from textgrad_lg.eager.images import block
from textgrad_lg.eager.operation import Operation, Use
from textgrad_lg.eager.variable import Variable
from textgrad_lg.site import Site
from textgrad_lg.trace import Edge, Span, Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable as Recorded
from textgrad_lg.variable import is_image, text_of

Key = tuple[int, int]

_SILENT = "The evaluation said nothing."


@dataclass(frozen=True, slots=True)
class Pass:
    """One example's Trace, and what its parts were made from.

    Attributes:
        trace: The Trace, with a verdict without a score for each loss.
        goal: What the losses are for, in words.
        variables: Which eager Variable each Variable of the Trace was.
        operations: Which operation each Span was.
        mean: The `aggregate` that the losses went into; None where there was none.
    """

    trace: Trace
    goal: str
    variables: Mapping[str, Variable]
    operations: Mapping[str, Operation]
    mean: int | None


@dataclass(frozen=True, slots=True)
class _Loss:
    use: Use
    mean: int | None


def passes(root: Variable) -> tuple[list[Pass], list[Variable]]:
    """The Traces to differentiate, in the order of their losses; and every Variable that had a part in the root."""
    ordered = ordered_uses([root.use()])
    leads = _leads(ordered)
    losses = [loss for loss in _losses(root.use()) if loss.use.key in leads and loss.use.operation]
    made = [_pass(group, leads, str(at)) for at, group in enumerate(_examples(losses, leads), 1)]
    reached = {id(use.variable): use.variable for use in ordered}
    return made, list(reached.values())


def ordered_uses(roots: Iterable[Use]) -> list[Use]:
    """Everything that the roots were made from, and they: sources before what was made from them, in a fixed order."""
    found: dict[Key, Use] = {}
    stack = [(use, False) for use in reversed(list(roots))]
    while stack:
        use, ready = stack.pop()
        if use.key in found:
            continue
        if ready:
            found[use.key] = use
            continue
        stack.append((use, True))
        stack += [(source, False) for source in reversed(use.inputs) if source.key not in found]
    return list(found.values())


def _leads(ordered: Iterable[Use]) -> frozenset[Key]:
    """What is trainable, or was made from something trainable."""
    found: set[Key] = set()
    for use in ordered:
        if use.trainable or any(source.key in found for source in use.inputs):
            found.add(use.key)
    return frozenset(found)


def _losses(root: Use) -> list[_Loss]:
    """What the root is the sum of, each once; the root itself where it is no sum."""
    found: dict[Key, _Loss] = {}
    means = 0
    stack: list[tuple[Use, int | None]] = [(root, None)]
    while stack:
        use, mean = stack.pop()
        operation = use.operation
        if operation is None or not operation.combines:
            found.setdefault(use.key, _Loss(use, mean))
            continue
        if operation.mean and mean is None:
            means += 1
            mean = means
        stack += [(source, mean) for source in reversed(use.inputs)]
    return list(found.values())


def _examples(losses: Sequence[_Loss], leads: frozenset[Key]) -> list[list[_Loss]]:
    """The losses, in groups that judge results of the same operations."""
    owner: dict[Key, int] = {}
    parent = list(range(len(losses)))

    def top(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for at, loss in enumerate(losses):
        stack = [source for source in loss.use.inputs if source.key in leads]
        while stack:
            use = stack.pop()
            if use.operation is None:
                continue
            if use.key in owner:
                first, second = sorted((top(owner[use.key]), top(at)))
                parent[second] = first
                continue
            owner[use.key] = at
            stack += [source for source in use.inputs if source.key in leads]
    groups: dict[int, list[_Loss]] = {}
    for at, loss in enumerate(losses):
        groups.setdefault(top(at), []).append(loss)
    return list(groups.values())


@dataclass(slots=True)
class _Draft:
    """A Trace in the making."""

    leads: frozenset[Key]
    spans: list[Span]
    variables: list[Recorded] = field(default_factory=list[Recorded])
    edges: list[Edge] = field(default_factory=list[Edge])
    names: dict[Key, str] = field(default_factory=dict[Key, str])
    eager: dict[str, Variable] = field(default_factory=dict[str, Variable])
    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    sites: dict[int, Site] = field(default_factory=dict[int, Site])

    def given(self, use: Use) -> None:
        self._variable(f"v{len(self.variables)}", use, None)

    def made(self, use: Use, operation: Operation) -> None:
        name = use.variable.role_description if operation.kind is SpanKind.LLM else operation.name
        attributes: dict[str, JSON] = {"purpose": operation.purpose} if operation.kind is SpanKind.FUNCTION else {}
        span = self._span(operation.kind, name, operation, attributes)
        self._used(f"{span}.out", span, use)

    def judged(self, use: Use, operation: Operation) -> None:
        """A loss: a verdict in words. Where these are feedback as they stand, the Span has no purpose, and nobody is asked."""
        blamed = {source.key for source in use.inputs if source.key in self.leads}
        asks = not operation.verdict or (operation.kind is SpanKind.LLM and len(blamed) > 1)
        attributes: dict[str, JSON] = {
            "score": None,
            "comment": _text(use) or _SILENT,
            "purpose": (operation.purpose or _role(use)) if asks else "",
        }
        span = self._span(SpanKind.EVAL, _role(use), operation, attributes)
        self._used(f"{span}.out", span, use)

    def _span(self, kind: SpanKind, name: str, operation: Operation, attributes: dict[str, JSON]) -> str:
        span = Span(f"s{len(self.spans)}", kind, name, "s0", attributes=attributes)
        self.spans.append(span)
        self.operations[span.id] = operation
        return span.id

    def _used(self, name: str, span: str, use: Use) -> None:
        self._variable(name, use, span)
        self.edges += [Edge(self.names[source.key], name, span) for source in use.inputs]

    def _variable(self, name: str, use: Use, span: str | None) -> None:
        site = self._site(use.variable) if use.trainable else None
        value: JSON = block(use.value) if isinstance(use.value, bytes) else use.value
        self.variables.append(Recorded(name, value, _role(use), span, site, requires_grad=site is not None))
        self.names[use.key] = name
        self.eager[name] = use.variable

    def _site(self, variable: Variable) -> Site:
        """Made from the Variable's role, and counted among those of the same role."""
        role = variable.role_description
        found = self.sites.get(id(variable))
        if found is None:
            same = sum(1 for site in self.sites.values() if site.path == (site_name(role),))
            found = self.sites[id(variable)] = Site((site_name(role),), "text", same)
        return found


def site_name(role: str) -> str:
    """The one segment of an eager Variable's Site."""
    return f"variable:{role}"


def _pass(losses: Sequence[_Loss], leads: frozenset[Key], example: str) -> Pass:
    roots = {loss.use.key: loss for loss in losses}
    ordered = ordered_uses(loss.use for loss in losses)
    name = "; ".join(dict.fromkeys(_role(loss.use) for loss in losses))
    draft = _Draft(leads, [Span("s0", SpanKind.GRAPH, name)])
    for use in ordered:
        if use.operation is None:
            draft.given(use)
        elif use.key in roots:
            draft.judged(use, use.operation)
        else:
            draft.made(use, use.operation)
    inputs, outputs = _ends(ordered, roots, leads)
    trace = Trace(
        "0" * 32,
        name,
        tuple(draft.spans),
        tuple(draft.variables),
        tuple(draft.edges),
        {role: draft.names[use.key] for role, use in inputs.items()},
        {role: draft.names[use.key] for role, use in outputs.items()},
        example,
    )
    purposes = [loss.use.operation.purpose for loss in losses if loss.use.operation]
    goal = "\n".join(dict.fromkeys(purpose for purpose in purposes if purpose))
    content = json.dumps([trace.to_json(), goal]).encode("utf-8", "surrogatepass")
    trace = replace(trace, id=hashlib.sha256(content).hexdigest()[:32])
    return Pass(trace, goal, draft.eager, draft.operations, losses[0].mean)


def _ends(
    ordered: Sequence[Use], roots: Mapping[Key, _Loss], leads: frozenset[Key]
) -> tuple[dict[str, Use], dict[str, Use]]:
    """What the run was given, and what of it is judged, by role; images are no text and are left out."""
    inputs: dict[Key, Use] = {}
    outputs: dict[Key, Use] = {}
    for use in ordered:
        for source in use.inputs:
            if isinstance(source.value, bytes) or is_image(source.value):
                continue
            if use.key in roots:
                if source.key in leads:
                    outputs[source.key] = source
            elif source.operation is None and source.key not in leads:
                inputs[source.key] = source
    return _named(inputs.values()), _named(outputs.values())


def _named(uses: Iterable[Use]) -> dict[str, Use]:
    """By role; where several have the same, they are numbered."""
    found: dict[str, Use] = {}
    count: dict[str, int] = {}
    for use in uses:
        role = _role(use)
        count[role] = count.get(role, 0) + 1
        found[role if count[role] == 1 else f"{role} {count[role]}"] = use
    return found


def _role(use: Use) -> str:
    return use.variable.role_description


def _text(use: Use) -> str:
    return "" if isinstance(use.value, bytes) else text_of(use.value).strip()
