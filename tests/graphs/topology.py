"""The graphs of `topologies/` as cases: what each is run on, and every way of running it."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.warnings import LangGraphDeprecatedSinceV10

from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.models import Request
from textgrad_lg.trace import Trace

NEW = "{old} Sing it."
"""What is laid over a case's prompt; its last words stand in no other text."""


@dataclass(frozen=True)
class Case:
    """One topology.

    Attributes:
        module: Its module in `topologies/`.
        site: Where the module's `PROMPT` enters, printed.
        then: What it is run on after `INPUTS`, on the same thread: names in the module.
        saver: The checkpointer it is built with: "memory", "sqlite", or none.
        cached: Whether it keeps results of its nodes.
    """

    module: str
    site: str
    then: tuple[str, ...] = ()
    saver: str = ""
    cached: bool = False

    @property
    def keeps(self) -> bool:
        """Whether one run of its graph can change the next."""
        return self.cached or bool(self.saver)

    @property
    def source(self) -> Any:
        return importlib.import_module(f"tests.graphs.topologies.{self.module}")

    @property
    def inputs(self) -> list[Any]:
        return [self.source.INPUTS, *(getattr(self.source, name) for name in self.then)]


CASES = {
    "linear": Case("linear", "classify/system"),
    "conditional": Case("conditional", "triage/system"),
    "loop": Case("loop", "write/system"),
    "fan-out": Case("fan_out", "law/system"),
    "send": Case("map_reduce", "work/system"),
    "subgraph": Case("subgraph", "house/desk/plan/system"),
    "subgraph-twice": Case("subgraph_twice", "outer/shorten/system"),
    "command": Case("command_goto", "triage/system"),
    "command-parent": Case("command_parent", "front/decide/system"),
    "command-parent-deep": Case("command_parent_deep", "rules/find/decide/system"),
    "command-named": Case("command_named", "front/find/decide/system"),
    "command-list": Case("command_list", "plan/system"),
    "command-send": Case("command_send", "plan/system"),
    "retry": Case("retry", "draft/system"),
    "error-handler": Case("error_handler", "plan/system"),
    "interrupt": Case("interrupted", "write/system", ("RESUME",), "memory"),
    "checkpoint-memory": Case("checkpointed", "talk/system", ("AGAIN",), "memory"),
    "checkpoint-sqlite": Case("checkpointed", "talk/system", ("AGAIN",), "sqlite"),
    "cache": Case("cached", "collect/system", ("AGAIN",), cached=True),
    "deferred": Case("deferred", "outline/system"),
    "unchanged": Case("unchanged", "check/judge/system"),
    "overwrite": Case("overwritten", "first/system"),
    "functional": Case("functional", "essay/outline/system", ("AGAIN",), "memory"),
    "functional-nested": Case("functional_nested", "report/research/find/system"),
    "agent": Case("agent", "model[coast]/system"),
    "supervisor": Case("supervisor", "supervisor/agent/system"),
    "swarm": Case("swarm", "front/model[front]/system", ("AGAIN",), "memory"),
    "deep-agent": Case("deep_agent", "tools/model[taster]/system"),
}

WAYS = (
    "invoke",
    "stream updates",
    "stream messages",
    "stream tasks",
    "stream subgraphs",
    "ainvoke",
    "astream updates",
    "astream messages",
    "astream tasks",
    "astream_events",
)


@dataclass
class Played:
    """What came of playing a case.

    Attributes:
        traces: The Trace of each run.
        requests: What the model was sent, in the order of arrival.
        results: What each run gave.
    """

    traces: list[Trace] = field(default_factory=list[Trace])
    requests: list[Request] = field(default_factory=list[Request])
    results: list[Any] = field(default_factory=list[Any])


def play(
    case: Case, way: str = "invoke", *, laid: bool = False, around: Callable[[], Any] | None = None, traced: bool = True
) -> Played:
    """Run a case in one of `WAYS`.

    Args:
        case: The case.
        way: How the graph is called.
        laid: Whether `NEW` is laid over its prompt.
        around: Makes a context manager that is entered for each run.
        traced: Whether the runs are recorded.
    """
    played = Played()
    if way.startswith("a"):
        asyncio.run(_aplay(case, way, played, partial(_open, case, played, laid, around, traced)))
        return played
    with ExitStack() as stack:
        saver: Any = InMemorySaver() if case.saver else None
        if case.saver == "sqlite":
            saver = stack.enter_context(SqliteSaver.from_conn_string(":memory:"))
        graph, model = built(case, saver) if case.keeps else once(case)
        start = len(model.requests)
        for value in case.inputs:
            with _open(case, played, laid, around, traced):
                played.results.append(_run(graph, value, way))
        played.requests += model.requests[start:]
    return played


async def _aplay(case: Case, way: str, played: Played, opened: Callable[[], ExitStack]) -> None:
    async with AsyncExitStack() as stack:
        saver: Any = InMemorySaver() if case.saver else None
        if case.saver == "sqlite":
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(":memory:"))
        graph, model = built(case, saver) if case.keeps else once(case)
        start = len(model.requests)
        for value in case.inputs:
            with opened():
                played.results.append(await _arun(graph, value, way))
        played.requests += model.requests[start:]


def built(case: Case, saver: Any = None) -> tuple[Any, ScriptedChatModel]:
    """The graph of a case, and the model in it."""
    model = ScriptedChatModel(replies=case.source.reply)
    with warnings.catch_warnings():
        # langgraph-supervisor is built on what langgraph calls deprecated.
        warnings.simplefilter("ignore", LangGraphDeprecatedSinceV10)
        return case.source.build(model, **({"checkpointer": saver} if case.saver else {})), model


@cache
def once(case: Case) -> tuple[Any, ScriptedChatModel]:
    """The same, built when it is first asked for: some take long to build, and what keeps nothing can be run again."""
    return built(case)


def _open(case: Case, played: Played, laid: bool, around: Callable[[], Any] | None, traced: bool) -> ExitStack:
    stack = ExitStack()
    if laid:
        old = case.source.PROMPT
        change = Replacement(Template(old), Template(NEW.format(old=old)))
        stack.enter_context(overlay({Site.parse(case.site): change}))
    if around is not None:
        stack.enter_context(around())
    if traced:
        open_recording = stack.enter_context(record())
        stack.callback(lambda: played.traces.append(open_recording.trace))
    return stack


# A limit of its own, because the default of `astream_events` is another than that of `invoke`, and state may tell it.
CONFIG: Any = {"configurable": {"thread_id": "thread"}, "recursion_limit": 50}


def _run(graph: Any, value: Any, way: str) -> Any:
    if way == "invoke":
        return graph.invoke(value, CONFIG)
    mode = way.split()[1]
    if mode == "subgraphs":
        return list(graph.stream(value, CONFIG, stream_mode="updates", subgraphs=True))
    return list(graph.stream(value, CONFIG, stream_mode=mode))


async def _arun(graph: Any, value: Any, way: str) -> Any:
    if way == "ainvoke":
        return await graph.ainvoke(value, CONFIG)
    if way == "astream_events":
        return [event async for event in graph.astream_events(value, CONFIG, version="v2")]
    return [item async for item in graph.astream(value, CONFIG, stream_mode=way.split()[1])]


_DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:-0)?")


def normal_form(trace: Trace) -> str:
    """All of a Trace but its clock; ids that are drawn for each run are numbered as they are met."""
    told = json.loads(trace.to_json())
    del told["id"], told["started"]
    for span in told["spans"]:
        del span["start"], span["end"], span["attributes"]["run_id"]
    drawn: dict[str, str] = {}
    text = json.dumps(told, indent=1, ensure_ascii=False)
    return _DRAWN.sub(lambda at: drawn.setdefault(at[0], f"drawn {len(drawn)}"), text)
