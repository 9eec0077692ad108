"""Human messages that a graph keeps in its state: those that its code writes are Parameters, and those of users are not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from textgrad_lg.errors import NoPromptFound
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import discover, record
from textgrad_lg.record.messages import is_kept
from textgrad_lg.record.observe import sendings
from textgrad_lg.record.static import static_texts
from textgrad_lg.run.rollout import visited_in
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import CONFIRMED, Trace

TASK = "Please deal with the matter below: {matter}"
HUMAN = Site(("talk",), "human")


def task(state):
    return {"messages": [HumanMessage(f"Please deal with the matter below: {state['matter']}")]}


class State(MessagesState):
    matter: str


def graph_of(*writers, model=None, turns=1, **options):
    """Nodes that write into the state, and one that sends all of it, as often as asked for."""
    model = model or ScriptedChatModel(replies=lambda messages: f"reply to {len(messages)} messages")

    def talk(state):
        return {"messages": [model.invoke(state["messages"])]}

    def more(state):
        return "talk" if sum(isinstance(at, AIMessage) for at in state["messages"]) < turns else END

    build: Any = StateGraph(State)
    for writer in writers:
        build.add_node(writer.__name__, writer)
    build.add_node("talk", talk)
    names = [START, *(writer.__name__ for writer in writers), "talk"]
    for first, then in pairwise(names):
        build.add_edge(first, then)
    return build.add_conditional_edges("talk", more).compile(**options)


def traces_of(graph, *inputs, **options):
    with record() as recording:
        for given in inputs:
            graph.invoke(given, **options)
    return list(recording.traces)


def given(*messages, matter="the lamp"):
    return {"messages": list(messages), "matter": matter}


def found(discovery):
    return {str(site): text.text for site, text in discovery.parameters.items()}


class TestDiscovered:
    def test_a_text_of_the_code_with_its_slots(self):
        graph = graph_of(task)
        discovery = discover(traces_of(graph, given(("human", "hello")), given(matter="the chain")), graph)
        assert found(discovery) == {"talk/human": TASK}
        assert discovery.parameters[HUMAN].slots == ("matter",)
        assert discovery.sources[HUMAN].startswith(f"f-string in `{__name__}.task` (")
        assert discovery.unreached == ()
        assert discovery.warnings == ()

    def test_not_without_the_code_which_alone_can_tell(self):
        with pytest.raises(NoPromptFound):
            discover(traces_of(graph_of(task), given()))

    def test_not_a_users_message_even_if_it_has_the_prompts_words(self):
        graph = graph_of(task)
        typed = "Please deal with the matter below: my own words"
        traces = traces_of(graph, given(("human", typed)))
        discovery = discover(traces, graph)
        assert discovery.warnings == (
            "talk/human: a user's message has the words of this prompt, and would get its new words too",
        )
        values = [at.value for at in discovery.label(traces[0]).parameters]
        assert values == ["Please deal with the matter below: the lamp"]

    def test_not_a_users_message_where_the_code_sent_nothing_like_it(self):
        def never(state):
            return task(state) if state["matter"] == "never" else {}

        graph = graph_of(never)
        with pytest.raises(NoPromptFound):
            discover(traces_of(graph, given(("human", "Please deal with the matter below: my own words"))), graph)

    def test_not_a_reply_or_a_value_that_a_node_passes_on(self):
        def passes(state):
            return {"messages": [HumanMessage(state["matter"]), HumanMessage(state["messages"][-1].content)]}

        text = "You are to deal with the matter at once."

        def holds(state):
            return {"matter": state["matter"], "messages": [SystemMessage(text[:5])] if text in "never" else []}

        graph = graph_of(holds, passes)
        with pytest.raises(NoPromptFound):
            discover(traces_of(graph, given(("human", "What of it, may I ask?"), matter=text)), graph)

    @pytest.mark.parametrize("words", ["Go on, {}", "{}: the matter", "Matter:\n\n{}"])
    def test_not_a_text_with_few_words_which_is_named_in_a_warning(self, words):
        def short(state):
            return {"messages": [HumanMessage(words.format(state["matter"]))]}

        graph = graph_of(short)
        with pytest.raises(NoPromptFound):
            discover(traces_of(graph, given()), graph)

    def test_not_a_text_that_the_code_sends_as_a_system_message(self):
        def rules(state):
            model = ScriptedChatModel(replies=["noted", "noted"])
            model.invoke([SystemMessage(f"Please deal with the matter below: {state['matter']}")])
            model.invoke([SystemMessage("Please keep to the matter.")])
            parts = ["Please deal with", "the matter below: anything"], ["Please keep", "to the matter."]
            return {"messages": [HumanMessage(" ".join(part)) for part in parts]}

        graph = graph_of(rules)
        discovery = discover(traces_of(graph, given()), graph)
        assert found(discovery) == {"rules/system": TASK, "rules/system#1": "Please keep to the matter."}

    def test_of_the_middleware_that_writes_into_the_state(self):
        model = ScriptedChatModel(replies=lambda messages: "in short: tea")
        summary = SummarizationMiddleware(model, trigger=("messages", 3), keep=("messages", 1))
        agent: Any = create_agent(model, system_prompt="You sell tea.", middleware=[summary], name="clerk")
        talk = [("human", "hello"), ("ai", "yes?"), ("human", "green tea")]
        discovery = discover(traces_of(agent, {"messages": talk}), agent)
        assert found(discovery)["model[clerk]/human"] == "Here is a summary of the conversation to date:\n\n{summary}"
        # What LangChain's own source holds is no prompt of this graph until it is sent.
        assert not any("summary of the conversation" in text.text for text in static_texts(agent))
        assert discovery.unreached == ()

    def test_in_each_text_block_by_itself(self):
        def blocks(state):
            text = f"Please deal with the matter below: {state['matter']}"
            picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
            return {"messages": [HumanMessage([{"type": "text", "text": text}, picture, "and so on"])]}

        graph = graph_of(blocks)
        traces = traces_of(graph, given())
        discovery = discover(traces, graph)
        assert found(discovery) == {"talk/human": TASK}
        model = ScriptedChatModel(replies=["done"])
        graph = graph_of(blocks, model=model)
        with overlay({HUMAN: Replacement(Template(TASK, ("matter",)), Template("New: {matter}", ("matter",)))}):
            graph.invoke(given())
        content: Any = model.requests[0].messages[0].content
        assert [block if isinstance(block, str) else block["type"] for block in content] == [
            "text",
            "image_url",
            "and so on",
        ]
        assert content[0]["text"] == "New: the lamp"


class TestLabelled:
    def test_each_call_that_sent_it_has_a_variable_with_an_edge_to_its_reply(self):
        graph = graph_of(task, turns=3)
        (trace,) = traces_of(graph, given(("human", "hello")))
        discovery = discover([trace], graph)
        labelled = discovery.label(trace)
        new = [at for at in labelled.parameters if at.requires_grad]
        assert [(at.site, at.value, at.role) for at in new] == [
            (HUMAN, "Please deal with the matter below: the lamp", "human message of `talk`, kept in the state")
        ] * 3
        for at in new:
            assert is_kept(at)
            (edge,) = (edge for edge in labelled.edges if edge.source == at.id)
            assert (edge.target, edge.weight) == (f"{at.id.partition('.')[0]}.out", CONFIRMED)

    def test_labelling_twice_changes_nothing_and_json_keeps_it(self):
        graph = graph_of(task, turns=2)
        (trace,) = traces_of(graph, given(("human", "hello")))
        discovery = discover([trace], graph)
        labelled = discovery.label(trace)
        assert labelled != trace
        assert discovery.label(labelled) == labelled
        assert Trace.from_json(labelled.to_json()) == labelled
        assert discover([labelled], graph) == discovery
        assert [at.text for at in sendings([labelled])] == [at.text for at in sendings([trace])]
        # Under another Discovery, which knows no such Parameter, they go.
        assert replace(discovery, parameters={}, trainable=()).label(labelled) == trace

    def test_it_needs_no_gradient_where_it_is_not_chosen(self):
        def rules(state):
            return {"messages": [SystemMessage("Mind the tone.")]}

        graph = graph_of(rules, task)
        (trace,) = traces_of(graph, given())
        labelled = discover([trace], graph, only=["talk/system"]).label(trace)
        assert {str(at.site): at.requires_grad for at in labelled.parameters} == {
            "talk/system": True,
            "talk/human": False,
        }

    def test_a_run_that_sent_it_depends_on_its_text(self):
        (trace,) = traces_of(graph_of(task), given())
        assert ("talk", "", "human") in visited_in(trace)


class TestReplaced:
    def texts(self, new="Look into this, please: {matter}"):
        return {HUMAN: Replacement(Template(TASK, ("matter",)), Template(new, ("matter",)))}

    def test_in_each_call_that_sends_it_once_while_the_state_keeps_the_old_words(self):
        model = ScriptedChatModel(replies=lambda messages: "noted")
        graph = graph_of(task, model=model, turns=3, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        # The new text quotes the old one, so that a second rewriting would show.
        with overlay(self.texts("Once more. Please deal with the matter below: {matter}")):
            result = graph.invoke(given(("human", "hello")), config)
        sent = [[at.text for at in request.messages if at.type == "human"] for request in model.requests]
        assert sent == [["hello", "Once more. Please deal with the matter below: the lamp"]] * 3
        for messages in (result["messages"], graph.get_state(config).values["messages"]):
            assert [at.text for at in messages][:2] == ["hello", "Please deal with the matter below: the lamp"]

    async def test_of_calls_side_by_side_and_in_a_later_turn(self):
        model = ScriptedChatModel(replies=lambda messages: "noted")
        graph = graph_of(task, model=model, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        graph.invoke(given(), config)
        with overlay(self.texts()):
            await graph.ainvoke(given(("human", "and now?"), matter="the chain"), config)
        assert [at.text for at in model.requests[1].messages] == [
            "Look into this, please: the lamp",
            "noted",
            "and now?",
            "Look into this, please: the chain",
        ]

    def test_and_a_users_words_replies_and_short_prompts_are_not(self):
        model = ScriptedChatModel(replies=lambda messages: "Please deal with the matter below: a reply")
        graph = graph_of(model=model)
        short = {HUMAN: Replacement(Template("Go on: {x}", ("x",)), Template("No: {x}", ("x",)))}
        talk = [("human", "Go on: then"), ("ai", "Please deal with the matter below: x"), ("human", "what is it?")]
        for texts in (short, self.texts()):
            with overlay(texts):
                graph.invoke(given(*talk))
        for request in model.requests:
            assert [at.text for at in request.messages] == [text for _, text in talk]
