"""Which fields of an assistant's context are Parameters."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from textgrad_lg.errors import NoPromptFound, UnknownParameter
from textgrad_lg.prompt import Template
from textgrad_lg.record import Discovery
from textgrad_lg.record.peek import is_prose
from textgrad_lg.record.select import selected
from textgrad_lg.site import CONTEXT, Site
from textgrad_lg_integrations.langgraph_server.plain import entries, items

if TYPE_CHECKING:
    from langgraph.pregel import Pregel

    from textgrad_lg.trace import Trace
    from textgrad_lg_integrations.langgraph_server.server import Found

_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_ROLE = "text"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an assistant's context that holds text.

    Attributes:
        name: Its name.
        site: Its Site, as in `context:system_prompt/text`.
        template: Its text, with the slots that the graph's code fills.
        nodes: The nodes that are said to read it; empty where nothing is said.
        prompt: Whether it is a prompt, by what its schema says, or by how its text reads.
    """

    name: str
    site: Site
    template: Template
    nodes: tuple[str, ...] = ()
    prompt: bool = True


def site_of(name: str) -> Site:
    """The Site of a context field."""
    return Site((f"{CONTEXT}{name}",), _ROLE)


def text_fields(found: Found, only: Sequence[str] | None) -> tuple[Field, ...]:
    """The fields of an assistant that hold text, in the order of their schema, those that it does not know last.

    A field's text is what the assistant's context has, else the schema's default. Its schema may say that it is a prompt
    ("langgraph_type": "prompt") and which nodes read it ("langgraph_nodes"), as LangGraph Studio reads them too.

    Args:
        found: The assistant.
        only: The names of the fields to take for prompts; None for those that say that they are, or read like one.

    Raises:
        UnknownParameter: `only` names a field that the assistant does not have, or that holds no text.
    """
    fields: dict[str, Field] = {}
    for name in dict.fromkeys((*found.properties, *found.values)):
        about = found.properties.get(name, {})
        text = found.values.get(name, about.get("default"))
        if not isinstance(text, str) or not text.strip() or "enum" in about or "const" in about or "/" in name:
            continue
        template = Template(text, tuple(dict.fromkeys(_SLOT.findall(text))))
        # Beside the schema's own words, or below "metadata", as the ways to write them differ.
        said = {**entries(about.get("metadata")), **about}
        named = tuple(str(node) for node in items(said.get("langgraph_nodes")))
        prompt = said.get("langgraph_type") == "prompt" or is_prose(text) if only is None else name in only
        fields[name] = Field(name, site_of(name), template, named, prompt)
    for name in only or ():
        if name not in fields:
            raise UnknownParameter(
                f"the assistant has no text in a field {name!r}; its fields with text are {', '.join(fields) or 'none'}. "
                "Give the field a first text, in the assistant's context or as its default in the graph's schema"
            )
    return tuple(fields.values())


@dataclass(frozen=True)
class FieldDiscovery(Discovery):
    """The Parameters of an assistant: known before any run, and the same after all of them."""

    fields: tuple[Field, ...] = field(default=())

    def label(self, trace: Trace) -> Trace:
        """The Trace with those of its Parameters marked that may be changed."""
        variables = tuple(
            replace(at, site=at.site if at.site in self.parameters else None, requires_grad=at.site in self.trainable)
            if at.site is not None
            else at
            for at in trace.variables
        )
        return replace(trace, variables=variables)

    def extend(
        self,
        traces: Iterable[Trace],
        graph: Pregel[Any, Any, Any, Any] | None = None,
        *,
        only: Sequence[str] | None = None,
    ) -> Self:
        """This Discovery: no run shows a field that the schema and the context do not have."""
        return self


def discover_fields(found: Found, fields: Sequence[Field], only: Sequence[str] | None) -> FieldDiscovery:
    """The Parameters of an assistant.

    Args:
        found: The assistant.
        fields: Its fields with text.
        only: As in `optimize(optimize_only=...)`; a field's bare name will do. None for all that are prompts.

    Raises:
        NoPromptFound: It has none.
        UnknownParameter: A name of `only` fits no field.
    """
    where = f"the assistant {found.id} of the graph {found.graph!r}"
    if not fields or (only is None and not any(at.prompt for at in fields)):
        held = ", ".join(at.name for at in fields) or "none"
        raise NoPromptFound(
            f"no prompt was found in {where}: its fields with text are {held}, and none of them reads like a prompt. "
            "Name them, as in Assistant(..., fields=['style']); or, where the graph reads no prompt from its context, give "
            "it one there, or use textgrad_lg.attach in the deployed process"
        )
    if only is None:
        trainable = tuple(at.site for at in fields if at.prompt)
    else:
        bare = {at.name: str(at.site) for at in fields}
        trainable = selected(tuple(at.site for at in fields), [bare.get(name, name) for name in only])
    parameters = {at.site: at.template for at in fields if at.prompt or at.site in trainable}
    left = [at.name for at in fields if at.site not in parameters]
    said = f"{where} has other fields with text, which do not read like prompts and are left as they are: "
    warnings = (f"{said}{', '.join(left)}; name them in fields=[...] if they are",) if left and only is None else ()
    held = f"{found.door} of {where}, version {found.version}"
    return FieldDiscovery(
        parameters, trainable, dict.fromkeys(parameters, held), warnings=warnings, fields=tuple(fields)
    )
