"""Model calls, tools and retrievers as Spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage, HumanMessage

from textgrad_lg.record.draft import Draft
from textgrad_lg.record.evidence import Facts
from textgrad_lg.record.lineage import Scope
from textgrad_lg.record.messages import pieces_in
from textgrad_lg.record.notes import REPLAYED, SECONDS
from textgrad_lg.record.offered import attributes as offers
from textgrad_lg.record.order import reply_of
from textgrad_lg.record.settings import add_settings, link_held, link_settings
from textgrad_lg.record.values import canonical
from textgrad_lg.site import Site, call_path, prompt_messages
from textgrad_lg.trace import CANDIDATE, Span
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import images_in

if TYPE_CHECKING:
    from textgrad_lg.record.runs import Run


def add_llm(draft: Draft, run: Run, parent: str | None, scope: Scope) -> str | None:
    """Add a model call; returns the id of its reply's Variable, or None where it failed."""
    params = cast("Mapping[str, Any]", run.extra.get("invocation_params") or {})
    messages = [at if isinstance(at, BaseMessage) else HumanMessage(str(at)) for at in run.inputs]
    written = prompt_messages(messages)
    own = {at for at, _ in written}
    sent = [_sent(draft.convert.message(message), own=at in own) for at, message in enumerate(messages)]
    path, agent = call_path(run.metadata)
    path = draft.once(path)
    prompts: list[tuple[Site, JSON]] = []
    used: dict[str, int] = {}
    for at, role in written:
        for text in pieces_in(sent[at]["content"]):
            site = draft.once(Site(path, role, used.get(role, 0), agent))
            used[role] = site.index + 1
            sent[at].setdefault("site", draft.once(str(site)))
            prompts.append((site, text))
    sent = [_once(draft, message) for message in sent]
    model = str(run.metadata.get("ls_model_name") or params.get("model") or params.get("model_name") or "")
    reply = reply_of(run)
    attributes: dict[str, JSON] = {
        "provider": str(run.metadata.get("ls_provider") or ""),
        "model": model,
        "messages": cast("JSON", sent),
        **offers(params, draft),
        **_usage(run, reply),
        **_replayed(run),
        **({"agent": agent} if agent else {}),
    }
    attributes |= draft.template.pop(id(run.parent), {})
    span = draft.open(run, SpanKind.LLM, model or run.name or "model", parent, attributes=attributes, path=path)
    owner = path[-1] if path else span.name
    names = [
        draft.lineage.add(f"{span.id}.in{at}", text, f"{site.role} prompt of `{owner}`", site=site)
        for at, (site, text) in enumerate(prompts)
    ]
    settings = add_settings(draft, run, span.id, "llm")
    known = draft.lineage.known(scope.visible(), Facts(cast("JSON", sent), draft.lineage.texts))
    scope.mark(known)
    pictures = _pictures(draft, sent, span.id, owner)
    if reply is None:
        return None
    answer: dict[str, JSON] = (
        draft.convert.message(reply)
        if isinstance(reply, BaseMessage)
        else {"role": "assistant", "content": draft.convert.json(reply, "reply")}
    )
    out = draft.lineage.add(f"{span.id}.out", cast("JSON", answer), f"reply of `{owner}`", span=span.id)
    for name in (*names, *pictures):
        draft.lineage.link(name, out, span.id, "call")
    link_settings(draft, settings, out, span.id)
    for source, via in known.items():
        draft.lineage.link(source, out, span.id, via)
    return out


def _pictures(draft: Draft, sent: Sequence[dict[str, JSON]], span: str, owner: str) -> list[str]:
    """The Variables of the images that a call was sent: one for each image of the run, however often it is sent."""
    found: dict[str, None] = {}
    for block in (block for message in sent for block in images_in(message["content"])):
        key = canonical(block)
        if key not in draft.images:
            name = f"{span}.image{len(draft.images)}"
            draft.images[key] = draft.lineage.add(name, block, f"image sent by `{owner}`")
        found[draft.images[key]] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call or retrieval whose result is still to be added.

    Attributes:
        span: Its Span.
        scope: Where what runs inside it belongs.
        known: Where its arguments come from, and how that is known.
        settings: What it was set to.
    """

    span: Span
    scope: Scope
    known: dict[str, str]
    settings: Sequence[str] = ()


def open_tool(draft: Draft, run: Run, parent: str | None, scope: Scope) -> ToolCall:
    """Add a tool call or a retrieval, up to its arguments."""
    given: Any = run.inputs
    if not isinstance(given, Mapping):
        given = {"query" if run.kind == "retriever" else "input": given}
    arguments = draft.convert.json(given, f"arguments of `{run.name}`")
    attributes: dict[str, JSON] = {"arguments": arguments, **_replayed(run)}
    call = run.extra.get("tool_call_id")
    if run.kind == "tool":
        attributes |= {"description": run.extra.get("description"), "tool_call_id": call}
    kind = SpanKind.TOOL if run.kind == "tool" else SpanKind.RETRIEVER
    span = draft.open(run, kind, run.name or run.kind, parent, attributes=attributes)
    visible = scope.visible()
    # The innermost that carries the call: the channel it was written to, where there is one, not the reply before it.
    caller = [name for name in visible if call is not None and call in draft.lineage.facts(name).calls][-1:]
    if caller:
        known = dict.fromkeys(caller, "tool-call-id")
    else:
        known = draft.lineage.known(visible, Facts(arguments, draft.lineage.texts), both=True)
    scope.mark(known)
    inner = Scope({"arguments": list(known) or (scope.products[:] or visible)}, parent=scope)
    settings = add_settings(draft, run, span.id, "retriever") if run.kind == "retriever" else ()
    return ToolCall(span, inner, known, settings)


def close_tool(draft: Draft, run: Run, call: ToolCall) -> str | None:
    """Add a tool's or retriever's result; returns the id of its Variable, or None where it gave none."""
    if run.end is None or run.error is not None:
        return None
    span = call.span
    value = draft.convert.json(run.outputs, f"result of `{span.name}`")
    out = draft.lineage.add(f"{span.id}.out", value, f"result of the {span.kind} `{span.name}`", span=span.id)
    for source in call.scope.reads["arguments"]:
        if source in call.known:
            draft.lineage.link(source, out, span.id, call.known[source])
        else:
            draft.lineage.link(source, out, span.id, "channel", CANDIDATE)
    link_settings(draft, call.settings, out, span.id)
    link_held(draft, out, span.id, call.scope)
    made = draft.lineage.known(call.scope.products, draft.lineage.facts(out), both=True)
    for source in call.scope.products:
        if source in made:
            draft.lineage.link(source, out, span.id, made[source])
        elif not made:
            draft.lineage.link(source, out, span.id, "channel", CANDIDATE)
    return out


def _sent(message: dict[str, JSON], *, own: bool) -> dict[str, JSON]:
    """A message as it was sent. One that is to be given a Site, or has no id, is a copy, which says so.

    The others are the same in every call that sends them: a conversation is sent again each turn.
    """
    return {**message, "id": message.get("id")} if own or "id" not in message else message


def _once(draft: Draft, message: dict[str, JSON]) -> dict[str, JSON]:
    """A prompt that is the same in every turn of a loop is one object."""
    told = tuple(message.values())
    return draft.once(message, (*message, *told)) if "site" in message and all(map(_is_plain, told)) else message


def _is_plain(value: JSON) -> bool:
    return value is None or isinstance(value, str)


def _replayed(run: Run) -> dict[str, JSON]:
    if not run.metadata.get(REPLAYED):
        return {}
    return {"replayed": True, "seconds": cast("JSON", run.metadata.get(SECONDS))}


def _usage(run: Run, reply: Any) -> dict[str, JSON]:
    usage: Any = getattr(reply, "usage_metadata", None)
    if isinstance(usage, Mapping):
        found = cast("Mapping[str, Any]", usage)
        return {key: found[key] for key in ("input_tokens", "output_tokens") if isinstance(found.get(key), int)}
    output = cast("Mapping[str, Any]", getattr(run.outputs, "llm_output", None) or {})
    told = cast("Mapping[str, Any]", output.get("token_usage") or {})
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    return {ours: told[theirs] for ours, theirs in names.items() if isinstance(told.get(theirs), int)}
