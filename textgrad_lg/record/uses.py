"""Prompts that the user's code holds by name: what a run noted of their use, and how a Trace tells of it.

The text of such a prompt is not tied to a message: code may put it into any call, or into none that is seen. So each use
becomes a Parameter of its own, linked to the model calls whose messages hold its text, and else to what the code made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

from textgrad_lg.errors import DiscoveryError
from textgrad_lg.prompt import Template
from textgrad_lg.record.mask import constants
from textgrad_lg.record.settings import add_held
from textgrad_lg.site import PROMPTS, Site
from textgrad_lg.trace import CANDIDATE
from textgrad_lg.variable import text_of

if TYPE_CHECKING:
    from textgrad_lg.domain import Domain
    from textgrad_lg.record.draft import Draft
    from textgrad_lg.record.held import StaticText
    from textgrad_lg.record.lineage import Scope
    from textgrad_lg.record.runs import Run
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON

_NOTED = "prompts"
"""The attribute of a Span that says what is not in the Variables of the prompts used in it."""
_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHOWN = 60


class Handle:
    """What makes an object a prompt that is held by name; the walk through a graph's code looks for it.

    Attributes:
        site: Where its text enters: `prompts:<name>/text`.
        own: Its default text.
    """

    site: Site
    own: Template


class Use(NamedTuple):
    """One use of a prompt that is held by name.

    Attributes:
        site: Whose text it is.
        own: The handle's default text.
        text: The text in force.
        rendered: What the code got: the text with its slots filled, or as they are written.
        domain: Of a setting, which values it may take.
    """

    site: Site
    own: Template
    text: Template
    rendered: str
    domain: Domain | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A prompt that is held by name, as a Trace or the code shows it.

    Attributes:
        site: Its Site.
        text: The text that was in force.
        default: Its default text, word for word.
        rendered: What code got of it.
    """

    site: Site
    text: Template
    default: str
    rendered: str


def handle_name(site: Site) -> str:
    """The name of the handle that a Site belongs to."""
    return site.path[0].removeprefix(PROMPTS)


# Into the Trace


def add_uses(draft: Draft, run: Run, span: str | None, scope: Scope) -> list[str]:
    """Add the prompts that a run's own code used, each once, as values that the scope was given.

    Args:
        draft: The Trace in the making.
        run: The run.
        span: The id of the Span that the run is shown in.
        scope: What the code of that Span could use.

    Returns:
        The ids of their Variables.
    """
    if not run.uses or span is None:
        return []
    added: list[str] = []
    # Sorted, because code may use them in several tasks or threads of its own.
    for use in sorted(set(run.uses), key=lambda use: (use.site, use.text.text, use.rendered)):
        if use.site.is_setting:
            add_held(draft, use, span, scope)
            continue
        known = scope.reads.setdefault(str(use.site), [])
        facts: JSON = [_findable(use)]
        variables = draft.lineage.variables
        if any(variables[name].value == use.text.text and draft.lineage.facts(name).value == facts for name in known):
            continue
        role = f"prompt `{handle_name(use.site)}`"
        name = draft.lineage.add(f"{span}.prompt", use.text.text, role, site=use.site, new=facts)
        known.append(name)
        added.append(name)
        if scope.fresh is not None:
            scope.fresh |= {name}
        noted: dict[str, JSON] = {"variable": name, "slots": list(use.text.slots)}
        if use.rendered != use.text.text:
            noted["rendered"] = use.rendered
        if use.own.text != use.text.text:
            noted["default"] = use.own.text
        attributes = next(at.attributes for at in reversed(draft.spans) if at.id == span)
        cast("list[JSON]", attributes.setdefault(_NOTED, [])).append(noted)
    return added


def link_uses(draft: Draft, used: Iterable[str], made: str | None, span: str, scope: Scope) -> None:
    """Link prompts that a tool's code used to the tool's result; those that reached a model call in it only through that."""
    if made is None:
        return
    used = [name for name in used if name not in scope.seen]
    known = draft.lineage.known(used, draft.lineage.facts(made))
    for name in used:
        if name in known:
            draft.lineage.link(name, made, span, known[name])
        else:
            draft.lineage.link(name, made, span, "channel", CANDIDATE)


def _findable(use: Use) -> str:
    """The text by which a use is found again: where the code fills the slots itself, the longest piece between them."""
    if use.text.slots and use.rendered == use.text.text:
        return max(constants(use.text), key=len, default="")
    return use.rendered


# Out of the Trace


def held_in(trace: Trace) -> Iterator[tuple[str, Held]]:
    """The prompts that were used by name in a run: the id of the Variable, and what is known of it."""
    noted: dict[str, Mapping[str, Any]] = {
        item["variable"]: item
        for span in trace.spans
        for item in cast("Sequence[Any]", span.attributes.get(_NOTED) or ())
    }
    for variable in trace.variables:
        if is_handle(variable.site) and variable.span is None:
            text = text_of(variable.value)
            told = noted.get(variable.id, {})
            slots = told.get("slots")
            template = Template(text, tuple(slots) if slots is not None else slots_in(text))
            yield variable.id, Held(variable.site, template, told.get("default", text), told.get("rendered", text))


def found_again(held: Held, text: str) -> Iterator[str]:
    """What of a text that was sent is the prompt's; nothing where it does not stand in it."""
    if held.rendered in text:
        yield held.rendered
    elif held.text.slots and held.rendered == held.text.text:
        # The code filled the slots after it got the text: any filling is accepted, with anything around it.
        before, after = "before.", "after."
        around = Template(f"{{{before}}}{held.text.text}{{{after}}}", (before, *held.text.slots, after))
        values = around.match(text)
        if values is not None:
            yield held.text.render(values)


@dataclass(frozen=True, slots=True)
class Handles:
    """The prompts of a graph that are held by name.

    Attributes:
        used: Those that runs used, with the text that was in force.
        unused: Those that only the code holds.
        sources: Where the code holds them, in words.
        others: What the walk through the code found beside them and their texts.
    """

    used: Mapping[Site, Template]
    unused: Mapping[Site, StaticText]
    sources: Mapping[Site, str]
    others: tuple[StaticText, ...]


def find_handles(traces: Iterable[Trace], texts: Sequence[StaticText]) -> Handles:
    """Tell the prompts that are held by name from what the walk through a graph's code found.

    Args:
        traces: Recorded runs.
        texts: What the walk found.

    Raises:
        DiscoveryError: Two handles have the same name and different defaults.
    """
    defaults: dict[Site, tuple[str, str]] = {}
    in_code: dict[Site, StaticText] = {}
    for text in texts:
        if text.handle is not None:
            site = Site((f"{PROMPTS}{text.handle}",), "text")
            in_code.setdefault(site, text)
            _check(site, text.text, text.held, defaults)
    used: dict[Site, Template] = {}
    for trace in traces:
        for variable, held in held_in(trace):
            used.setdefault(held.site, held.text)
            _check(held.site, held.default, f"used in {_where(trace, variable)}", defaults)
    # A handle that is made inside a node has its text in the node's code too.
    own = {default for default, _ in defaults.values()}
    return Handles(
        used,
        {site: text for site, text in in_code.items() if site not in used},
        {site: f"{text.held} ({text.source})" if text.source else text.held for site, text in in_code.items()},
        tuple(text for text in texts if text.handle is None and text.text not in own),
    )


def is_handle(site: Site | None) -> TypeGuard[Site]:
    """Whether a Site is that of a prompt that is held by name."""
    return site is not None and len(site.path) == 1 and site.path[0].startswith(PROMPTS)


def slots_in(text: str) -> tuple[str, ...]:
    """The names that stand in braces in a text, in the order of their first appearance."""
    return tuple(dict.fromkeys(_SLOT.findall(text)))


def _check(site: Site, default: str, where: str, known: dict[Site, tuple[str, str]]) -> None:
    first, held = known.setdefault(site, (default, where))
    if first != default:
        raise DiscoveryError(
            f"two prompt handles are called {handle_name(site)!r} and have different defaults: {_short(first)} ({held}) "
            f"and {_short(default)} ({where}); give each a name of its own, or use one handle in both places"
        )


def _where(trace: Trace, variable: str) -> str:
    span = trace.span_by_id.get(variable.partition(".")[0])
    return f"`{'/'.join(span.path) or span.name}`" if span is not None else "a recorded run"


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...", ensure_ascii=False)
