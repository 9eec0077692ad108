"""From the spans of one trace to the recorder's own Run tree, so that a Trace read means the same as one recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from langgraph.errors import GraphBubbleUp, GraphInterrupt

from textgrad_lg.record.notes import Reply
from textgrad_lg.record.runs import Lane, Run
from textgrad_lg_tracing.readers.dialects.told import ABSENT, Absent, Coded, Told, parsed
from textgrad_lg_tracing.readers.messages import Messages
from textgrad_lg_tracing.readers.restore import restore
from textgrad_lg_tracing.readers.revive import revive
from textgrad_lg_tracing.readers.routers import mark_routers

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.dialects.told import Dialect
    from textgrad_lg_tracing.readers.span import SourceSpan

DEPTH = 100
"""How deep runs may nest; those below are taken for parts of the one at that depth."""
NAMESPACE, NODE, STEP, PATH = "langgraph_checkpoint_ns", "langgraph_node", "langgraph_step", "langgraph_path"
_SECOND = 1e9
_TYPES: Mapping[str, type] = {
    NAMESPACE: str,
    NODE: str,
    STEP: int,
    PATH: list,
    "langgraph_triggers": list,
    "checkpoint_ns": str,
}
_ERROR = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w{0,99})(?:\((.*?)\)(?=$|Traceback|\n)|: ?(.*)|$)", re.DOTALL)
_KINDS = 256
"""Exceptions' names that are kept in mind: making a class takes as long as all else of a span."""
_CONTROL = ("GraphBubbleUp", "NodeInterrupt", "ParentCommand")


@dataclass(slots=True)
class Node:
    """A span that stands for a run.

    Attributes:
        span: The span.
        told: What it says.
        run: The run in the making.
        parent: The one around it; None for the outermost.
        children: By start, and then by id.
        is_task: Whether it is a node of a graph, or a `@task`.
        is_graph: Whether it is a run of a graph of which a task is there.
    """

    span: SourceSpan
    told: Told
    run: Run
    parent: Node | None = None
    children: list[Node] = field(default_factory=list["Node"])
    is_task: bool = False
    is_graph: bool = False


@dataclass
class Tree:
    """The runs of a trace.

    Attributes:
        root: The outermost; made up where the trace has several.
        nodes: The spans that stand for runs, parents before children.
        messages: The messages met.
        orphans: How many spans name a parent that is not there.
        rebuilt: What was said of a task by what came after it, in words.
    """

    root: Run
    nodes: list[Node]
    messages: Messages
    orphans: int = 0
    rebuilt: list[str] = field(default_factory=list[str])

    def clear(self) -> None:
        """Let go of the runs. Nodes hold each other both ways, and would wait for the garbage collector."""
        for node in self.nodes:
            node.children.clear()
        self.nodes.clear()


def tree_of(spans: Sequence[SourceSpan], dialect: Dialect) -> Tree | None:
    """The runs of a trace by one producer; None where no span of it stands for a run.

    Args:
        spans: The trace's spans, in any order, without cycles.
        dialect: Who wrote them; the spans of others are passed over.
    """
    spans = sorted(spans, key=lambda span: (span.start, span.span_id))
    nodes: dict[str, Node] = {}
    for span in spans:
        if dialect.speaks(span):
            told = dialect.read(span)
            if told.kind not in ("", "eval"):
                nodes[span.span_id] = Node(span, told, _run(span, told))
    if not nodes:
        return None
    orphans = _nest(spans, nodes)
    tops = [node for node in nodes.values() if node.parent is None]
    root = tops[0].run if len(tops) == 1 else _over(tops)
    ordered = _linked(nodes, root)
    _mark_tasks(ordered)
    tree = Tree(root, ordered, Messages(), orphans)
    _fill(tree)
    return tree


def _run(span: SourceSpan, told: Told) -> Run:
    # LangGraph's own words are read as what they are; what a stranger wrote there instead is as good as nothing.
    metadata = told.metadata
    if any(key in metadata and not isinstance(metadata[key], kind) for key, kind in _TYPES.items()):
        metadata = {key: value for key, value in metadata.items() if isinstance(value, _TYPES.get(key, object))}
    if told.kind == "llm":
        params = told.params
        named = {"ls_model_name": params.get("model"), "ls_provider": params.get("provider")}
        metadata = {**{key: value for key, value in named.items() if value}, **metadata}
    error = _error(span.error) if span.error is not None else None
    start, end = span.start / _SECOND, span.end / _SECOND
    name, extra = told.name, dict(told.extra)
    return Run(
        span.span_id, told.kind, name, None, metadata, told.tags, None, 0, extra, start, Lane(), end=end, error=error
    )


def _nest(spans: Sequence[SourceSpan], nodes: Mapping[str, Node]) -> int:
    """Find the run around each run; returns how many spans' parents are missing.

    A call belongs to the task that has its namespace, whatever span it was put under.
    """
    parents = {span.span_id: span.parent_id for span in spans}
    orphans = sum(parent is not None and parent not in parents for parent in parents.values())
    tasks: dict[str, Node] = {}
    for node in nodes.values():
        at = parents[node.span.span_id]
        while at is not None and at not in nodes:
            at = parents.get(at)
        node.parent = nodes[at] if at is not None else None
        if node.run.kind == "chain" and node.run.name == node.run.metadata.get(NODE):
            tasks.setdefault(node.run.namespace, node)
    for node in nodes.values():
        if node.parent is not None and not _outside(node):
            continue
        space = node.run.namespace
        # A task without its graph's span is a part of the task around that graph.
        at_home = tasks.get(space)
        home = at_home if at_home is not node else tasks.get(space.rpartition("|")[0])
        if home is not None and home is not node and not _inside(home, node):
            node.parent = home
    return orphans


def _outside(node: Node) -> bool:
    """Whether a run was put under one that does not belong to its task or to one around it."""
    assert node.parent is not None
    own, around = node.run.namespace, node.parent.run.namespace
    return bool(own) and node.run.name != node.run.metadata.get(NODE) and own != around


def _inside(node: Node, other: Node) -> bool:
    at: Node | None = node
    while at is not None:
        if at is other:
            return True
        at = at.parent
    return False


def _over(tops: Sequence[Node]) -> Run:
    """A run around several that have none."""
    start, end = min(top.run.start for top in tops), max(top.run.end or top.run.start for top in tops)
    return Run("", "chain", "trace", None, {}, (), None, 0, {}, start, Lane(), end=end)


def _linked(nodes: Mapping[str, Node], root: Run) -> list[Node]:
    """Put runs inside those around them; returns all of them, parents before children."""
    inside: dict[int, list[Node]] = {}
    for node in nodes.values():
        inside.setdefault(id(node.parent), []).append(node)
    ordered: list[Node] = []
    todo = [(node, 1) for node in reversed(inside[id(None)])]
    while todo:
        node, depth = todo.pop()
        ordered.append(node)
        around = root if node.parent is None else node.parent.run
        if node.run is not root:
            node.run.enclosing, node.run.lane = ref(around), around.main
            around.main.count += 1
            around.children.append(node.run)
        if node.parent is not None:
            node.parent.children.append(node)
        below = inside.get(id(node), [])
        if depth >= DEPTH:
            for child in below:
                child.parent = node.parent
        todo += [(child, min(depth + 1, DEPTH)) for child in reversed(below)]
    return ordered


def error_of(text: str) -> str | None:
    """What a run ended with, as a Span has it; None where that is LangGraph's control flow and no error."""
    error = _error(text)
    if isinstance(error, GraphBubbleUp):
        return None
    kind, said = type(error).__name__, str(error)
    return f"{kind}: {said}" if said else kind


def _mark_tasks(ordered: Sequence[Node]) -> None:
    for node in ordered:
        around = node.parent
        if node.run.kind == "chain" and node.run.namespace not in ("", around.run.namespace if around else ""):
            node.is_task = True
            if around is not None and around.run.kind == "chain":
                around.is_graph = True


def _error(text: str) -> BaseException:
    """An exception that reads like the one that was raised; LangGraph's control flow is told apart by its name."""
    found = _ERROR.match(text.strip())
    name = found[1] if found else ""
    if name in {"GraphInterrupt", "Interrupt"}:
        return GraphInterrupt()
    if name in _CONTROL:
        return GraphBubbleUp()
    if found is None or not name.endswith(("Error", "Exception", "Timeout", "Interrupt", "Warning")):
        return _named("Error", text)
    told = found[2] if found[2] is not None else found[3] or ""
    return _named(name, told.strip().strip("'\""))


def _named(name: str, text: str) -> BaseException:
    kind = _kind(name)
    return kind(text) if text else kind()


@lru_cache(_KINDS)
def _kind(name: str) -> type[Exception]:
    return type(name, (Exception,), {})


# What was given and made


def _fill(tree: Tree) -> None:
    """Give each run what it was given and what it made. Model calls come last: the state says which messages have ids."""
    calls: list[Node] = []
    for node in tree.nodes:
        if node.run.kind == "llm":
            calls.append(node)
        else:
            _fill_run(node, tree.messages)
    for node in tree.nodes:
        if node.is_graph:
            tree.rebuilt += restore(node)
            mark_routers(node)
    for node in calls:
        _fill_call(node, tree.messages)
    for node in tree.nodes:
        if node.run.kind in {"tool", "retriever"}:
            _fill_tool(node, tree.messages)


def _fill_run(node: Node, messages: Messages) -> None:
    run, told = node.run, node.told
    part = run.kind == "chain" and not node.is_task and not node.is_graph
    around = node.parent
    if part and around is not None and around.run.kind == "chain" and not around.is_task:
        # Of LangChain's own sequences nothing is asked, save of what stands right below a task: that may be a router.
        return
    run.inputs = _value(told, told.inputs, messages)
    if run.kind == "prompt":
        # Nor is what a template was filled to: it is in the call.
        return
    run.outputs = _value(told, told.outputs, messages)
    if part:
        _unwrap(run, told.wrapped)


def _value(told: Told, value: JSON | Absent | Coded, messages: Messages) -> Any:
    if isinstance(value, Coded):
        value = parsed(value)
    if isinstance(value, Absent):
        return None
    if not told.has_ids and isinstance(value, dict) and isinstance(value.get("messages"), list):
        made = (messages.received(item) for item in cast("list[JSON]", value["messages"]))
        return {"messages": [message for message in made if message is not None]}
    return revive(value, messages)


def _fill_call(node: Node, messages: Messages) -> None:
    told, run = node.told, node.run
    sent = told.messages if isinstance(told.messages, list) else []
    made = (messages.sent(item, has_ids=told.has_ids) for item in sent)
    run.inputs = [message for message in made if message is not None]
    reply = None if told.reply is ABSENT else messages.sent(cast("JSON", told.reply), has_ids=told.has_ids)
    if reply is not None and told.usage:
        reply = reply.model_copy(update={"usage_metadata": dict(told.usage)})
    run.outputs = Reply(reply, {"token_usage": {}})
    run.extra = {"invocation_params": told.params}


def _fill_tool(node: Node, messages: Messages) -> None:
    run = node.run
    _unwrap(run, node.told.wrapped)
    call = run.extra.get("tool_call_id") or getattr(run.outputs, "tool_call_id", None)
    given: Any = run.inputs
    run.extra = {**run.extra, "tool_call_id": str(call) if isinstance(call, str | int) and call else None}
    # A single argument is written as the value alone; the call that asked for it says what it is called.
    if run.extra["tool_call_id"] and not isinstance(given, dict):
        given = messages.calls.get(str(call), given)
    run.inputs = parsed(given) if isinstance(given, str) else given


def _unwrap(run: Run, wrapper: str) -> None:
    made: Any = run.outputs
    if wrapper and isinstance(made, dict) and list(cast("dict[str, Any]", made)) == [wrapper]:
        run.outputs = made[wrapper]
