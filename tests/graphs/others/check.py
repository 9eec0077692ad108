"""What is checked of each foreign graph.

What reached a model is read off the test double, and what is a text of the author's is decided here: a system or human
message that is more than a value of the input, of a reply or of a tool's result. Neither asks the library.
"""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from langchain_core.messages import BaseMessage

from tests.graphs.others.case import Built, Other
from tests.graphs.others.held import patches, texts_held
from textgrad_lg.errors import NoPromptFound
from textgrad_lg.overlay import Replacement, Texts, bind, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import Discovery, discover, record
from textgrad_lg.site import TOOLS, Site
from textgrad_lg.testing.models import Request
from textgrad_lg.trace import CONFIRMED, Trace
from textgrad_lg.types import SpanKind

_DRAWN = re.compile(r"call_\d+_\d+|[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.+]+")
"""Ids and times that are drawn anew in each run."""
_MARK = re.compile(r"<<(\d+)>> ")


@dataclass(frozen=True)
class Run:
    """One way of running a graph, on all inputs of its case.

    Attributes:
        requests: What the model received.
        replies: What it said.
        traces: What was recorded.
        edited: Paths of texts of the graph that were another object, or said something else, afterwards.
    """

    requests: tuple[Request, ...]
    replies: tuple[str, ...]
    traces: tuple[Trace, ...]
    edited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """What a way of running sent, with every discovered text replaced by one that can be told.

    Attributes:
        texts: Site to how many pieces of text in messages came in its new words, each exactly once.
        descriptions: Descriptions of tools that did, each once.
        wrong: What was different beside, in words; None if nothing was.
    """

    texts: Mapping[str, int]
    descriptions: int
    wrong: str | None


@dataclass(frozen=True)
class Finding:
    """What was found out of one graph.

    Attributes:
        parameters: The Parameters and their texts.
        calls: Model calls of the recorded runs.
        sent: How many pieces of text of the author's reached a model, call by call.
        discovered: Site to how many of them are its text.
        missed: The others, each once.
        recorded: Whether the Traces hold exactly what the model received, and read back from JSON as they were.
        ways: What each way of running sent.
        offered: How many descriptions of tools and their arguments reached a model, each counted once.
        undescribed: The tools of those that are no Parameter.
        replies: Model replies, and those with a confirmed edge from each of their prompts.
        tools: Results of tools, and those with a confirmed edge from what they were called by.
        led: Sites of Parameters from which an output of the graph can be reached.
        confirmed: Those of them with a way of confirmed edges alone.
        edited: Texts of the graph's objects that any of the runs changed.
    """

    parameters: Mapping[Site, Template]
    calls: int
    sent: int
    discovered: Mapping[str, int]
    missed: tuple[str, ...]
    recorded: bool
    ways: Mapping[str, Way]
    offered: int
    undescribed: frozenset[str]
    replies: tuple[int, int]
    tools: tuple[int, int]
    led: frozenset[str]
    confirmed: frozenset[str]
    edited: tuple[str, ...]

    @property
    def replaced(self) -> int:
        """Pieces of text that came in their new words whichever way the graph was run."""
        return sum(
            min(way.texts.get(site, 0) if way.wrong is None else 0 for way in self.ways.values())
            for site in self.discovered
        )

    @property
    def redescribed(self) -> int:
        """Descriptions that came in their new words whichever way the graph was run."""
        return min(way.descriptions for way in self.ways.values())


def examine(case: Other) -> Finding:
    """Run a graph in all its ways, with its own texts and with others, and compare."""
    built = construct(case)
    first = run(case, built, case.ways[0])
    discovery = _discovered(first.traces, built.graph)
    labelled = [discovery.label(trace) for trace in first.traces]
    parameters = discovery.parameters
    texts = {
        site: Replacement(old, replace(old, text=f"<<{at}>> {old.text}"))
        for at, (site, old) in enumerate(parameters.items())
    }
    own = _own(case, built, first)
    found = _found(labelled)
    ways: dict[str, Way] = {}
    edited = set(first.edited)
    for way in (*case.ways, *(f"bound {way}" for way in (case.ways[0], case.ways[-1]))):
        laid = run(case, construct(case) if case.keeps else built, way, texts)
        edited |= {*laid.edited}
        ways[way] = compare(first.requests, laid.requests, [str(site) for site in texts])
    offered = {at for request in first.requests for at in descriptions(request)}
    known = {(site.path[0].removeprefix(TOOLS), text.text) for site, text in parameters.items() if not site.in_message}
    return Finding(
        parameters=parameters,
        calls=len(first.requests),
        sent=len(own),
        discovered=Counter(site for text, site in found if text in own),
        missed=tuple(dict.fromkeys(_DRAWN.sub("...", piece) for piece in _without(own, [text for text, _ in found]))),
        recorded=_recorded(first),
        ways=ways,
        offered=len(offered),
        undescribed=frozenset(name for name, _, text in offered if (name, text) not in known),
        replies=_linked(labelled),
        tools=_called(labelled),
        led=_led(labelled, 0.0),
        confirmed=_led(labelled, CONFIRMED),
        edited=tuple(sorted(edited)),
    )


# Running


def run(case: Other, built: Built, way: str, texts: Texts | None = None) -> Run:
    """Run a graph on all inputs of its case.

    Args:
        case: The case.
        built: Its graph.
        way: "invoke", "astream" and so on; "bound invoke" for the same on a bound copy.
        texts: The texts to lay over it.
    """
    start, said = len(built.model.requests), len(built.model.said)
    before, wrapped = texts_held(built.graph, built.model), patches()
    bound = way.startswith("bound ")
    target = replace(built, graph=bind(built.graph, lambda: texts or {})) if bound else built
    traces: list[Trace] = []
    for at, given in enumerate(case.inputs):
        with record(example=str(at)) as recording, overlay({} if bound or texts is None else texts):
            drive(target, way.removeprefix("bound "), given)
        traces += recording.traces
    after = texts_held(built.graph, built.model)
    edited = [path for path in before if path in after and before[path] != after[path]]
    edited += [f"BaseChatModel.{name}" for name, method in patches().items() if method is not wrapped[name]]
    return Run(tuple(built.model.requests[start:]), tuple(built.model.said[said:]), tuple(traces), tuple(edited))


def construct(case: Other) -> Built:
    """Build a graph. What its package says of its own imports, in warnings, is for its authors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case.build()


def drive(built: Built, way: str, given: Any) -> None:
    """Run a graph once, to its end."""
    options: dict[str, Any] = {"config": built.config()}
    if built.context is not None:
        options["context"] = built.context
    streamed = {"stream_mode": ["messages", "updates"], "subgraphs": True}
    for item in (given, *([built.follow] if built.follow is not None else [])):
        if way == "invoke":
            built.graph.invoke(item, **options)
        elif way == "stream":
            list(built.graph.stream(item, **streamed, **options))
        elif way == "ainvoke":
            asyncio.run(built.graph.ainvoke(item, **options))
        else:
            asyncio.run(_drain(built.graph.astream(item, **streamed, **options)))


async def _drain(items: Any) -> None:
    async for _ in items:
        pass


# What was sent


def compare(plain: Sequence[Request], laid: Sequence[Request], sites: Sequence[str]) -> Way:
    """What came in new words, and whether all else is as it was; the order of calls made side by side may differ.

    Args:
        plain: What was sent without an overlay.
        laid: What was sent with one, whose new texts begin with the number of their Site.
        sites: The Sites, in this order.
    """
    pieces = [piece for request in laid for message in request.messages for piece in blocks(message)]
    marks = [_MARK.findall(piece) for piece in pieces]
    told = {at for request in laid for at in descriptions(request) if len(_MARK.findall(at[-1])) == 1}
    wrong = next(
        (f"replaced twice: {piece}" for piece, found in zip(pieces, marks, strict=True) if len(found) > 1), None
    )
    before, after = Counter(map(_printed, plain)), Counter(map(_printed, laid))
    if before != after:
        lost, new = next(iter(before - after), "nothing"), next(iter(after - before), "nothing")
        wrong = wrong or f"sent {new} instead of {lost}"
    return Way(Counter(sites[int(mark)] for found in marks for mark in found), len(told), wrong)


def blocks(message: BaseMessage) -> Iterator[str]:
    """The pieces of text of a message."""
    for block in [message.content] if isinstance(message.content, str) else message.content:
        text = block if isinstance(block, str) else block.get("text")
        if isinstance(text, str) and any(char.isalnum() for char in text):
            yield text


def descriptions(request: Request) -> Iterator[tuple[str, str, str]]:
    """The descriptions of the tools that a request offers, and of their arguments: tool, place in its schema, text."""
    for tool in request.options.get("tools", ()):
        yield from ((tool["function"]["name"], place, text) for place, text in _described(tool["function"], ""))


def _described(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        text = schema.get("description")
        if isinstance(text, str) and text.strip():
            yield place, text
        for key, part in schema.items():
            yield from _described(part, f"{place}/{key}")
    elif isinstance(schema, list):
        for at, part in enumerate(schema):
            yield from _described(part, f"{place}/{at}")


def _printed(request: Request) -> str:
    """A request without marks, and without what is drawn anew in each run."""
    lines = [f"{message.type}: {' | '.join(blocks(message))}" for message in request.messages]
    lines.append(json.dumps(request.options.get("tools", []), sort_keys=True, default=str))
    return _DRAWN.sub("...", _MARK.sub("", "\n".join(lines)))


def _own(case: Other, built: Built, first: Run) -> list[str]:
    """The pieces of text of the author's that reached a model: more than a value of input, reply or tool result."""
    values = {*_values(case.inputs), *_values(built.follow or {}), *_values(first.replies)}
    for request in first.requests:
        for message in request.messages:
            if message.type not in ("system", "human"):
                values |= {*blocks(message), *_values(getattr(message, "tool_calls", ()))}
    plain = {value.strip() for value in values}
    return [
        piece
        for request in first.requests
        for message in request.messages
        if message.type in ("system", "human")
        for piece in blocks(message)
        if piece.strip() not in plain
    ]


def _found(labelled: Iterable[Trace]) -> list[tuple[str, str]]:
    """The pieces of text that were sent as a Parameter's, call by call, and its Site."""
    return [
        (text, str(at.site))
        for trace in labelled
        for at in trace.parameters
        if at.site is not None and at.site.in_message
        for text in _pieces(at.value)
    ]


def _without(pieces: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """The pieces, as often as there are more of them than of the others."""
    return (Counter(pieces) - Counter(others)).elements()


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        try:
            yield from _values(json.loads(value)) if value[:1] in ("{", "[") else ()
        except ValueError:
            return
    elif isinstance(value, BaseMessage):
        yield from blocks(value)
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _values(item))
    elif isinstance(value, (list, tuple)):
        yield from (text for item in value for text in _values(item))


# What was recorded


def _discovered(traces: Sequence[Trace], graph: Any) -> Discovery:
    try:
        return discover(traces, graph)
    except NoPromptFound:
        # No text in a message: the descriptions are found when they are asked for by name.
        return discover(traces, graph, only=[f"{TOOLS}*"])


def _recorded(first: Run) -> bool:
    """Whether the Traces hold the messages that the model received, and survive JSON."""
    received = Counter(tuple(piece for message in at.messages for piece in blocks(message)) for at in first.requests)
    held = Counter(
        tuple(piece for message in _messages(span.attributes) for piece in _pieces(message["content"]))
        for trace in first.traces
        for span in trace.spans
        if span.kind is SpanKind.LLM
    )
    return received == held and all(Trace.from_json(trace.to_json()) == trace for trace in first.traces)


def _messages(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return attributes.get("messages") or []


def _pieces(content: Any) -> Iterator[str]:
    for block in content if isinstance(content, list) else [content]:
        text = block.get("text") if isinstance(block, dict) else block
        if isinstance(text, str) and any(char.isalnum() for char in text):
            yield text


def _linked(traces: Iterable[Trace]) -> tuple[int, int]:
    count = linked = 0
    for trace in traces:
        for span in trace.spans:
            if span.kind is SpanKind.LLM and f"{span.id}.out" in trace.variable_by_id:
                prompts = {at.id for at in trace.parameters if at.id.startswith(f"{span.id}.in")}
                edges = {e.source for e in trace.incoming.get(f"{span.id}.out", ()) if e.weight == CONFIRMED}
                count += 1
                linked += prompts <= edges
    return count, linked


def _called(traces: Iterable[Trace]) -> tuple[int, int]:
    count = linked = 0
    for trace in traces:
        for span in trace.spans:
            if span.kind is SpanKind.TOOL and f"{span.id}.out" in trace.variable_by_id:
                count += 1
                linked += any(edge.weight == CONFIRMED for edge in trace.incoming.get(f"{span.id}.out", ()))
    return count, linked


def _led(traces: Iterable[Trace], weight: float) -> frozenset[str]:
    """The Sites of Parameters from which an output can be reached along edges of at least this weight."""
    found: set[str] = set()
    for trace in traces:
        todo, seen = list(trace.outputs.values()), set[str]()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += [edge.source for edge in trace.incoming.get(name, ()) if edge.weight >= weight]
        found |= {str(at.site) for at in trace.parameters if at.id in seen}
    return frozenset(found)


@cache
def finding(name: str) -> Finding:
    """The Finding of the case of that name, worked out once for all that read it."""
    from tests.graphs.others.cases import CASES

    return examine(next(case for case in CASES if case.name == name))
