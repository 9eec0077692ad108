"""Which Template explains each message that runs sent from one place: the code tells, or else masking and alignment."""

from __future__ import annotations

from collections.abc import Sequence

from textgrad_lg.prompt import Template
from textgrad_lg.record.align import Observed, align
from textgrad_lg.record.held import StaticText
from textgrad_lg.record.mask import CUT, constants, has_words, hits
from textgrad_lg.record.observe import Sending
from textgrad_lg.record.peek import is_prose
from textgrad_lg.site import Site

_RUNS = 3
"""From so many runs on, a text that only one of them sent, among many others, is taken for a value of the state."""
_VARIANTS = 2
"""So many different texts in one place are always taken for the author's: the two branches of a condition."""
_WORDS = 12
"""Characters that the constants of a format string must have before it explains a text that was sent."""


def templates_of(
    place: Site, group: Sequence[Sending], texts: Sequence[StaticText], warnings: list[str]
) -> list[Template | None]:
    """The Template of each message sent from one place; None where it is a value of the state."""
    exact = _without_constants([_exact(place, sending, texts) for sending in group], group)
    rest = [at for at, template in enumerate(exact) if template is None]
    observed = [Observed(group[at].text, group[at].values) for at in rest]
    result: list[Template | None] = list(exact)
    for at, template in zip(rest, align(observed), strict=True):
        result[at] = template
    runs: dict[Template, set[str]] = {}
    for sending, template in zip(group, result, strict=True):
        if template is not None and has_words(template):
            runs.setdefault(template, set()).add(sending.run)
    if len(runs) > _VARIANTS and len({sending.run for sending in group}) >= _RUNS:
        certain = {template for template in exact if template is not None}
        lone = {
            template
            for template, seen in runs.items()
            if len(seen) == 1 and template not in certain and not _in_code(template, texts)
        }
        if lone:
            warnings.append(
                f"{place}: {len(lone)} texts were sent by one run each and have little in common; they are taken for "
                "values of the state, not for prompts"
            )
        return [None if template in lone else template for template in result]
    return result


def kept_templates_of(place: Site, group: Sequence[Sending], texts: Sequence[StaticText]) -> list[Template | None]:
    """The Template of each human message sent from one place that came from the state; None where it is a user's.

    Only the code can tell that a message there is not a user's: it must hold the text, word for word but for its slots,
    and with words enough to be no coincidence. What came in from outside is never taken for it.
    """
    texts = [text for text in texts if text.role in (None, place.role)]
    found = [None if sending.given else _exact(place, sending, texts) for sending in group]
    found = [template if template is not None and template.telling else None for template in found]
    return _without_constants(found, group)


def _exact(place: Site, sending: Sending, texts: Sequence[StaticText]) -> Template | None:
    """The Template of a message whose text stands in the code, as it is or as a format string."""
    if any(not at.slots and at.text == sending.text for at in texts):
        return Template(sending.text)
    near: list[StaticText] = []
    far: list[StaticText] = []
    for at in texts:
        if at.slots and at.role in (None, place.role) and _size(at.template) >= _WORDS:
            here = at.path == place.path[: len(at.path)] and at.agent in (None, place.agent)
            (near if here else far).append(at)
    # A prompt may be made in one node, carried by the state, and sent in another.
    return _filled(sending.text, near, texts) or _filled(sending.text, far, texts)


def _filled(text: str, forms: Sequence[StaticText], texts: Sequence[StaticText]) -> Template | None:
    """Of the format strings that give a text, the one with most words of the author's."""
    constant = {at.text for at in texts if not at.slots}
    best: Template | None = None
    for at in forms:
        values = at.template.match(text)
        if values is not None:
            # A slot that is filled with a text of the author's is no slot.
            kept = tuple(slot for slot in at.slots if values[slot] not in constant)
            template = Template(at.template.render({**values, **{slot: f"{{{slot}}}" for slot in kept}}), kept)
            if (best is None or _size(template) > _size(best)) and template.match(text) is not None:
                best = template
    return best


def _without_constants(templates: Sequence[Template | None], group: Sequence[Sending]) -> list[Template | None]:
    """The Templates, without the slots that hold a text of the author's: one that was loaded from a file, say.

    Such a slot held the same instruction in every run, and no more than single words of it were in the state.
    """
    result = list(templates)
    for template in dict.fromkeys(at for at in templates if at is not None and at.slots):
        members = [at for at, other in enumerate(templates) if other == template]
        filled = [template.match(group[at].text) or {} for at in members]
        state = group[members[0]].values
        constant = {
            slot: value
            for slot, value in filled[0].items()
            if is_prose(value)
            and all(other[slot] == value for other in filled)
            and not any(len(hit.value) >= CUT or " " in hit.value for hit in hits(value, state))
        }
        if constant and len({group[at].run for at in members}) > 1:
            kept = tuple(slot for slot in template.slots if slot not in constant)
            whole = Template(template.render({**{slot: f"{{{slot}}}" for slot in kept}, **constant}), kept)
            # The instruction itself may hold braces that read like one of the slots.
            if all(whole.match(group[at].text) is not None for at in members):
                for at in members:
                    result[at] = whole
    return result


def _in_code(template: Template, texts: Sequence[StaticText]) -> bool:
    return any(holds(template.text, text) for text in texts)


def holds(sent: str, text: StaticText) -> bool:
    """Whether all constants of a text from the code stand in a text that was sent."""
    return all(part.strip() in sent for part in constants(text.template))


def source_of(site: Site, template: Template, texts: Sequence[StaticText]) -> str | None:
    """Where the code holds a text: the nearest and longest of the texts that stand in it."""
    held = [text for text in texts if holds(template.text, text) or _holds_all(text, template)]
    near = [text for text in held if text.path == site.path[: len(text.path)]]
    # A short text of another node stands in this one by chance.
    far = [text for text in held if _size(text.template) >= _WORDS]
    best = max(near or far, key=lambda text: _size(text.template), default=None)
    if best is None:
        return None
    return f"{best.held} ({best.source})" if best.source else best.held


def _size(template: Template) -> int:
    return sum(map(len, constants(template)))


def _holds_all(text: StaticText, template: Template) -> bool:
    parts = constants(template)
    return bool(parts) and all(part.strip() in text.text for part in parts)
