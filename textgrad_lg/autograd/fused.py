"""The fused strategy: one request on the whole pruned run gives the feedback on all of its Parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.autograd import request
from textgrad_lg.autograd.choices import choices, lines, part
from textgrad_lg.autograd.images import with_images
from textgrad_lg.autograd.rules import Outcome, site_of
from textgrad_lg.gradient import Gradient
from textgrad_lg.templates import clip, fence, fill, named, tokens_in
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import is_image, readable, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgrad_lg.autograd.graph import Pruned
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Edge
    from textgrad_lg.variable import Variable

_SPEAKER = re.compile(r"^(system|human|user|assistant|ai|tool|message): ")
"""What `text_of` puts before each message of a list."""
_DECIDED = (
    "Some results decided what ran next. Where another choice would have served better, the prompt behind the choice is at "
    "fault, and not that of the step which ran: say in which case to choose what."
)
_LABEL = 45
"""Tokens counted for the delimiters and the label of one text."""
_LEAST = 40
"""Tokens below which a text says nothing any more: rather fewer texts than shorter ones."""


@dataclass(frozen=True, slots=True)
class Item:
    """One text of the run, as it is shown.

    Attributes:
        name: Its id in the request: P1, S1 or G1.
        variable: The Variable; of a prompt that was used on several visits with the same text, the last visit's.
        sources: The ids of the texts it was made from.
        decided: Of a result, the ids of the Variables by which it decided what ran next.
        visits: Of a prompt, for each visit that used it what the visit made, by its id in the request, and the visit's Variable.
    """

    name: str
    variable: Variable
    sources: tuple[str, ...]
    visits: tuple[tuple[str, str], ...] = ()
    decided: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What stands in the text's delimiter."""
        made = f", from {' '.join(self.sources)}" if self.sources else ""
        return f"{self.name}: {self.variable.role[:40]}{made}"


def layout(pruned: Pruned) -> tuple[Item, ...]:
    """The texts of the run, sources before what was made of them: each prompt once, results that are not copies, what was given.

    A result of a node or a graph is a copy if it is the text of a source, or holds all of its sources' lines and none that was
    not shown before: a channel that a message was added to is not shown again with each message.
    """
    trace = pruned.trace
    made = set(pruned.order)
    shown = made | {edge.source for target in pruned.order for edge in trace.incoming[target]}
    shown -= {seed.variable for seed in pruned.seeds}
    shown -= {name for name in shown - made if is_image(trace.variable_by_id[name].value)}
    names: dict[str, tuple[str, ...]] = {}
    prompts: dict[tuple[Site | None, str], str] = {}
    items: dict[str, Item] = {}
    counts = {"P": 0, "S": 0, "G": 0}
    known: set[str] = set()
    uses: dict[str, list[str]] = {}
    for variable in (trace.variable_by_id[name] for name in pruned.made if name in shown):
        text = text_of(variable.value)
        incoming = trace.incoming.get(variable.id, ())
        sources = tuple(dict.fromkeys(name for edge in incoming for name in names.get(edge.source, ())))
        prompt = site_of(pruned, variable.id) is not None and variable.id in pruned.seen_by
        copied = () if prompt else _copied(pruned, variable, [items[name] for name in sources], known)
        if copied:
            names[variable.id] = copied
            continue
        name = prompts.get((variable.site, text)) if prompt else None
        if name is None:
            letter = "P" if prompt else "S" if variable.id in made else "G"
            counts[letter] += 1
            name = f"{letter}{counts[letter]}"
        if prompt:
            prompts[variable.site, text] = name
            uses.setdefault(name, []).append(variable.id)
        items[name] = Item(name, variable, sources)
        names[variable.id] = (name,)
        known |= _lines(text)
    # A verdict on a prompt itself is not shown, and has no id.
    visits = {name: tuple((names.get(pruned.consumers[use][0], ("",))[0], use) for use in uses[name]) for name in uses}
    decided: dict[str, list[str]] = {}
    for choice in choices(pruned):
        for name in names.get(choice, ()):
            decided.setdefault(name, []).append(choice)
    return tuple(
        replace(item, visits=visits.get(item.name, ()), decided=tuple(decided.get(item.name, ())))
        for item in items.values()
    )


def images(pruned: Pruned) -> list[tuple[str, JSON]]:
    """The images that the run was given: role and value."""
    trace = pruned.trace
    used = {edge.source for target in pruned.order for edge in trace.incoming[target]}
    found = (trace.variable_by_id[name] for name in pruned.made if name in used)
    return [(variable.role, variable.value) for variable in found if is_image(variable.value)]


def size(items: Sequence[Item]) -> int:
    """About how many tokens the run takes when nothing of it is cut."""
    return sum(tokens_in(readable(text_of(item.variable.value))) + _LABEL for item in items)


async def fused(pruned: Pruned, critic: request.Critic, *, cap: int) -> Outcome:
    """Ask once about the whole run. Where the model could not answer, the Outcome's call has its `error`.

    Args:
        pruned: The pruned run.
        critic: What to ask with.
        cap: Tokens that the run may take. A larger run is cut: each text to its share, and the earliest results and given
            texts are left out where the shares would become too small to say anything.
    """
    every = layout(pruned)
    items = _fitting(every, cap)
    texts = [readable(text_of(item.variable.value)) for item in items]
    shared = request.shares(texts, max(cap - _LABEL * len(items), 0))
    wanted = {item.name: item.variable for item in items if item.name[0] != "G"}
    visits = _visits(items)
    meant = {**{name: [variable.id] for name, variable in wanted.items()}, **visits}
    several = [name for name in wanted if name in visits]
    single = next((name for name in visits if name not in wanted), "")
    sites = [site for variable in wanted.values() if (site := site_of(pruned, variable.id)) is not None]
    run = "\n\n".join(
        fence(item.label, text, tokens=share) for item, text, share in zip(items, texts, shared, strict=True)
    )
    values = {
        **critic.common(pruned, range(len(pruned.seeds)), sites),
        "input": request.run_input(pruned.trace, {item.variable.id for item in items}),
        "name": named(pruned.trace.name),
        "run": f"{run}\n\n{request.explained(wanted.items())}".strip(),
        "decided": part(
            _DECIDED,
            "what ran next",
            [f"{item.name}: {line}" for item in items for line in lines(pruned, item.decided)],
        ),
        "visits": f"Used on several visits: {', '.join(several)}. One visit is named by what it led to: {single}."
        if single
        else "",
        "wanted": ", ".join(wanted),
    }
    messages = with_images(fill("backward_fused", **values), images(pruned))
    said, call = await critic.ask(pruned.trace.spans[0].id, messages, request.Feedback)
    failures: list[str] = []
    if len(items) < len(every):
        failures.append(f"{len(every) - len(items)} texts of the run did not fit the request and were left out")
    if said is None:
        return Outcome((), call, (*failures, f"{call.error} The comments were passed on unchanged."))
    feedback, unknown = request.by_id(said.feedback, meant)
    if unknown:
        failures.append(f"the model gave feedback on {', '.join(unknown)}, which it was not asked about")
    at = {target: position for position, target in enumerate(pruned.order)}
    laid = dict.fromkeys((variable, text) for name, text in feedback.items() for variable in meant[name])
    placed = sorted(((*_used_by(pruned, at, variable), text) for variable, text in laid), key=lambda found: found[:2])
    trace = pruned.trace
    gradients = (
        Gradient(
            variable=edge.source,
            text=clip(text, request.ITEM),
            span=edge.span,
            trace=trace.id,
            example=trace.example,
            score=pruned.score(edge.source),
            site=site_of(pruned, edge.source),
            weight=pruned.weight[edge.source],
        )
        for _, _, edge, text in placed
    )
    return Outcome(tuple(gradients), call, tuple(failures))


def _visits(items: Sequence[Item]) -> dict[str, list[str]]:
    """For each prompt that several visits used, all of them under its own id, and each under an id that names its result.

    What is said of the prompt in general holds for every visit; only where the model names a visit is it told apart.
    """
    shown = {item.name for item in items}
    found: dict[str, list[str]] = {}
    for item in items:
        if len(item.visits) > 1:
            found[item.name] = [use for _, use in item.visits]
            for made, use in item.visits:
                if made in shown:
                    found.setdefault(f"{item.name}@{made}", []).append(use)
    return found


def _copied(pruned: Pruned, variable: Variable, sources: list[Item], known: set[str]) -> tuple[str, ...]:
    """The ids of the texts that stand for a copy; none where it is no copy. A model's reply never is, even if it repeats."""
    span = pruned.trace.span_by_id.get(variable.span or "")
    if span is not None and span.kind not in {SpanKind.NODE, SpanKind.GRAPH}:
        return ()
    text = text_of(variable.value)
    texts = {item.name: text_of(item.variable.value) for item in sources}
    lines = _lines(text)
    same = next(((name,) for name, other in texts.items() if other == text), ())
    whole = lines <= known and all(_lines(other) <= lines for other in texts.values())
    return same or (tuple(texts) if whole else ())


def _lines(text: str) -> set[str]:
    return {_SPEAKER.sub("", line).strip() for line in text.splitlines()}


def _fitting(items: tuple[Item, ...], cap: int) -> tuple[Item, ...]:
    """The items that get a share worth having: prompts before the rest, the latest before earlier ones."""
    latest = sorted(range(len(items)), key=lambda at: (items[at].name[0] != "P", -at))
    kept = sorted(latest[: max(1, cap // (_LABEL + _LEAST))])
    return tuple(items[at] for at in kept)


def _used_by(pruned: Pruned, at: Mapping[str, int], variable: str) -> tuple[int, int, Edge]:
    """The Variable's consumer nearest to the output: its position, and the position and the edge of the use."""
    target = pruned.consumers[variable][0]
    place, edge = next((n, edge) for n, edge in enumerate(pruned.edges[target]) if edge.source == variable)
    return at[target], place, edge
