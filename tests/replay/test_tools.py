"""Tools in a replay: never run twice, refused where nothing is known, run where that is allowed."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, interrupt

from textgrad_lg.errors import ReplayError
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.replay import Memo, memorise, replay
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

SYSTEM = "You serve in a shop."
EAGER = "You serve in a shop. Ask for the price of pears."


class Shop:
    """A ReAct agent whose tool takes money each time it runs."""

    def __init__(self, fails=False):
        self.sold: list[str] = []
        self.model = ScriptedChatModel(replies=self._reply)

        @tool
        def sell(item: str, state: Annotated[Any, InjectedState], call: Annotated[str, InjectedToolCallId]) -> str:
            """Sell an item."""
            assert all((state["messages"], call))
            self.sold.append(item)
            if fails:
                raise ValueError(f"no {item}", 3)
            return f"{item} costs {len(self.sold)}"

        self.tool = sell
        self.agent: Any = create_agent(self.model, [sell], system_prompt=SYSTEM, name="clerk")

    def _reply(self, messages):
        number = len(self.model.requests)
        answers = [message for message in messages if isinstance(message, ToolMessage)]
        if len(answers) < 2:
            item = "pears" if messages[0].text == EAGER else "apples"
            call = {"name": "sell", "args": {"item": item}, "id": f"call_{number}", "type": "tool_call"}
            return AIMessage("", tool_calls=[call])
        return f"{number}: " + ", ".join(message.text for message in answers)

    def ask(self, way="invoke"):
        inputs: Any = {"messages": [HumanMessage("Hello", id="h")]}
        if way == "ainvoke":
            return asyncio.run(self.agent.ainvoke(inputs))["messages"]
        return self.agent.invoke(inputs)["messages"]


def eager():
    return {Site(("model",), "system", agent="clerk"): Replacement(Template(SYSTEM), Template(EAGER))}


def texts(messages):
    return [(message.type, message.text) for message in messages]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_tool_does_not_run_again_and_says_in_turn_what_it_said(way):
    shop = Shop()
    with memorise() as first, record() as recorded:
        before = shop.ask()
    assert shop.sold == ["apples", "apples"]
    with replay(first.memo) as second, record() as again:
        after = shop.ask(way)
    assert texts(after) == texts(before)
    assert [message.tool_call_id for message in after if isinstance(message, ToolMessage)] == [
        call["id"] for message in after if isinstance(message, AIMessage) for call in message.tool_calls
    ]
    assert (shop.sold, len(shop.model.requests), second.hits) == (["apples", "apples"], 3, 5)
    spans, old = ([span for span in each.trace.spans if span.kind == "tool"] for each in (again, recorded))
    assert [span.attributes.pop("replayed", False) for span in spans] == [True, True]
    assert [span.attributes["arguments"] for span in spans] == [span.attributes["arguments"] for span in old]
    assert len(again.trace.spans) == len(recorded.trace.spans)
    assert [(edge.source, edge.target, edge.via) for edge in again.trace.edges] == [
        (edge.source, edge.target, edge.via) for edge in recorded.trace.edges
    ]


def test_what_a_tool_returned_goes_to_the_call_that_asks_now():
    shop = Shop()
    with memorise() as first:
        shop.ask()
    tools_only = Memo(tuple(entry for entry in first.memo.entries if entry.name == "sell"))
    assert len(tools_only) == 2
    with replay(tools_only):
        after = shop.ask()
    asked = [call["id"] for message in after if isinstance(message, AIMessage) for call in message.tool_calls]
    answered = [message.tool_call_id for message in after if isinstance(message, ToolMessage)]
    assert asked == answered == ["call_4", "call_5"]
    assert shop.sold == ["apples", "apples"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_call_that_was_not_recorded_is_refused_and_says_what_to_do(way):
    shop = Shop()
    with memorise() as first:
        shop.ask()
    with record() as recording, pytest.raises(ReplayError) as refused, overlay(eager()), replay(first.memo) as run:
        shop.ask(way)
    assert str(refused.value) == (
        "in a replay no tool runs twice, and sell(item='pears') cannot be answered from memory: no recorded run called "
        "it so. If running it again does no harm, mark it pure (pure=['sell']); to let all tools run what is not "
        'remembered, use tools="record"; to let them run as always, tools="run"'
    )
    assert run.refused is refused.value
    assert shop.sold == ["apples", "apples"]
    (span,) = [span for span in recording.trace.spans if span.kind == "tool"]
    assert "pears" in str(span.error)
    assert "replayed" not in span.attributes


@pytest.mark.parametrize("options", [{"pure": ["sell"]}, {"tools": "record"}])
def test_a_pure_tool_runs_what_is_not_recorded(options):
    shop = Shop()
    with memorise() as first:
        shop.ask()
    with overlay(eager()), replay(first.memo, **options) as second:
        shop.ask()
    assert shop.sold == ["apples", "apples", "pears", "pears"]
    with overlay(eager()), replay(second.memo):
        shop.ask()
    with replay(second.memo):
        shop.ask()
    assert len(shop.sold) == 4


def test_tools_that_are_let_run_are_not_remembered():
    shop = Shop()
    with memorise() as first:
        shop.ask()
    with replay(first.memo, tools="run") as second:
        shop.ask()
    assert len(shop.sold) == 4
    # "apples costs 3" was never sent to the model.
    assert (second.hits, len(second.new)) == (1, 2)
    assert {entry.name for entry in second.new} == {"model"}


def test_a_refusal_that_the_graph_swallows_is_raised_at_the_end():
    @tool
    def look(key: str) -> str:
        """Look."""
        return key

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([look], handle_tool_errors=True))
    graph.add_edge(START, "tools")
    made: Any = graph.compile()

    def call(key):
        calls = [{"name": "look", "args": {"key": key}, "id": "c", "type": "tool_call"}]
        return made.invoke({"messages": [AIMessage("", tool_calls=calls)]})["messages"][-1]

    with memorise() as first:
        assert call("a").text == "a"
    answers = []
    with pytest.raises(ReplayError, match=r"look\(key='b'\)"), replay(first.memo):
        answers.append(call("b"))
    assert "cannot be answered from memory" in answers[0].text


def test_an_exception_of_the_block_is_not_hidden_by_a_refusal():
    @tool
    def look(key: str) -> str:
        """Look."""
        return key

    def own_way():
        with pytest.raises(ReplayError):
            look.invoke({"key": "a"})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replay(Memo()):
        own_way()


@pytest.mark.parametrize(
    "error", [ValueError("no", 3), KeyError("k"), ToolException("bad"), ZeroDivisionError(), TimeoutError("late")]
)
def test_a_tool_that_raised_raises_again(error):
    runs = []

    @tool
    def look(key: str) -> str:
        """Look."""
        runs.append(key)
        raise error

    with memorise() as run, pytest.raises(type(error)):
        look.invoke({"key": "a"})
    with replay(Memo.from_json(run.memo.to_json())), pytest.raises(type(error)) as again:
        look.invoke({"key": "a"})
    assert (again.value.args, runs) == (error.args, ["a"])


class OwnError(Exception):
    pass


class Marked(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (OwnError("no"), "it raised OwnError, and only Python's own exceptions are remembered"),
        (ValueError(object()), "a value of type object in it has no JSON form"),
        (object(), "a value of type object in it has no JSON form"),
        ({1: "a"}, "a dict in it has keys that are no text"),
        (float("nan"), "it has no JSON form"),
        (Marked("text"), "a Marked in it does not survive"),
    ],
    ids=["own error", "error with an object", "object", "keys", "nan", "marked text"],
)
def test_what_has_no_json_form_is_not_remembered_and_this_is_said(result, why):
    runs = []

    def look() -> Any:
        """Look."""
        runs.append(1)
        if isinstance(result, Exception):
            raise result
        return result

    made = StructuredTool.from_function(look)

    def call():
        try:
            return made.invoke({})
        except (OwnError, ValueError) as error:
            return error

    with memorise() as run:
        call()
    assert why in run.notes[0]
    with pytest.raises(ReplayError, match="could not be remembered"), replay(run.memo):
        made.invoke({})
    with replay(run.memo, pure=["look"]):
        call()
    assert len(runs) == 2


@pytest.mark.parametrize(
    "result",
    [
        "text",
        3,
        None,
        True,
        [1, {"a": [None]}],
        {"dict": {"message": 1}},
        (1, ("a", 2)),
        [Document("page", metadata={"at": 1}, id="d")],
        ToolMessage("found", tool_call_id="c", artifact={"rows": [1]}, status="error"),
        AIMessage("said", tool_calls=[{"name": "a", "args": {}, "id": "c"}]),
        Command(goto="next", graph=Command.PARENT, update={"messages": [ToolMessage("ok", tool_call_id="c")]}),
        Command(update=[("a", 1)], resume={"x": 1}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_a_tool_returned_is_returned_again(result):
    def look() -> Any:
        """Look."""
        return result

    made = StructuredTool.from_function(look)
    with memorise() as run:
        made.invoke({})
    with replay(Memo.from_json(run.memo.to_json())):
        again = made.invoke({})
    assert again == result
    assert type(again) is type(result)


def test_a_tool_with_a_model_inside_is_not_answered_for():
    model = ScriptedChatModel(replies=lambda messages: f"{len(messages)} read")
    runs = []

    @tool
    def inner(text: str) -> str:
        """Inner."""
        return text

    @tool
    def ask(text: str) -> str:
        """Ask a model."""
        runs.append(text)
        return model.invoke(text).text

    @tool
    def pass_on(text: str) -> str:
        """Pass on."""
        return ask.invoke({"text": inner.invoke({"text": text})})

    with memorise() as run:
        pass_on.invoke({"text": "a"})
    assert {entry.name: entry.reason is None for entry in run.memo.entries} == {
        "model": True,
        "inner": True,
        "ask": False,
        "pass_on": False,
    }
    with pytest.raises(ReplayError, match="it called a model or another tool"), replay(run.memo):
        pass_on.invoke({"text": "a"})
    with replay(run.memo, pure=["ask", "pass_on"]):
        assert pass_on.invoke({"text": "a"}) == "1 read"
    assert (len(model.requests), runs) == (1, ["a", "a"])


def test_a_tool_that_interrupts_is_not_answered_for():
    @tool
    def sign(what: str) -> str:
        """Have something signed."""
        return interrupt(what)

    with memorise() as run, pytest.raises(GraphInterrupt):
        _in_node(lambda: sign.invoke({"what": "a"}), GraphInterrupt)
    assert "interrupted" in run.notes[0]


def _in_node(call, wanted):
    """Run `call` where `interrupt` works, and raise what it raised."""
    raised = []

    def node(state):
        try:
            call()
        except wanted as error:
            raised.append(error)
        return {}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    from langgraph.checkpoint.memory import InMemorySaver

    graph.compile(checkpointer=InMemorySaver()).invoke({"messages": []}, {"configurable": {"thread_id": "t"}})
    raise raised[0]


def test_a_call_that_was_cut_off_is_not_remembered():
    @tool
    def stop() -> str:
        """Stop."""
        raise KeyboardInterrupt

    with memorise() as run, pytest.raises(KeyboardInterrupt):
        stop.invoke({})
    assert len(run.memo) == 0


def test_an_argument_that_cannot_be_compared_is_refused():
    def look(key: Any) -> str:
        """Look."""
        return "found"

    made = StructuredTool.from_function(look)
    with memorise() as run:
        made.invoke({"key": object()})
    assert len(run.memo) == 0
    with pytest.raises(ReplayError, match="an argument cannot be compared: a value of type object"), replay(run.memo):
        made.invoke({"key": object()})


def test_tools_of_every_kind():
    class Own(BaseTool):
        name: str = "own"
        description: str = "Own."

        def _run(self, text: str) -> str:
            runs.append(text)
            return text.upper()

    async def wait(text: str) -> str:
        """Wait."""
        runs.append(text)
        return text.upper()

    runs: list[str] = []
    kinds = [Own(), StructuredTool.from_function(coroutine=wait)]

    async def both():
        return [await Own().arun("plain text"), *[await each.ainvoke({"text": "a"}) for each in kinds]]

    with memorise() as run:
        before = [asyncio.run(both()), Own().run("plain text")]
    with replay(run.memo):
        assert [asyncio.run(both()), Own().run("plain text")] == before
    with pytest.raises(ReplayError, match="own\\('other text'\\)"), replay(run.memo):
        Own().run("other text")
    assert runs == ["plain text", "a", "a", "plain text"]


def test_callbacks_are_told_of_an_answer_as_of_a_run():
    class Log(BaseCallbackHandler):
        def __init__(self):
            self.told = []

        def on_tool_start(self, serialized, input_str, *, inputs=None, tool_call_id=None, metadata=None, **kwargs):
            self.told.append((serialized, input_str, inputs, tool_call_id))
            self.replayed = (metadata or {}).get("textgrad_lg_replayed", False)

        def on_tool_end(self, output, **kwargs):
            self.told.append(output)

    @tool
    def look(key: str) -> str:
        """Look."""
        return key

    call = {"name": "look", "args": {"key": "a"}, "id": "c", "type": "tool_call"}
    logs = [Log(), Log()]
    with memorise() as run:
        look.invoke(call, {"callbacks": [logs[0]]})
    with replay(run.memo):
        look.invoke(call, {"callbacks": [logs[1]]})
    assert logs[0].told == logs[1].told
    assert [log.replayed for log in logs] == [False, True]


def test_a_tool_is_itself_again_after_the_last_replay():
    before = dict(vars(BaseTool))
    with memorise(), replay(Memo()):
        assert vars(BaseTool)["run"] is not before["run"]
    assert vars(BaseTool)["run"] is before["run"]
    assert vars(BaseTool)["arun"] is before["arun"]


def test_beside_a_replay_in_another_context_tools_run():
    import contextvars

    shop, outside = Shop(), contextvars.copy_context()
    with replay(Memo()):
        outside.run(shop.ask)
        outside.run(shop.ask, "ainvoke")
    assert len(shop.sold) == 4


def test_a_tool_error_that_an_agent_reports_is_replayed_as_well():
    shop = Shop(fails=True)
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([shop.tool], handle_tool_errors=True))
    graph.add_edge(START, "tools")
    made: Any = graph.compile()
    calls = [{"name": "sell", "args": {"item": "figs"}, "id": "c", "type": "tool_call"}]
    inputs: Any = {"messages": [AIMessage("", tool_calls=calls)]}
    with memorise() as run:
        before = made.invoke(inputs)["messages"][-1]
    with replay(run.memo):
        after = made.invoke(inputs)["messages"][-1]
    assert (after.content, after.status) == (before.content, before.status)
    assert "no figs" in after.text
    assert shop.sold == ["figs"]


def test_an_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match="sometimes"), replay(Memo(), tools="sometimes"):
        pass


def test_nothing_of_what_was_asked_is_in_a_memo():
    shop = Shop()
    with memorise() as run:
        shop.ask()
    text = run.memo.to_json()
    assert SYSTEM not in text
    assert "Hello" not in text
    assert json.loads(text)["version"] == 2
