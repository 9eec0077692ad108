"""What a recorded call offered beside its messages, and the Variables that it becomes where it is trained."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, Field

from textgrad_lg.prompt import Template
from textgrad_lg.record import discover, record
from textgrad_lg.record.offered import offered, with_offers
from textgrad_lg.run.rollout import visited_in
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Edge, Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable


class Answer(BaseModel):
    """What was found."""

    label: str = Field(description="The label.")


@tool
def search(query: Annotated[str, "What to look for."]) -> str:
    """Search the web."""
    return query


@tool("search")
def other_search(query: str) -> str:
    """Search the archive."""
    return query


def graph_of(**calls):
    """One node for each call, in order; a call is a Runnable."""
    build: Any = StateGraph(MessagesState)
    last = START
    for name, bound in calls.items():

        def node(state, bound=bound, name=name):
            return {"messages": [bound.invoke([SystemMessage(f"You are {name}."), *state["messages"]])]}

        build.add_node(name, node)
        build.add_edge(last, name)
        last = name
    return build.compile()


def run(graph):
    with record() as recording:
        graph.invoke({"messages": [HumanMessage("Well?")]})
    return recording.trace


def model(**options):
    return ScriptedChatModel(replies=lambda messages: "fine", **options)


def offers(trace):
    return [[(str(site), text) for site, text in offered(span)] for span in trace.spans if span.kind == "llm"]


class TestOffered:
    def test_tools_and_schemas_in_the_order_they_were_sent(self):
        bound = model().bind_tools([search]).bind(response_format=Answer)
        assert offers(run(graph_of(ask=bound))) == [
            [
                ("tools:search/description", "Search the web."),
                ("tools:search/args/query", "What to look for."),
                ("schemas:Answer/description", "What was found."),
                ("schemas:Answer/args/label", "The label."),
            ]
        ]

    def test_a_class_or_a_tool_object_is_recorded_as_what_it_says(self):
        trace = run(graph_of(ask=model().bind(tools=[search], response_format=Answer)))
        assert trace.warnings == ()
        assert [site for site, _ in offers(trace)[0]] == [
            "tools:search/description",
            "tools:search/args/query",
            "schemas:Answer/description",
            "schemas:Answer/args/label",
        ]
        assert Trace.from_json(trace.to_json()) == trace

    @pytest.mark.parametrize(
        "options",
        [
            {"output_config": {"format": {"type": "json_schema", "schema": Answer.model_json_schema()}}},
            {"response_json_schema": Answer.model_json_schema()},
            {"text": {"format": {"type": "json_schema", "name": "Answer", "schema": Answer.model_json_schema()}}},
        ],
    )
    def test_schemas_under_other_names_of_options(self, options):
        trace = run(graph_of(ask=model().bind(**options)))
        assert [site for site, _ in offers(trace)[0]] == ["schemas:Answer/description", "schemas:Answer/args/label"]

    def test_a_text_that_was_sent_twice_counts_once(self):
        schema = Answer.model_json_schema()
        form = {
            "type": "json_schema",
            "json_schema": {"name": "Answer", "description": "What was found.", "schema": schema},
        }
        trace = run(graph_of(ask=model().bind(response_format=form)))
        assert [site for site, _ in offers(trace)[0]] == ["schemas:Answer/description", "schemas:Answer/args/label"]

    def test_other_spans_and_odd_attributes_offer_nothing(self):
        odd = {"tools": ["x", 3, None, {"name": 1}], "response_format": "json", "output_config": []}
        assert offered(Span("s0", SpanKind.LLM, "m", attributes=odd)) == ()
        assert offered(Span("s0", SpanKind.NODE, "n", attributes={"tools": [{"name": "t", "description": "T."}]})) == ()


class TestDiscovery:
    def test_tools_of_one_name_are_told_apart(self):
        graph = graph_of(ask=model().bind_tools([search]), check=model().bind_tools([other_search, search]))
        found = discover([run(graph)], graph, only=["tools:*"])
        assert {str(site): text.text for site, text in found.parameters.items() if not site.in_message} == {
            "tools:search/description": "Search the web.",
            "tools:search/args/query": "What to look for.",
            "tools:search/description#1": "Search the archive.",
        }
        marked = found.label(run(graph))
        mine = [at for at in marked.parameters if at.requires_grad]
        assert [(at.id, at.value) for at in mine] == [
            ("s2.tools:search/description", "Search the web."),
            ("s2.tools:search/args/query", "What to look for."),
            ("s4.tools:search/description#1", "Search the archive."),
            ("s4.tools:search/description", "Search the web."),
            ("s4.tools:search/args/query", "What to look for."),
        ]
        assert [at.role for at in mine[:2]] == [
            "description of the tool `search`",
            "argument `query` of the tool `search`",
        ]

    def test_a_tool_that_no_run_offered_is_known_by_its_description(self):
        later = model().bind_tools([other_search])

        def node(state):
            return {"messages": [later.invoke([SystemMessage("You check."), *state["messages"]])]}

        build: Any = StateGraph(MessagesState)
        ask = model().bind_tools([search.model_copy(update={"name": "look"})])
        build.add_node("ask", lambda state: {"messages": [ask.invoke([SystemMessage("You ask."), *state["messages"]])]})
        build.add_node("check", node)
        build.add_edge(START, "ask")
        build.add_conditional_edges("ask", lambda state: "check" if len(state["messages"]) > 9 else "__end__")
        graph = build.compile()
        found = discover([run(graph)], graph)
        site = Site.parse("tools:search/description")
        assert found.parameters[site] == Template("Search the archive.")
        assert found.sources[site] == "tool in node `check`"
        assert site not in found.trainable

    def test_what_only_later_runs_offer_joins_what_was_chosen(self):
        first, later = graph_of(ask=model().bind_tools([search])), graph_of(look=model().bind(response_format=Answer))
        found = discover([run(first)], only=["tools:*"])
        more = found.extend([run(later)], only=["tools:*", "schemas:Answer/args"])
        assert [str(site) for site in more.trainable] == [
            "tools:search/description",
            "tools:search/args/query",
            "schemas:Answer/args/label",
        ]
        plain = discover([run(first)]).extend([run(later)])
        assert [str(site) for site in plain.trainable] == ["ask/system", "look/system"]
        assert "schemas:Answer/args/label" in map(str, plain.parameters)


class TestLabel:
    def test_only_what_is_trainable_is_added_and_only_once(self):
        graph = graph_of(ask=model().bind_tools([search]))
        trace = run(graph)
        found = discover([trace], graph, only=["tools:search/args"])
        marked = found.label(trace)
        (mine,) = [at for at in marked.variables if at not in trace.variables and at.requires_grad]
        assert (mine.id, mine.value, str(mine.site)) == (
            "s2.tools:search/args/query",
            "What to look for.",
            "tools:search/args/query",
        )
        assert found.label(marked) == marked
        # Under another choice the same Trace has other Parameters.
        other = discover([trace], graph, only=["tools:search/description"])
        assert other.label(marked) == other.label(trace)
        assert discover([trace], graph).label(marked) == discover([trace], graph).label(trace)
        # What was found in a marked Trace is what was found before.
        assert discover([marked], graph).parameters == discover([trace], graph).parameters

    def test_a_text_that_is_not_the_one_in_force_is_no_parameter(self):
        trace = run(graph_of(ask=model().bind_tools([search])))
        found = discover([run(graph_of(ask=model().bind_tools([other_search])))], only=["tools:*"])
        assert not any(at.requires_grad for at in found.label(trace).variables)

    def test_a_call_that_failed_has_no_reply_to_lead_to(self):
        bound = ScriptedChatModel(replies=lambda messages: RuntimeError("down")).bind_tools([search])
        with record() as recording, pytest.raises(RuntimeError, match="down"):
            graph_of(ask=bound).invoke({"messages": [HumanMessage("Well?")]})
        trace = recording.trace
        assert with_offers(trace, lambda site, _: site) is trace

    def test_the_edges_stay_in_the_order_of_what_was_made(self):
        told: Any = {"tools": [{"name": "t", "description": "T."}]}
        spans = (Span("s0", SpanKind.LLM, "m", attributes=told), Span("s1", SpanKind.LLM, "m", attributes=told))
        variables = (Variable("s0.out", "a", "reply", "s0"), Variable("s1.out", "b", "reply", "s1"))
        trace = Trace("0" * 32, "g", spans, variables, (Edge("s0.out", "s1.out", "s1"),))
        marked = with_offers(trace, lambda site, _: site)
        assert [at.id for at in marked.variables] == [
            "s0.tools:t/description",
            "s0.out",
            "s1.tools:t/description",
            "s1.out",
        ]
        assert [(edge.source, edge.target) for edge in marked.edges] == [
            ("s0.tools:t/description", "s0.out"),
            ("s0.out", "s1.out"),
            ("s1.tools:t/description", "s1.out"),
        ]
        assert with_offers(marked, lambda *_: None) == trace


def test_a_rollout_is_known_by_the_descriptions_it_offered():
    trace = run(graph_of(ask=model().bind_tools([search])))
    assert {("tools:search", "", "description"), ("tools:search", "", "args/query")} <= visited_in(trace)
    assert json.dumps(sorted(visited_in(trace)))
