"""What the walk through a graph's code finds, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from textgrad_lg.prompt import Template
from textgrad_lg.record.mask import has_words

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


@dataclass(frozen=True, slots=True)
class StaticText:
    """A text that the graph holds and that could be a prompt.

    Attributes:
        path: The nodes that it was found in, from the outermost graph inwards.
        text: The text, with its slots.
        held: Where it is held, in words.
        role: The role of the message that it goes into; None where the code does not show it.
        slots: The names of its slots.
        agent: The name of the agent that it was found in.
        fragment: Whether it may be only a piece of what is sent.
        source: The file and line, as in "/app/prompts.py:12"; "" where it is not known.
        handle: The name of the `Prompt` that holds it; None for text that is not held by name.
        shipped: Whether it stands in the source of LangChain itself. It helps to tell what was sent, and no more.
        depth: How many references the walk followed from the graph to it.
    """

    path: tuple[str, ...]
    text: str
    held: str
    role: str | None = None
    slots: tuple[str, ...] = ()
    agent: str | None = None
    fragment: bool = False
    source: str = ""
    handle: str | None = None
    shipped: bool = False
    depth: int = 0

    @property
    def template(self) -> Template:
        """The text as a Template."""
        return Template(self.text, self.slots)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may be offered.

    Attributes:
        name: Its name.
        description: What the model is told about it.
        where: The node that it was found in, as in "agent/tools".
    """

    name: str
    description: str
    where: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the walk is.

    Attributes:
        path: The nodes that it came through.
        agent: The agent that it is in.
        held: In words, what holds the object it looks at.
        source: The file and line of that.
        depth: How many references it followed.
        role: The role of the message that a function's result is put into.
        tool: Whether it is inside a tool, whose texts are results unless they go into a message.
        library: Whether a library's closure led to the object.
        shipped: Whether it is in the source of LangChain itself.
        context: The class of the graph's runtime context.
    """

    path: tuple[str, ...] = ()
    agent: str | None = None
    held: str = ""
    source: str = ""
    depth: int = 0
    role: str | None = None
    tool: bool = False
    library: bool = False
    shipped: bool = False
    context: type[object] | None = None

    def at(self, held: str, source: str = "") -> Place:
        """The same place, where it looks at something that is held elsewhere."""
        return replace(self, held=held, source=source)


@dataclass(frozen=True, slots=True)
class Blind:
    """Something in a node's code that hides what the node does.

    Attributes:
        path: The node.
        kind: "client", "thread" or "model".
        what: The client's package, or what starts the threads; "" for a model.
        where: The function that refers to it, in backticks.
    """

    path: tuple[str, ...]
    kind: str
    what: str
    where: str


@dataclass(slots=True)
class Findings:
    """The texts and tools found so far, in order, what hides others, and what each node can choose to run next."""

    texts: dict[StaticText, None] = field(default_factory=dict["StaticText", None])
    tools: dict[Tool, None] = field(default_factory=dict["Tool", None])
    blind: dict[Blind, None] = field(default_factory=dict["Blind", None])
    routes: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict[tuple[str, ...], tuple[str, ...]])
    models: list[tuple[tuple[str, ...], BaseChatModel]] = field(
        default_factory=list[tuple[tuple[str, ...], "BaseChatModel"]]
    )

    def add(self, place: Place, template: Template, role: str | None, *, fragment: bool = False) -> None:
        """Add a text, unless it has no words."""
        if has_words(template):
            self.texts[
                StaticText(
                    place.path,
                    template.text,
                    place.held,
                    role,
                    template.slots,
                    place.agent,
                    fragment,
                    place.source,
                    shipped=place.shipped,
                    depth=place.depth,
                )
            ] = None

    def add_handle(self, place: Place, name: str, template: Template) -> None:
        """Add the default text of a prompt that is held by name."""
        self.texts[
            StaticText(
                place.path,
                template.text,
                place.held,
                "text",
                template.slots,
                place.agent,
                source=place.source,
                handle=name,
                depth=place.depth,
            )
        ] = None

    def add_tool(self, place: Place, name: object, description: object) -> None:
        """Add a tool."""
        self.tools[Tool(str(name), str(description or ""), "/".join(place.path))] = None

    def found(self) -> tuple[StaticText, ...]:
        """The texts, each once a node: a whole text is preferred to a fragment, one of known role to one of unknown.

        A text of unknown role that stands in another one of its node is not named again.
        """
        best: dict[tuple[tuple[str, ...], str | None, str, str | None], StaticText] = {}
        for text in self.texts:
            key = (text.path, text.agent, text.text, text.handle)
            known = best.get(key)
            if known is None or _doubt(known) > _doubt(text):
                best[key] = text
        texts = list(best.values())
        return tuple(
            text for text in texts if text.role is not None or not any(_within(text, other) for other in texts)
        )


def _doubt(text: StaticText) -> tuple[bool, bool, bool]:
    return text.shipped, text.fragment, text.role is None


def _within(text: StaticText, other: StaticText) -> bool:
    return (text.path, text.agent) == (other.path, other.agent) and text.text != other.text and text.text in other.text
