"""Which Template explains each message that runs sent from one place: the code tells, or else masking and alignment."""

from __future__ import annotations

from collections.abc import Sequence

from textgrad_lg.prompt import Template
from textgrad_lg.record.align import Observed, align
from textgrad_lg.record.held import StaticText
from textgrad_lg.record.mask import constants, has_words
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
    observed = [Observed(_main_text(group[at]), group[at].values) for at in rest]
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


def _main_text(sending: Sending) -> str:
    """Of a message with several pieces of text, the first that does not come from the state as a whole."""
    if len(sending.texts) == 1:
        return sending.texts[0]
    return next(
        (text for text in sending.texts if has_words(align([Observed(text, sending.values)])[0])), sending.texts[0]
    )


def _exact(place: Site, sending: Sending, texts: Sequence[StaticText]) -> Template | None:
    """The Template of a message whose text stands in the code, as it is or as a format string."""
    for text in sending.texts:
        if any(not at.slots and at.text == text for at in texts):
            return Template(text)
    constant = {at.text for at in texts if not at.slots}
    best: Template | None = None
    for at in texts:
        near = (
            at.path == place.path[: len(at.path)] and at.agent in (None, place.agent) and at.role in (None, place.role)
        )
        if not (near and at.slots) or _size(at.template) < _WORDS:
            continue
        for text in sending.texts:
            values = at.template.match(text)
            if values is not None:
                # A slot that is filled with a text of the author's is no slot.
                kept = tuple(slot for slot in at.slots if values[slot] not in constant)
                template = Template(at.template.render({**values, **{slot: f"{{{slot}}}" for slot in kept}}), kept)
                if best is None or _size(template) > _size(best):
                    best = template if template.match(text) is not None else best
    return best


def _without_constants(templates: Sequence[Template | None], group: Sequence[Sending]) -> list[Template | None]:
    """The Templates, without the slots that hold a text of the author's: one that was loaded from a file, say.

    Such a slot held the same instruction in every run, and no field of the state held it.
    """
    result = list(templates)
    for template in dict.fromkeys(at for at in templates if at is not None and at.slots):
        members = [at for at, other in enumerate(templates) if other == template]
        filled = [next(filter(None, map(template.match, group[at].texts))) for at in members]
        state = {value.strip() for at in members for _, value in group[at].values}
        constant = {
            slot: value
            for slot, value in filled[0].items()
            if is_prose(value) and value.strip() not in state and all(other[slot] == value for other in filled)
        }
        if constant and len({group[at].run for at in members}) > 1:
            kept = tuple(slot for slot in template.slots if slot not in constant)
            whole = Template(template.render({**{slot: f"{{{slot}}}" for slot in kept}, **constant}), kept)
            # The instruction itself may hold braces that read like one of the slots.
            if all(any(whole.match(text) is not None for text in group[at].texts) for at in members):
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
