"""`Prompt` and `Setting`: a prompt or a setting that is held by name, for code that wants to say where what is trainable is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from textgrad_lg.domain import Choice, Real, Whole
from textgrad_lg.errors import DomainError, TemplateError
from textgrad_lg.overlay.scope import current
from textgrad_lg.prompt import Template
from textgrad_lg.record.recorder import note_use
from textgrad_lg.record.uses import Handle, Use, slots_in
from textgrad_lg.site import PROMPTS, SETTINGS, Site

if TYPE_CHECKING:
    from textgrad_lg.overlay import Replacement

V = TypeVar("V", bool, int, float, str)

_NAME = re.compile(r"\w[\w. -]*")
_SETTING = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)+")


class Prompt(Handle, Runnable[Mapping[str, Any], ChatPromptValue]):
    """A prompt that is held by name, and gives the text in force wherever and whenever it is used.

    A graph needs no handles: prompts are found in the calls it makes. A handle is for text that is not in a LangChain
    model call as it is written, because the node sends it through another SDK or transforms it first, and for people
    who want a prompt to have a name. The text in force is the one that is being tried or was published for the graph
    that runs now (`optimize`, `overlay`, a bound graph, `from_registry`), and else the default.

    - In an f-string, `str(p)`: the text with its slots as they are written. `p.format(audience="children")`: filled.
    - As a Runnable, `p | model`: a system message (or `role="human"`), its slots filled from the mapping it is given,
      and after it the mapping's "messages", where it has any and no slot is called so. So it can be the `prompt` of
      `create_react_agent`.
    - In middleware: `@dynamic_prompt` over a function that returns `str(p)`.

    The text is read when one of these is evaluated. What is evaluated inside a node, a tool or middleware is read at each
    run. What is evaluated while the graph is built keeps the text of that moment: `create_agent(system_prompt=str(p))`,
    `SystemMessage(str(p))` in a module, `ChatPromptTemplate.from_messages([("system", str(p))])`. There is no registry
    of handles: two with the same name and default are one Parameter, and two with the same name and different defaults
    are an error when Parameters are discovered.

    Args:
        name: Its name; its Site is `prompts:<name>/text`. Letters, digits, "_", "-", "." and spaces.
        default: The text where no other is in force. A slot is written `{audience}`; other braces are ordinary text, and
            there is no way, and no need, to double them.
        role: The role of the message that it is as a Runnable.
        slots: The names of the slots; default: every name in braces.

    Attributes:
        name: Its name.
        site: Its Site.
        own: The default text.
        role: The role of its message.

    Raises:
        TemplateError: The name, the text, the role or the slots cannot be used; the message says why.

    Example:
        >>> planner = Prompt("planner", default="You plan for {audience}.")
        >>> planner.format(audience="children")
        'You plan for children.'
        >>> f"{planner} Be brief."
        'You plan for {audience}. Be brief.'
        >>> print(planner.invoke({"audience": "children"}).to_string())
        System: You plan for children.
    """

    def __init__(
        self,
        name: str,
        default: str,
        *,
        role: Literal["system", "human"] = "system",
        slots: Sequence[str] | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise TemplateError(
                f"{name!r} cannot be the name of a prompt; give it letters, digits, '_', '-', '.' and spaces, as in "
                "'planner'"
            )
        if not default.strip():
            raise TemplateError(f"the prompt {name!r} has an empty default; give it the text to start from")
        if role not in ("system", "human"):
            raise TemplateError(f"the prompt {name!r} has the role {role!r}; it can be 'system' or 'human'")
        written = slots_in(default)
        lost = [slot for slot in slots or () if slot not in written]
        if lost:
            raise TemplateError(f"the default of the prompt {name!r} does not hold the slot {{{lost[0]}}}")
        self.name = name
        self.site = Site((f"{PROMPTS}{name}",), "text")
        self.own = Template(default, tuple(slot for slot in written if slots is None or slot in slots))
        self.role: Literal["system", "human"] = role

    def __str__(self) -> str:
        text = self._in_force()
        return self._used(text, text.text)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return f"Prompt({self.name!r}, default={self.own.text!r})"

    def format(self, /, **values: Any) -> str:
        """The text in force with its slots filled; values that no slot takes are left out.

        Raises:
            TemplateError: A slot has no value.
        """
        return self.render(values)

    def render(self, values: Mapping[str, Any]) -> str:
        """As `format`, with the values in a mapping."""
        text = self._in_force()
        missing = [slot for slot in text.slots if slot not in values]
        if missing:
            raise TemplateError(
                f"the prompt {self.name!r} needs a value for {', '.join(f'{{{slot}}}' for slot in missing)}; it was "
                f"given {', '.join(map(str, values)) or 'none'}"
            )
        return self._used(text, text.render({slot: str(values[slot]) for slot in text.slots}))

    @override
    def invoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> ChatPromptValue:
        """Its message, with the slots filled.

        Args:
            input: Values for the slots, and "messages" that go after its own; a graph's state will do. Where it has one
                slot, the value itself.
            config: As for every Runnable.
            **kwargs: None are used.

        Raises:
            TemplateError: A slot has no value.
        """
        return self._call_with_config(self._message, input, config, run_type="prompt")

    def _message(self, given: Any) -> ChatPromptValue:
        values = cast("Mapping[str, Any]", given if isinstance(given, Mapping) else self._single(given))
        text = self.render(values)
        own: BaseMessage = SystemMessage(text) if self.role == "system" else HumanMessage(text)
        more = () if "messages" in self.own.slots else values.get("messages") or ()
        return ChatPromptValue(messages=[own, *convert_to_messages(more)])

    def _single(self, given: object) -> Mapping[str, Any]:
        if len(self.own.slots) != 1:
            slots = ", ".join(self.own.slots) or "none"
            raise TemplateError(
                f"the prompt {self.name!r} was given a {type(given).__name__}; give it a mapping with values for its "
                f"slots ({slots})"
            )
        return {self.own.slots[0]: given}

    def _in_force(self) -> Template:
        scope = current()
        change = None if scope is None else scope.texts.get(self.site)
        return self.own if change is None else _laid_over(self.own, change)

    def _used(self, text: Template, rendered: str) -> str:
        note_use(Use(self.site, self.own, text, rendered))
        return rendered


class Setting(Generic[V]):
    """A setting that is held by name, and gives the value in force wherever and whenever it is read.

    Settings of LangChain's chat models and retrievers need none: `optimize(..., domains=...)` names them. A handle is for a
    number or a choice that goes elsewhere: into another SDK, a search of a vector store, the node's own code. What its node
    makes is taken to depend on it.

    Its Site is `settings:<name>`. It may be changed unless `optimize_only` leaves it out; `domains` may narrow its domain.
    `value` is read when it is asked for, so ask inside the node, and not while the graph is built. There is no registry of
    handles: two with the same name, default and domain are one Parameter, and two with the same name that differ
    are an error when Parameters are discovered.

    Args:
        name: Two parts or more with slashes between them, as in "retriever/k"; each of letters, digits, "_", "-" and ".".
        default: The value where no other is in force.
        domain: Which values it may take: `Real`, `Whole` or `Choice`.

    Attributes:
        name: Its name.
        site: Its Site.
        own: The text of its default.
        domain: Its domain.

    Raises:
        DomainError: The name cannot be used, the default is not in the domain, or the domain is none of the three.

    Example:
        >>> from textgrad_lg import Whole
        >>> k = Setting("retriever/k", 4, Whole(1, 10))
        >>> k.value
        4
    """

    def __init__(self, name: str, default: V, domain: Real | Whole | Choice) -> None:
        if not _SETTING.fullmatch(name):
            raise DomainError(
                f"{name!r} cannot be the name of a setting; give it two parts of letters, digits, '_', '-' and '.', with a "
                "slash between them, as in 'retriever/k'"
            )
        given: Any = domain
        if not isinstance(given, (Real, Whole, Choice)):
            raise DomainError(f"the setting {name!r} has {given!r}, which is no domain; give it Real, Whole or Choice")
        try:
            text = domain.text(domain.parse(json.dumps(default)))
        except (ValueError, TypeError) as error:
            raise DomainError(
                f"the setting {name!r} has the default {default!r}, which is not {domain.words}"
            ) from error
        self.name = name
        self.site = Site.parse(f"{SETTINGS}{name}")
        self.own = Template(text)
        self.domain = domain

    def __repr__(self) -> str:
        return f"Setting({self.name!r}, {self.own.text}, {self.domain!r})"

    @property
    def value(self) -> V:
        """The value in force."""
        scope = current()
        change = None if scope is None else scope.texts.get(self.site)
        text = self.own if change is None else _laid_over(self.own, change)
        try:
            value = self.domain.parse(text.text)
        except ValueError:
            # It was accepted when the domain was wider.
            text = self.own
            value = self.domain.parse(text.text)
        note_use(Use(self.site, self.own, text, text.text, self.domain))
        return cast("V", value)


def _laid_over(own: Template, change: Replacement) -> Template:
    """The text that takes the place of `own`, as the overlay finds it for a message; `own` where the change is of another text."""
    if change.then is not None:
        direct = _laid_over(own, change.then)
        if direct is not own:
            return direct
    # A default that was edited since the change was made is the author's last word, as it is for a message.
    if change.old.text != own.text or not set(change.new.slots) <= set(own.slots):
        return own
    return change.new if change.then is None else _laid_over(change.new, change.then)
