"""Settings that a graph takes by its context, or by its "configurable"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from tests.overlay.test_settings import State, graph_of, laid
from textgrad_lg.overlay import Given, bind, through_doors
from textgrad_lg.site import Site

STYLE = Site.parse("context:style/text")
TEXTS = laid(STYLE, '"soft"', '"loud"')


@dataclass
class AsDataclass:
    name: str
    style: str = "soft"


class AsModel(BaseModel):
    name: str
    style: str = "soft"


class AsDict(TypedDict, total=False):
    name: str
    style: str


def through(context, schema=None, texts=TEXTS, **configurable):
    given, told = through_doors(schema, Given(context, configurable), texts, [STYLE])
    return given, told.get(STYLE)


@pytest.mark.parametrize("schema", [AsDataclass, AsModel, AsDict])
def test_a_field_is_changed_where_it_has_the_value_that_the_change_was_made_for(schema):
    own: Any = schema(name="x", style="soft")
    (changed, _), told = through(own, schema)
    assert (changed, told) == (schema(name="x", style="loud"), '"loud"')
    assert own == schema(name="x", style="soft")
    other = schema(name="x", style="flat")
    assert through(other, schema) == (Given(other, {}), '"flat"')


@pytest.mark.parametrize("schema", [AsDataclass, AsModel])
def test_a_mapping_leaves_the_rest_to_the_schema(schema):
    assert through({"name": "x"}, schema) == (Given({"name": "x", "style": "loud"}, {}), '"loud"')


@pytest.mark.parametrize(
    ("context", "schema"), [(None, AsDataclass), ({"name": "x"}, AsDict), ({"style": ["soft"]}, None), ({}, None)]
)
def test_no_door(context, schema):
    assert through(context, schema) == (Given(context, {}), None)


def test_a_required_field_has_no_default():
    name = Site.parse("context:name/text")
    for schema in (AsDataclass, AsModel):
        assert through_doors(schema, Given({}, {}), {}, [name]) == (Given({}, {}), {})


def test_the_configurable():
    assert through(None, style="soft") == (Given(None, {"style": "loud"}), '"loud"')


@pytest.mark.parametrize("new", ["null", "You are loud."])
def test_what_is_no_value_changes_nothing(new):
    assert through({"style": "soft"}, texts=laid(STYLE, '"soft"', new)) == (Given({"style": "soft"}, {}), '"soft"')


class TestBoundGraphs:
    async def test_each_way_of_running_one(self):
        def node(state: State, runtime: Runtime[Any]):
            return {"answer": runtime.context.style}

        graph: Any = StateGraph(State, context_schema=AsDataclass)
        graph = bind(graph.add_node("ask", node).add_edge(START, "ask").compile(), lambda: TEXTS)
        given, context = {"question": "q"}, {"name": "x"}
        assert graph.invoke(given, context=context)["answer"] == "loud"
        assert (await graph.ainvoke(given, context=context))["answer"] == "loud"
        assert [chunk async for chunk in graph.astream(given, context=context)] == [{"ask": {"answer": "loud"}}]
        assert list(graph.stream(given, None, context=context)) == [{"ask": {"answer": "loud"}}]

    def test_the_configurable_of_one(self):
        def node(state: State, config):
            return {"answer": config["configurable"]["style"]}

        graph = bind(graph_of(node), lambda: TEXTS)
        config = {"configurable": {"style": "soft"}}
        assert graph.invoke({"question": "q"}, config)["answer"] == "loud"
        assert config == {"configurable": {"style": "soft"}}
