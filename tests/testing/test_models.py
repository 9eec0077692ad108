from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.testing.models import DoubleChatModel


class Point(BaseModel):
    """A point."""

    x: int


@tool
def search(query: str) -> str:
    """Search."""
    return query


def test_scripted_replies_in_order_and_says_when_the_script_ends():
    model = ScriptedChatModel(replies=["one", AIMessage("two"), ValueError("three")])
    assert [model.invoke("a").text, model.invoke("b").text] == ["one", "two"]
    with pytest.raises(ValueError, match="three"):
        model.invoke("c")
    with pytest.raises(AssertionError, match="the script has 3 replies, and this is request 4"):
        model.invoke("d")
    assert [str(request) for request in model.requests] == ["human: a", "human: b", "human: c", "human: d"]


def test_scripted_by_a_function_of_the_messages():
    model = ScriptedChatModel(replies=lambda messages: messages[-1].text.upper())
    assert model.invoke("shout").text == "SHOUT"


def test_a_dict_is_the_arguments_of_the_bound_tool_or_schema():
    model = ScriptedChatModel(replies=[{"query": "cats"}, {"x": 3}])
    assert model.bind_tools([search]).invoke("find").tool_calls[0]["args"] == {"query": "cats"}
    assert model.with_structured_output(Point).invoke("where") == Point(x=3)
    assert str(model.requests[0]) == "human: find\ntools: search"


def test_a_dict_without_a_tool_is_json_text():
    assert ScriptedChatModel(replies=[{"x": 3}]).invoke("where").text == '{"x": 3}'


async def test_it_streams_and_awaits_like_a_real_model():
    model = ScriptedChatModel(
        replies=lambda messages: {"query": "two words"} if messages[0].text == "tool" else "two words"
    )
    assert [chunk.text for chunk in model.stream("go")][:2] == ["two ", "words"]
    assert [chunk.text async for chunk in model.astream("go")][:2] == ["two ", "words"]
    assert (await model.ainvoke("go")).text == "two words"
    chunks: list[Any] = list(model.bind_tools([search]).stream("tool"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.tool_calls[0]["args"] == {"query": "two words"}
    assert whole.usage_metadata is not None


def test_simulated_follows_the_instructions_that_are_really_there():
    model = SimulatedChatModel(
        answer=lambda messages: "The answer is 4.",
        rules=[
            Rule("only the number", lambda reply, messages: "4"),
            Rule("add a full stop", lambda reply, messages: f"{reply}."),
        ],
    )
    assert model.invoke("2 + 2").text == "The answer is 4."
    assert model.invoke([SystemMessage("Give ONLY the\nnumber."), HumanMessage("2 + 2")]).text == "4"
    assert model.invoke("2 + 2, only the number, and add a full stop").text == "4."


def test_simulated_leaves_a_tool_call_alone():
    call = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1", "type": "tool_call"}])
    model = SimulatedChatModel(answer=lambda messages: call, rules=[Rule("x", lambda reply, messages: "never")])
    assert model.invoke("x").tool_calls[0]["name"] == "search"


def test_the_base_has_nothing_to_say():
    with pytest.raises(TypeError, match="does not say what it replies"):
        DoubleChatModel().invoke("hello")
