"""Texts in the prompt templates of LangChain, read and not run: roles, slots, partial values and examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from langchain_core.messages import BaseMessage

from textgrad_lg.prompt import Template
from textgrad_lg.record.peek import attributes, is_prose, template_from

ROLES = ("system", "human")


class PromptText(NamedTuple):
    """A text of a prompt template.

    Attributes:
        role: The role of the message that it becomes; None where the template is text alone.
        template: The text.
        fragment: Whether it may be only a piece of what is sent.
    """

    role: str | None
    template: Template
    fragment: bool = False


def texts_of(prompt: Any) -> Iterator[PromptText]:
    """The texts of a prompt template, in order; of one with examples, the examples too."""
    own = attributes(prompt)
    given: Any = own.get("partial_variables")
    for text in _texts(prompt, own):
        yield _filled(text, cast("Mapping[str, Any]", given) if isinstance(given, dict) else {})


def message_texts(message: BaseMessage) -> Iterator[PromptText]:
    """The texts of a message that an author wrote."""
    content: list[Any] = [message.content] if isinstance(message.content, str) else message.content
    for block in content:
        text = cast("dict[str, Any]", block).get("text") if isinstance(block, dict) else block
        if message.type in ROLES and isinstance(text, str):
            yield PromptText(message.type, Template(text))


def pulled_from(metadata: object) -> str:
    """Where LangSmith's client got a prompt from, as "owner/name:commit"; "" for one that was not pulled."""
    known: Mapping[str, Any] = cast("Mapping[str, Any]", metadata) if isinstance(metadata, Mapping) else {}
    name = "/".join(str(known[key]) for key in ("lc_hub_owner", "lc_hub_repo") if known.get(key))
    commit = known.get("lc_hub_commit_hash")
    return f"{name}:{commit}" if name and commit else name


def _texts(prompt: Any, own: Mapping[str, Any]) -> Iterator[PromptText]:
    if isinstance(prompt, BaseMessage):
        yield from message_texts(prompt)
    elif isinstance(own.get("examples"), list):
        yield from _with_examples(own)
    elif isinstance(own.get("messages"), list):
        for item in own["messages"]:
            yield from texts_of(item)
    elif "prompt" in own:
        # A message: its text, or one for each text block.
        role = next((role for role in ROLES if type(prompt).__name__.lower().startswith(role)), None)
        parts = cast("list[Any]", own["prompt"]) if isinstance(own["prompt"], list) else [own["prompt"]]
        for text in (text for part in parts for text in texts_of(part) if role is not None):
            yield text._replace(role=role)
    elif isinstance(own.get("template"), str):
        yield PromptText(None, *template_from(own["template"], own.get("template_format", "f-string")))


def _with_examples(own: Mapping[str, Any]) -> Iterator[PromptText]:
    """Examples as messages of their own, or as parts of one text."""
    form = str(own.get("template_format", "f-string"))
    around = [template_from(own[name], form) for name in ("prefix", "suffix") if isinstance(own.get(name), str)]
    examples = [
        _rendered(text, cast("Mapping[str, Any]", example))
        for example in cast("list[Any]", own["examples"])
        if isinstance(example, dict)
        for text in texts_of(own.get("example_prompt"))
    ]
    if not around:
        yield from examples
        return
    before = [around[0][0]] if own.get("prefix") else []
    parts = [*before, *(text.template for text in examples), around[-1][0]]
    slots = tuple(dict.fromkeys(slot for part in parts for slot in part.slots))
    whole = Template(str(own.get("example_separator", "\n\n")).join(part.text for part in parts), slots)
    yield PromptText(None, whole, any(fragment for _, fragment in around) or any(text.fragment for text in examples))


def _rendered(text: PromptText, values: Mapping[str, Any]) -> PromptText:
    """A text with the values of one example; a slot without a value stays one."""
    template = text.template
    kept = tuple(slot for slot in template.slots if slot not in values)
    filled = {slot: str(values.get(slot, f"{{{slot}}}")) for slot in template.slots}
    return text._replace(template=Template(template.render(filled), kept))


def _filled(text: PromptText, given: Mapping[str, Any]) -> PromptText:
    """A text with the instructions that fill some of its slots for good; a short value, as of a name, leaves its slot."""
    prose = {slot: value for slot, value in given.items() if isinstance(value, str) and is_prose(value)}
    return _rendered(text, prose) if any(slot in prose for slot in text.template.slots) else text
