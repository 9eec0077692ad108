"""Our own spans, as `OTelCallback` writes them with content: they name their Spans, Variables and Parameters.

Edges are not in them. They are found again as the recorder found them, with its own rules, from what each node was given
and made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.record.draft import dotted
from textgrad_lg.record.evidence import Facts
from textgrad_lg.record.lineage import Lineage, Scope
from textgrad_lg.record.messages import pieces_in
from textgrad_lg.record.nodes import quoted
from textgrad_lg.site import Site
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Span, Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import mapping, parsed
from textgrad_lg_tracing.readers.messages import sorted_out

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.span import SourceSpan

_SECOND = 1e9
_NUMBER = re.compile(r"s(\d+)")
_KINDS = {"LLM": SpanKind.LLM, "TOOL": SpanKind.TOOL, "RETRIEVER": SpanKind.RETRIEVER}
_ROLES = {"user": "human"}
_GOTO = ".goto"
_PROMPT = re.compile(r"in\d+")


def read_own(spans: Sequence[SourceSpan], root: SourceSpan) -> tuple[Trace, dict[str, str]]:
    """The Trace of a rollout that we wrote, and its Spans' ids to those of the spans.

    Args:
        spans: Its spans, and others.
        root: The one of the rollout as a whole: one of `forwards`, with the Trace's id.
    """
    return _Reader(spans, root).read()


def forwards(spans: Sequence[SourceSpan]) -> list[SourceSpan]:
    """The `forward` spans, one for each rollout that we wrote; what ran in a rollout names its node besides."""
    return [span for span in spans if span.attributes.get(at.PHASE) == "forward" and at.NODE not in span.attributes]


class _Reader:
    def __init__(self, spans: Sequence[SourceSpan], root: SourceSpan) -> None:
        self._root = root
        below = _below(spans, root)
        self._source = {str(span.attributes[at.SPAN]): span for span in [root, *below]}
        names = {span.span_id: name for name, span in self._source.items()}
        self._parent = {
            name: names.get(span.parent_id or "", str(root.attributes[at.SPAN])) if span is not root else None
            for name, span in self._source.items()
        }
        self._order = sorted(self._source, key=_number)
        self._inside: dict[str | None, list[str]] = {}
        for name in self._order:
            self._inside.setdefault(self._parent[name], []).append(name)
        self._lineage = Lineage()
        self._warnings: dict[str, None] = {}
        self._ids = self._message_ids()
        self._free = self._not_parameters()
        self._spans = {name: self._span(name) for name in self._order}

    def read(self) -> tuple[Trace, dict[str, str]]:
        root = self._order[0]
        about = self._root.attributes
        given, made = mapping(about.get(at.INPUT)), mapping(about.get(at.OUTPUT))
        inputs = {
            field: self._lineage.add(dotted(root, "in", field), value, f"input {quoted(field)}")
            for field, value in given.items()
        }
        self._walk(root, Scope({field: [name] for field, name in inputs.items()}))
        outputs = {field: self._output(root, field, value) for field, value in made.items()}
        example = about.get(at.EXAMPLE)
        trace = Trace(
            id=str(about[at.TRACE]),
            name=str(about.get(at.GRAPH) or self._root.name),
            spans=tuple(self._spans.values()),
            variables=tuple(self._lineage.variables.values()),
            edges=tuple(self._lineage.edges()),
            inputs=inputs,
            outputs=outputs,
            example=str(example) if example is not None else None,
            warnings=tuple(self._warnings),
            started=self._root.start / _SECOND,
        )
        return trace, {name: span.span_id for name, span in self._source.items()}

    def _walk(self, root: str, outer: Scope) -> None:
        """Add what ran in a graph: what went in, then what ran inside, then what came out, and then its routers."""
        todo: list[tuple[str, Scope, Scope | None]] = [
            (name, outer, None) for name in reversed(self._inside.get(root, []))
        ]
        while todo:
            name, around, own = todo.pop()
            if own is not None:
                self._close(name, around, own)
                continue
            scope = self._open(name, around)
            inside = self._inside.get(name, [])
            routers = [child for child in inside if self._spans[child].kind is SpanKind.FUNCTION]
            todo += [(child, scope, None) for child in reversed(routers)]
            todo.append((name, around, scope))
            todo += [(child, scope, None) for child in reversed(inside) if child not in routers]

    def _open(self, name: str, around: Scope) -> Scope:
        span = self._spans[name]
        if span.kind in {SpanKind.LLM, SpanKind.TOOL, SpanKind.RETRIEVER}:
            return Scope({}, parent=around)
        given = {at: value for at, value in self._given(name).items() if not self._is_choice(at)}
        own = {at: value for at, value in given.items() if at.startswith(f"{name}.in")}
        known = [at for at in given if at in self._lineage.variables]
        for variable, value in own.items():
            field = quoted(_field(variable))
            role = f"{field} sent to `{span.name}`" if span.kind is SpanKind.NODE else f"input {field}"
            self._lineage.add(variable, value, role)
            # In a graph's own input it is in the code around it that this was put together.
            around.mark(self._lineage.enter(variable, name, Scope({"": known})))
        reads: dict[str, list[str]] = {}
        for variable in own or known:
            reads.setdefault(_field(variable), []).append(variable)
        return Scope(reads)

    def _close(self, name: str, around: Scope, scope: Scope) -> None:
        match self._spans[name].kind:
            case SpanKind.LLM:
                made = self._call(name, around)
            case SpanKind.TOOL | SpanKind.RETRIEVER:
                made = self._tool(name, around, scope)
            case _:
                made = [
                    self._made(name, variable, value, scope)
                    for variable, value in self._values(name, at.OUTPUT).items()
                ]
        around.products += made

    def _made(self, name: str, variable: str, value: JSON, scope: Scope) -> str:
        span, field = self._spans[name], _field(variable)
        by = f" by `{span.name}`"
        match span.kind:
            case SpanKind.GRAPH:
                role = f"output {quoted(field)}"
            case SpanKind.FUNCTION:
                role = f"next node, chosen{by}"
            case _ if variable.endswith(_GOTO):
                role = f"next node, chosen{by}"
            case _ if variable == f"{name}.error":
                role = f"error of `{span.name}`"
            case _:
                role = f"channel `{field}` written{by}" if field else f"written{by}"
        made = self._lineage.add(variable, value, role, span=name)
        self._lineage.explain(made, name, scope, field or None)
        for choice in filter(self._is_choice, self._given(name)):
            if choice in self._lineage.variables:
                self._lineage.link(choice, made, name, "control", CANDIDATE)
        return made

    def _output(self, root: str, field: str, value: JSON) -> str:
        made = self._lineage.add(dotted(root, "out", field), value, f"output {quoted(field)}", span=root)
        inside = {name for name in self._inside.get(root, []) if self._spans[name].kind is SpanKind.NODE}
        writes = [
            at.id
            for at in self._lineage.variables.values()
            if _field(at.id) == field and (at.span in inside or at.id == dotted(root, "in", field))
        ]
        # A list holds what several wrote; anything else is what was written last.
        known = self._lineage.known(writes, self._lineage.facts(made)) if isinstance(value, list) else {}
        self._lineage.carry(made, root, [name for name in writes if name in known or name == writes[-1]])
        return made

    def _call(self, name: str, around: Scope) -> list[str]:
        span = self._spans[name]
        sent = cast("list[dict[str, JSON]]", span.attributes["messages"])
        owner = span.path[-1] if span.path else span.name
        prompts: list[str] = []
        free = self._free.get(name, {})
        for message in sent:
            if message.get("site") is None and message["content"] in free.values():
                # It may be a prompt by how it was sent, and is none: it came from the state in other words.
                message["site"] = None
            for text in pieces_in(message["content"]) if "site" in message else ():
                told = message["site"]
                role = f"{'system' if message['role'] == 'system' else 'human'} prompt of `{owner}`"
                site = Site.parse(str(told)) if told is not None else None
                prompts.append(self._lineage.add(f"{name}.in{len(prompts)}", text, role, site=site))
        known = self._lineage.known(around.visible(), Facts(cast("JSON", sent)))
        around.mark(known)
        replies = self._messages(name, at.GEN_AI_OUTPUT)
        if not replies:
            return []
        out = self._lineage.add(f"{name}.out", replies[0], f"reply of `{owner}`", span=name)
        for prompt in prompts:
            self._lineage.link(prompt, out, name, "call")
        for source, via in known.items():
            self._lineage.link(source, out, name, via)
        return [out]

    def _tool(self, name: str, around: Scope, scope: Scope) -> list[str]:
        span = self._spans[name]
        made: list[str] = []
        for variable, value in self._values(name, at.OUTPUT).items():
            out = self._lineage.add(variable, value, f"result of the {span.kind} `{span.name}`", span=name)
            visible = around.visible()
            calls = self._lineage.facts(out).calls
            caller = [at for at in visible if not calls.isdisjoint(self._lineage.facts(at).calls)][-1:]
            arguments = Facts(span.attributes.get("arguments"))
            known = dict.fromkeys(caller, "tool-call-id") or self._lineage.known(visible, arguments, both=True)
            around.mark(known)
            for source in known or dict.fromkeys(around.products or visible):
                via, weight = (known[source], CONFIRMED) if source in known else ("channel", CANDIDATE)
                self._lineage.link(source, out, name, via, weight)
            inside = self._lineage.known(scope.products, self._lineage.facts(out), both=True)
            for source in scope.products:
                if source in inside or not inside:
                    weight = CONFIRMED if source in inside else CANDIDATE
                    self._lineage.link(source, out, name, inside.get(source, "channel"), weight)
            made.append(out)
        return made

    # What the spans say

    def _span(self, name: str) -> Span:
        source = self._source[name]
        about = source.attributes
        if source is self._root:
            attributes: dict[str, JSON] = {"run_id": source.span_id}
            title = str(about.get(at.GRAPH) or source.name)
            return Span(
                name, SpanKind.GRAPH, title, None, (), 0, source.error, 0.0, self._seconds(source.end), attributes
            )
        children = (self._source[child].attributes for child in self._inside.get(name, []))
        kind = _KINDS.get(str(about.get(at.OPENINFERENCE_KIND)))
        if kind is None and at.TASK in about:
            kind = SpanKind.NODE
        kind = kind or (SpanKind.GRAPH if any(at.TASK in child for child in children) else SpanKind.FUNCTION)
        path = tuple(part for part in str(about.get(at.GRAPH_NODE) or "").split("/") if part)
        title = str(about.get(at.LLM_MODEL)) if kind is SpanKind.LLM else source.name
        told: dict[str, JSON] = {"task": about.get(at.TASK), "step": about.get(at.LANGGRAPH_STEP)}
        if kind is SpanKind.LLM:
            told = {"provider": about.get(at.LLM_PROVIDER, ""), "model": about.get(at.LLM_MODEL)}
            told |= {"messages": cast("JSON", self._sent(name))}
            told |= {"input_tokens": about.get(at.LLM_INPUT_TOKENS), "output_tokens": about.get(at.LLM_OUTPUT_TOKENS)}
        elif kind in {SpanKind.TOOL, SpanKind.RETRIEVER}:
            told = {"arguments": cast("JSON", parsed(about.get(at.INPUT)))}
        visit = about.get(at.VISIT)
        return Span(
            name,
            kind,
            title,
            self._parent[name],
            path,
            visit if isinstance(visit, int) else 0,
            source.error,
            self._seconds(source.start),
            self._seconds(source.end),
            {**{key: value for key, value in told.items() if value is not None}, "run_id": source.span_id},
        )

    def _seconds(self, time: int) -> float:
        return (time - self._root.start) / _SECOND

    def _given(self, name: str) -> dict[str, JSON]:
        return self._values(name, at.INPUT)

    def _values(self, name: str, key: str) -> dict[str, JSON]:
        """A span's values by the ids of their Variables, in the order of their making."""
        found = mapping(self._source[name].attributes.get(key))
        return {variable: value for variable, value in found.items() if _NUMBER.match(variable)}

    def _is_choice(self, variable: str) -> bool:
        owner = self._spans.get(variable.partition(".")[0])
        return variable.endswith(_GOTO) or (owner is not None and owner.kind is SpanKind.FUNCTION)

    def _message_ids(self) -> dict[str, str]:
        """The ids of the messages in the state, by their content: those of a call are written without."""
        found: dict[str, str] = {}
        for source in self._source.values():
            todo: list[Any] = [mapping(source.attributes.get(key)) for key in (at.INPUT, at.OUTPUT)]
            while todo:
                item = todo.pop()
                if isinstance(item, list):
                    todo += cast("list[Any]", item)
                elif isinstance(item, dict):
                    value = cast("dict[str, Any]", item)
                    if "role" in value and "content" in value and isinstance(value.get("id"), str):
                        found.setdefault(_content_key(value), value["id"])
                    else:
                        todo += value.values()
        return found

    def _not_parameters(self) -> dict[str, dict[str, JSON]]:
        """Texts of calls that were recorded as possible prompts and turned out to be none, by call and Variable."""
        found: dict[str, dict[str, JSON]] = {}
        for name in self._order:
            for variable, value in self._given(name).items():
                call, _, place = variable.rpartition(".")
                if _PROMPT.fullmatch(place):
                    found.setdefault(call, {})[variable] = value
        return found

    def _messages(self, name: str, key: str) -> list[dict[str, JSON]]:
        told = parsed(self._source[name].attributes.get(key))
        found = [_message(item) for item in told if isinstance(item, dict)] if isinstance(told, list) else []
        for message in found:
            known = self._ids.get(_content_key(message))
            if known is not None:
                message["id"] = known
        return found

    def _sent(self, name: str) -> list[dict[str, JSON]]:
        """The messages of a call, with the Sites of those that are Parameters."""
        messages = self._messages(name, at.GEN_AI_INPUT)
        listed = parsed(self._source[name].attributes.get(at.PARAMETERS))
        sites = [Site.parse(str(text)) for text in listed] if isinstance(listed, list) else []
        for role in ("system", "human"):
            own = [site for site in sites if site.in_message and site.role == role]
            free = [message for message in messages if message["role"] == role]
            built = [message for message in free if message.get("id") is None]
            if len(own) not in {len(free), len(built)} and own:
                self._warnings[f"{name}: which of {len(free)} {role} messages are Parameters is not in the spans"] = (
                    None
                )
            for message, site in zip(free if len(own) == len(free) else built, own, strict=False):
                message["site"] = str(site)
        return messages


def _below(spans: Sequence[SourceSpan], root: SourceSpan) -> list[SourceSpan]:
    inside: dict[str | None, list[SourceSpan]] = {}
    for span in spans:
        inside.setdefault(span.parent_id, []).append(span)
    found: list[SourceSpan] = []
    todo = [root.span_id]
    while todo:
        for span in inside.get(todo.pop(), []):
            if at.SPAN in span.attributes:
                found.append(span)
            todo.append(span.span_id)
    return found


def _message(item: Mapping[str, JSON]) -> dict[str, JSON]:
    role = str(item.get("role") or "user")
    parts = item.get("parts")
    blocks, calls, answers = sorted_out(parts if isinstance(parts, list) else [])
    found: dict[str, JSON] = {"role": _ROLES.get(role, role), **answers}
    plain = len(blocks) == 1 and not isinstance(blocks[0], dict)
    found["content"] = blocks[0] if plain else ([_block(block) for block in blocks] or "")
    return {**found, "tool_calls": cast("JSON", calls)} if calls else found


def _block(block: JSON) -> JSON:
    return {"type": "text", "text": block} if isinstance(block, str) else block


def _content_key(message: Mapping[str, Any]) -> str:
    calls: Any = message.get("tool_calls") or []
    return repr((message["role"], message["content"], message.get("tool_call_id"), calls))


def _number(name: str) -> int:
    found = _NUMBER.match(name)
    return int(found[1]) if found else 0


def _field(variable: str) -> str:
    return variable.split(".", 2)[2] if variable.count(".") > 1 else ""
