"""Rewriting the messages of one model call: a pure function of the messages, where they enter, and the texts in force."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import TemplateError
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site, prompt_messages


@dataclass(frozen=True, slots=True)
class Replacement:
    """A Parameter's text as the graph has it, and the text that takes its place.

    Attributes:
        old: The text as the graph's own code makes it.
        new: What the model is sent instead. Its slots get the values found in the old text.
        then: A Replacement on top of this one; set by `merge`.
    """

    old: Template
    new: Template
    then: Replacement | None = None


Texts = Mapping[Site, Replacement]
"""The texts in force, by Site."""


@dataclass(frozen=True, slots=True)
class _Hit:
    """How one text is rewritten: the result, the Templates that made it, and how much of the old text was constant."""

    text: str
    templates: tuple[Template, ...]
    constant: int


def rewrite(
    messages: Sequence[BaseMessage],
    path: tuple[str, ...],
    agent: str | None,
    texts: Texts,
    done: Sequence[BaseMessage] = (),
) -> list[BaseMessage]:
    """The messages of one call with the new texts in the old ones' places.

    Only messages that the graph's author wrote (`site.prompt_messages`) are looked at, each text block of one by itself;
    and human messages from the state, where an old text with words enough (`Template.telling`) matches: nodes write
    instructions into the state too. What a user typed has other words.
    A text belongs to the Site of its path, agent and role whose old text matches it; if several do, to the one with the
    most constant text, then to one that has not matched yet in this call, then to the one with the lowest index. Demonstrations go after the block
    of system messages that their system text stands in, or in front of the first human message of their Site.

    Args:
        messages: The call's messages; neither the list nor a message is changed.
        path: The call's path, from `site.call_path`.
        agent: The call's agent name, from `site.call_path`.
        texts: The texts in force.
        done: Messages that an earlier rewriting made; they are left as they are, so that a call that passes through
            here twice is rewritten once: `rewrite(m, ..., done=m) == m`.

    Returns:
        A new list. Rewritten messages keep their type, name, id and other fields. The human turns of
        demonstrations have an id of their own, so that nobody takes them for prompts; no provider is sent it.
    """
    roles = dict(prompt_messages(messages))
    own = (site for site in texts if site.path == path and site.agent == agent)
    here = [(site, texts[site]) for site in sorted(own, key=_order)]
    result: list[BaseMessage] = []
    after_system: list[BaseMessage] = []
    used: set[Site] = set()
    for at, message in enumerate(messages):
        if message.type != "system":
            result += after_system
            after_system = []
        role = roles.get(at)
        found: list[tuple[int | None, Site, _Hit]] = []
        if here and (role is not None or message.type == "human") and message not in done:
            fitting = [(site, change) for site, change in here if site.role == message.type]
            if role is None:
                fitting = [(site, change) for site, change in fitting if _telling(change)]
            found = _find(message, fitting, used) if fitting else []
        if not found:
            result.append(message)
            continue
        content = message.content
        for block, site, hit in found:
            turns = [] if site in used else list(_demonstrations(site, hit.templates))
            used.add(site)
            if role == "system":
                after_system += turns
            else:
                result += turns
            content = _with_text(content, block, hit.text)
        result.append(message.model_copy(update={"content": content}))
    return result + after_system


def merge(inner: Texts, outer: Texts) -> Texts:
    """The texts of a bound graph (`inner`) under those of an overlay around it (`outer`).

    Where both name a Site, the outer one decides: if its old text is the graph's own, it takes the inner one's place;
    if its old text is what the inner one makes, as for a bound graph that is optimised again, it comes on top.
    """
    both = {site: _on_top(inner[site], change) for site, change in outer.items() if site in inner}
    return {**inner, **outer, **both}


def replaced(change: Replacement, text: str) -> str | None:
    """The new text in the place of `text`; None where it is not the old one."""
    found = _hit(change, text)
    return None if found is None else found.text


def check(texts: Texts) -> None:
    """Check that every Replacement can be carried out.

    Raises:
        TemplateError: A new text or a demonstration needs a slot value that it will not get.
    """
    for site, change in texts.items():
        if is_description(site) and change.new.demos:
            raise TemplateError(f"{site}: a description is not part of a conversation, so it carries no demonstrations")
        if site.is_setting:
            _check_setting(site, change)
        lost = [slot for slot in change.new.slots if slot not in change.old.slots]
        if lost:
            raise TemplateError(
                f"{site}: the new text has the slot {_braced(lost)}, and the old text gives it no value"
            )
        wanted = ("human",) if site.role == "system" else change.new.slots
        for demo in change.new.demos:
            lost = [slot for slot in wanted if slot not in dict(demo.inputs)]
            if lost:
                raise TemplateError(f"{site}: a demonstration gives no value for {_braced(lost)}")


def _check_setting(site: Site, change: Replacement) -> None:
    try:
        json.loads(change.new.text)
    except ValueError as error:
        raise TemplateError(f"{site}: {change.new.text!r} is not the JSON of a value") from error


def _find(
    message: BaseMessage, here: Sequence[tuple[Site, Replacement]], used: set[Site]
) -> list[tuple[int | None, Site, _Hit]]:
    """The texts of a message that belong to a Site: the block, the Site, and how it is rewritten."""
    found: list[tuple[int | None, Site, _Hit]] = []
    taken = set(used)
    for block, text in _blocks(message.content):
        hits = [(site, hit) for site, change in here if (hit := _hit(change, text)) is not None]
        if hits:
            site, hit = min(hits, key=lambda at: (-at[1].constant, at[0] in taken, at[0].index))
            taken.add(site)
            found.append((block, site, hit))
    return found


def _telling(change: Replacement) -> bool:
    return change.old.telling and (change.then is None or _telling(change.then))


def _on_top(below: Replacement, above: Replacement) -> Replacement:
    return replace(below, then=above if below.then is None else _on_top(below.then, above))


def _hit(change: Replacement, text: str) -> _Hit | None:
    # The Replacement on top is tried first: if it knows the graph's own text, the one below has nothing to add.
    if change.then is not None and (direct := _hit(change.then, text)) is not None:
        return direct
    values = change.old.match(text)
    if values is None:
        return None
    new = change.new.render(values)
    constant = len(change.old.render(dict.fromkeys(change.old.slots, "")))
    above = _hit(change.then, new) if change.then is not None else None
    if above is None:
        return _Hit(new, (change.new,), constant)
    return _Hit(above.text, (change.new, *above.templates), constant)


def _demonstrations(site: Site, templates: tuple[Template, ...]) -> Iterator[BaseMessage]:
    for template in templates:
        for at, demo in enumerate(template.demos):
            given = dict(demo.inputs)
            text = given["human"] if site.role == "system" else template.render(given)
            # A human message without an id would be taken for one of the author's prompts, here and by the recorder.
            yield HumanMessage(text, id=f"demo-{template.hash}-{at}")
            yield AIMessage(demo.output)


def _blocks(content: str | list[str | dict[str, Any]]) -> Iterator[tuple[int | None, str]]:
    """The pieces of text of a message's content, each with its position among the blocks."""
    if isinstance(content, str):
        yield None, content
        return
    for at, block in enumerate(content):
        if isinstance(block, str):
            yield at, block
        elif block.get("type") == "text" and isinstance(block.get("text"), str):
            yield at, block["text"]


def _with_text(
    content: str | list[str | dict[str, Any]], at: int | None, text: str
) -> str | list[str | dict[str, Any]]:
    if at is None or isinstance(content, str):
        return text
    block = content[at]
    return [*content[:at], text if isinstance(block, str) else {**block, "text": text}, *content[at + 1 :]]


def _order(site: Site) -> tuple[str, int]:
    return site.role, site.index


def _braced(slots: Sequence[str]) -> str:
    return ", ".join(f"{{{slot}}}" for slot in slots)
