"""Deployed assistants, over a scripted transport. `tests/server` has the same against a real server."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypedDict, cast

import httpx
import pytest
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send
from langgraph_sdk import get_client

from tests.integrations.served import Served
from tests.run import worlds
from textgrad_lg import (
    Budget,
    Evals,
    MemoryRegistry,
    Phase,
    Price,
    Settings,
    Site,
    Trace,
    optimize,
)
from textgrad_lg.errors import (
    BudgetExhausted,
    BudgetTooSmall,
    GraphError,
    JournalError,
    NoPromptFound,
    UnknownParameter,
    UnknownPrice,
    VersionConflict,
)
from textgrad_lg.events import ExampleScored
from textgrad_lg.overlay import Replacement
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.run.target import Job, as_target
from textgrad_lg.testing import Rule, SimulatedChatModel
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Span
from textgrad_lg.types import SpanKind
from textgrad_lg_integrations.langgraph_server import Assistant
from textgrad_lg_integrations.langgraph_server.admission import Admission
from textgrad_lg_integrations.langgraph_server.events import EventLog, revive

ALONE = "Reply with the label alone."
OWN = "You label film reviews for the front page."
SETTINGS = Settings(steps=1, batch=4, concurrency=2)
PROMPT = Site.parse("context:system_prompt/text")


class State(TypedDict, total=False):
    review: str
    label: str


@dataclass
class Context:
    system_prompt: str = OWN
    tone: str = "calm"
    limit: int = 3


def model(**options):
    def answer(messages):
        return f"I think this is {'positive' if 'good' in messages[-1].text else 'negative'}, all in all."

    return SimulatedChatModel(
        answer=answer, rules=[Rule(ALONE, lambda reply, _: reply.split()[4].strip(","))], **options
    )


def desk(chat=None, transform=lambda text: text, **options):
    chat = chat or model()

    def judge(state: State, runtime: Runtime[Context]):
        if "explode" in state["review"]:
            raise ValueError("this review cannot be judged")
        system = SystemMessage(transform(runtime.context.system_prompt))
        return {"label": chat.invoke([system, HumanMessage(f"The review: {state['review']}")]).text}

    return StateGraph(State, Context).add_node("judge", judge).add_edge(START, "judge").compile(name="desk", **options)


def legacy():
    def judge(state: State, config):
        system = SystemMessage(config["configurable"].get("instructions", "None."))
        return {"label": model().invoke([system, HumanMessage(state["review"])]).text}

    return StateGraph(State).add_node("judge", judge).add_edge(START, "judge").compile(name="legacy")


def told(outputs, reference_outputs):
    return outputs["label"] == reference_outputs["label"], ALONE


def evals(count=28):
    return Evals(
        [
            {
                "inputs": {"review": f"{'good' if at % 2 else 'bad'} film {at}"},
                "reference_outputs": {"label": "positive" if at % 2 else "negative"},
            }
            for at in range(count)
        ],
        [told],
    )


def improve(assistant, **options):
    options = {"settings": SETTINGS, "registry": MemoryRegistry()} | options
    return optimize(assistant, evals(), **options)


class Calls:
    """A meter that admits everything, and knows what became of it."""

    def __init__(self):
        self.ledger = Ledger(Budget(calls=10_000))
        self.meter = Metering(self.ledger, Prices()).meter(Phase.ROLLOUT)


def run_once(assistant, inputs, texts=None, config=None, meter=None):
    """One Job of an assistant."""
    target, _ = as_target(assistant)
    job = Job(
        inputs=inputs,
        texts=texts or {},
        config=config or {},
        thread="t",
        trace="0" * 31 + "7",
        example="e1",
        meter=meter or Calls().meter,
    )
    with Schedule(2) as schedule:
        return asyncio.run(target.run(job, schedule))


def new_text(text, old=OWN):
    return {PROMPT: Replacement(Template(old), Template(text))}


# The whole of it


@pytest.mark.parametrize("context", [{"tone": "mild"}, {"system_prompt": OWN, "tone": "mild"}])
def test_an_assistant_is_made_better_published_as_a_version_and_rolled_back_by_another(context):
    served = Served({"desk": desk()})
    assistant = served.create("desk", context=context, metadata={"team": "film"})
    result = improve(Assistant(assistant, client=served.client))
    assert (result.test.before, result.test.after) == (0.0, 1.0)
    assert [str(site) for site in result.texts] == ["context:system_prompt/text"]
    now = served.now(assistant)
    assert now["version"] == 2
    assert now["context"] == {"tone": "mild", "system_prompt": f"{ALONE}\n\n{OWN}"}
    assert now["metadata"] == {"team": "film", "textgrad_lg_run": result.run, "textgrad_lg_system_prompt": 2}
    result.rollback()
    assert served.now(assistant)["context"] == context
    assert served.versions(assistant) == [1, 2, 3]
    assert not any("latest" in path for _, path, _ in served.requests)


def test_where_the_graph_has_no_context_schema_the_texts_go_into_configurable():
    served = Served({"legacy": legacy()})
    config = {"configurable": {"instructions": "You label film reviews by the book.", "k": 3}, "tags": ["kept"]}
    assistant = served.create("legacy", config=config)
    result = improve(Assistant(assistant, client=served.client))
    assert result.published
    assert served.now(assistant)["config"] == {
        "configurable": {"instructions": f"{ALONE}\n\nYou label film reviews by the book.", "k": 3},
        "tags": ["kept"],
    }
    assert all("context" not in body for body in served.runs())
    result.rollback()
    assert served.now(assistant)["config"] == config


def test_each_run_is_given_the_whole_context_on_no_thread():
    served = Served({"desk": desk()})
    assistant = served.create("desk", context={"tone": "mild", "limit": 5})
    run_once(
        Assistant(assistant, client=served.client),
        {"review": "good"},
        new_text("New."),
        {"context": {"limit": 7}, "recursion_limit": 9},
    )
    assert served.runs() == snapshot(
        [
            {
                "input": {"review": "good"},
                "config": {"recursion_limit": 9},
                "context": {"tone": "mild", "limit": 7, "system_prompt": "New."},
                "stream_mode": ["values", "events"],
                "stream_subgraphs": False,
                "stream_resumable": False,
                "assistant_id": "00000000-0000-0000-0000-000000000002",
                "on_disconnect": "cancel",
            }
        ]
    )


def test_the_graph_that_comes_back_runs_on_the_server():
    served = Served({"desk": desk()})
    result = improve(Assistant("desk", client=served.client))
    assert isinstance(result.graph, RemoteGraph)
    assert result.graph.invoke({"review": "a good one"})["label"] == "positive"
    result.rollback()
    assert result.graph.invoke({"review": "a good one"})["label"].startswith("I think")


def test_a_run_goes_on_from_its_journal_and_not_under_another_context(tmp_path):
    served = Served({"desk": desk()})
    assistant = served.create("desk", context={"tone": "mild"})

    def stop(event):
        if isinstance(event, ExampleScored) and event.phase == Phase.TEST:
            raise KeyboardInterrupt

    options = {"registry": MemoryRegistry(), "run_dir": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        improve(Assistant(assistant, client=served.client), callbacks=[stop], **options)
    before = len(served.runs())
    assert improve(Assistant(assistant, client=served.client), **options).published
    assert before < len(served.runs()) <= before + 16
    with pytest.raises(JournalError, match="deployed"):
        improve(Assistant(assistant, client=served.client), **options)


# Fields


def test_a_dry_run_names_the_fields_and_runs_nothing():
    served = Served({"desk": desk()})
    plan = optimize(Assistant("desk", client=served.client), evals(), dry_run=True)
    assert {str(site): at.text for site, at in plan.parameters.items()} == {"context:system_prompt/text": OWN}
    assert plan.sources[PROMPT].startswith("context of the assistant 0000")
    assert "left as they are: tone" in plan.warnings[0]
    assert served.runs() == []


@pytest.mark.parametrize("only", [["tone"], ["context:tone/text"], ["context:tone"], ["*tone*"]])
def test_optimize_only_names_a_field_in_several_ways(only):
    served = Served({"desk": desk()})
    plan = optimize(Assistant("desk", client=served.client), evals(), dry_run=True, optimize_only=only)
    assert "context:tone/text" in str(plan)
    found = as_target(Assistant("desk", client=served.client))[0].discover((), only)
    assert [str(site) for site in found.trainable] == ["context:tone/text"]
    assert found.extend((), None) is found


def test_fields_may_be_named_and_must_hold_text():
    served = Served({"desk": desk()})
    found = as_target(Assistant("desk", client=served.client, fields=["tone"]))[0].discover((), None)
    assert [str(site) for site in found.trainable] == ["context:tone/text"]
    for name in ("limit", "tine"):
        with pytest.raises(UnknownParameter, match=f"'{name}'; its fields with text are system_prompt, tone"):
            optimize(Assistant("desk", client=served.client, fields=[name]), evals())
    with pytest.raises(UnknownParameter, match="tone"):
        optimize(Assistant("desk", client=served.client), evals(), dry_run=True, optimize_only=["tine"])


def test_what_the_schema_says_of_a_field_counts():
    properties = {
        "style": {"type": "string", "default": "Terse.", "metadata": {"langgraph_type": "prompt"}},
        "rules": {"type": "string", "default": "Say it in rhymes, always.", "langgraph_nodes": ["judge"]},
        "model": {"type": "string", "enum": ["a model of some kind, big"], "default": "a model of some kind, big"},
        "empty": {"type": "string", "default": " "},
        "slotted": {"type": "string", "default": "It is {time} now, and you are {who}. It is {time}!"},
    }
    served = Served({"desk": desk()}, {"desk": {"context_schema": {"properties": properties}}})
    found = as_target(Assistant("desk", client=served.client))[0].discover((), None)
    assert [str(site) for site in found.trainable] == [
        "context:style/text",
        "context:rules/text",
        "context:slotted/text",
    ]
    assert found.parameters[Site.parse("context:slotted/text")].slots == ("time", "who")


def test_a_graph_without_text_in_its_context_says_what_else_can_be_done():
    served = Served({"legacy": legacy()})
    with pytest.raises(NoPromptFound, match=r"with text are none.*textgrad_lg\.attach"):
        optimize(Assistant("legacy", client=served.client), evals(), dry_run=True)


# Traces


def edges_of(trace, source):
    return [(edge.target, edge.weight, edge.via) for edge in trace.edges if edge.source == source]


def test_a_field_is_linked_to_the_calls_that_were_sent_its_text():
    served = Served({"desk": desk()})
    ran = run_once(Assistant("desk", client=served.client), {"review": "a good one"}, new_text("Label this film."))
    trace = ran.trace
    assert (trace.id, trace.example, trace.name) == ("0" * 31 + "7", "e1", "desk")
    assert [(span.kind, span.name) for span in trace.spans] == [("graph", "desk"), ("node", "judge"), ("llm", "double")]
    llm = trace.spans[-1]
    about = cast("dict[str, Any]", llm.attributes)
    assert about["input_tokens"] > 0
    assert [message.get("site") for message in about["messages"]] == ["context:system_prompt/text", None]
    assert [(str(at.site), at.value) for at in trace.parameters] == [
        ("context:system_prompt/text", "Label this film."),
        ("context:tone/text", "calm"),
    ]
    assert edges_of(trace, "context.system_prompt") == [(f"{llm.id}.out", CONFIRMED, "text")]
    assert edges_of(trace, "context.tone") == [(f"{llm.id}.out", CANDIDATE, "channel")]
    assert Trace.from_json(trace.to_json()) == trace
    target, _ = as_target(Assistant("desk", client=served.client))
    labelled = target.discover((), None).label(cast("Trace", trace))
    assert [(str(at.site), at.requires_grad) for at in labelled.parameters] == [("context:system_prompt/text", True)]
    assert ran.outputs == {"review": "a good one", "label": "I think this is positive, all in all."}


def test_a_text_with_slots_is_found_again_in_what_was_sent():
    own = "It is {time} now. You label reviews of {kind}."
    graph = desk(transform=lambda text: text.format(time="noon", kind="films") + " Be quick.")
    served = Served({"desk": graph})
    assistant = served.create("desk", context={"system_prompt": own})
    trace = run_once(Assistant(assistant, client=served.client), {"review": "good"}).trace
    assert [weight for _, weight, _ in edges_of(trace, "context.system_prompt")] == [CONFIRMED]


def test_a_text_that_is_not_found_again_is_a_candidate_for_every_reply():
    graph = desk(transform=lambda text: "something else")
    trace = run_once(Assistant("desk", client=Served({"desk": graph}).client), {"review": "good"}).trace
    assert edges_of(trace, "context.system_prompt") == [("s2.out", CANDIDATE, "channel")]


def test_a_field_whose_nodes_are_known_is_a_candidate_for_their_replies_alone():
    def node(name):
        return name, lambda state: {"label": model().invoke([SystemMessage(name), HumanMessage("good")]).text}

    graph = StateGraph(State).add_node(*node("one")).add_node(*node("two"))
    graph = graph.add_edge(START, "one").add_edge("one", "two").compile(name="pair")
    schema = {
        "context_schema": {"properties": {"hint": {"default": "Never be vague, please.", "langgraph_nodes": ["two"]}}}
    }
    served = Served({"pair": graph}, {"pair": schema})
    trace = run_once(Assistant("pair", client=served.client), {}).trace
    second = [span.id for span in trace.spans if span.kind == "llm"][1]
    assert edges_of(trace, "context.hint") == [(f"{second}.out", CANDIDATE, "channel")]


def test_a_run_whose_calls_are_not_seen_blames_the_output():
    served = Served({"desk": desk()})
    served.tell = lambda event, data: [(event, data)] if event == "values" else []
    ran = run_once(Assistant("desk", client=served.client), {"review": "good"})
    assert [span.kind for span in ran.trace.spans] == ["graph"]
    assert ran.outputs["label"].startswith("I think")
    assert [target for target, _, _ in edges_of(ran.trace, "context.tone")] == ["s0.out.review", "s0.out.label"]


def test_what_the_graph_raises_is_returned_with_its_trace():
    served = Served({"desk": desk()})
    ran = run_once(Assistant("desk", client=served.client), {"review": "explode"})
    assert f"{type(ran.error).__name__}: {ran.error}" == "RemoteException: ValueError: this review cannot be judged"
    assert ran.outputs is None
    assert [(span.kind, span.error is not None) for span in ran.trace.spans] == [("graph", True), ("node", True)]
    assert {str(at.site) for at in ran.trace.parameters} == {"context:system_prompt/text", "context:tone/text"}
    served.tell = lambda event, data: [("error", "cancelled")]
    assert str(run_once(Assistant("desk", client=served.client), {"review": "good"}).error) == "cancelled"


def test_parts_that_mean_nothing_are_passed_over():
    served = Served({"desk": desk()})
    strange = [
        ("metadata", {"run_id": "x"}),
        ("values|judge:1", {"label": "of a subgraph"}),
        ("events", {"event": "on_custom_event", "run_id": "no uuid"}),
        ("events", {"event": "on_chain_strange", "run_id": "00000000-0000-0000-0000-000000000000"}),
    ]
    served.tell = lambda event, data: [*strange, (event, data)]
    ran = run_once(Assistant("desk", client=served.client), {"review": "good"})
    assert [span.kind for span in ran.trace.spans] == ["graph", "node", "llm"]
    assert ran.outputs["label"].startswith("I think")


def agent_graph():
    @tool
    def price_of(item: str) -> str:
        """The price of an item."""
        return f"{item} costs {len(item)} coins"

    def serve(messages):
        if messages[-1].type == "tool":
            return messages[-1].text
        return AIMessage(
            "", tool_calls=[{"name": "price_of", "args": {"item": "tea"}, "id": "c1", "type": "tool_call"}]
        )

    clerk = create_agent(SimulatedChatModel(answer=serve), tools=[price_of], system_prompt="You serve.", name="clerk")
    graph = StateGraph(MessagesState).add_node("clerk", clerk).add_edge(START, "clerk")
    return graph.compile(name="shop")


def shape(trace):
    return [(span.kind, span.name, span.path, span.error) for span in trace.spans]


def test_the_events_of_a_run_give_the_trace_that_the_recorder_gives():
    graph, asked = agent_graph(), {"messages": [HumanMessage("What does tea cost?", id="q")]}
    with record() as recording:
        graph.invoke(cast("MessagesState", asked))
    served = Served(
        {"shop": graph}, {"shop": {"context_schema": {"properties": {"p": {"default": "Be as you are, please."}}}}}
    )
    inputs = {"messages": [{"type": "human", "content": "What does tea cost?", "id": "q"}]}
    ran = run_once(Assistant("shop", client=served.client), inputs)
    local = recording.trace
    assert shape(ran.trace) == shape(local)
    ours = {variable.id for variable in local.variables}

    def linked(trace):
        return [(e.source, e.target, e.weight, e.via) for e in trace.edges if e.source in ours and e.target in ours]

    assert linked(ran.trace) == linked(local)
    assert any(edge.via == "tool-call-id" for edge in ran.trace.edges)
    assert [message.type for message in ran.outputs["messages"]] == ["human", "ai", "tool", "ai"]


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(f"all about {query}")]


def test_prompts_retrievers_plain_models_and_commands_in_events():
    chain = ChatPromptTemplate([("system", "You sum up {what}."), ("human", "{what}")]) | model()

    @tool
    def broken(item: str) -> str:
        """Breaks."""
        raise ValueError(f"no {item}")

    def first(state: State):
        found = Shelf().invoke(state["review"])
        plain = FakeListLLM(responses=["a plain text"]).invoke("Say something.")
        try:
            broken.invoke({"item": "tea"})
        except ValueError:
            plain += "!"
        return Command(update={"label": f"{plain} {found[0].page_content}"}, goto=Send("second", {"review": "good"}))

    def second(state: State):
        return {"label": chain.invoke({"what": state["review"]}).text}

    graph = StateGraph(State).add_node("first", first).add_node("second", second).add_edge(START, "first")
    schema = {"context_schema": {"properties": {"p": {"default": "Be as you are, please."}}}}
    graph = graph.compile(name="mixed")
    with record() as recording:
        graph.invoke({"review": "tea"})
    served = Served({"mixed": graph}, {"mixed": schema})
    trace = run_once(Assistant("mixed", client=served.client), {"review": "tea"}).trace
    kinds = [(span.kind, span.name) for span in trace.spans]
    assert kinds == [(span.kind, span.name) for span in recording.trace.spans]
    assert ("retriever", "Shelf") in kinds
    assert next(span.error for span in trace.spans if span.kind == "tool")
    assert trace.output() == recording.trace.output()


def test_only_what_is_a_message_a_command_or_a_send_is_revived():
    strange = {"type": "tool", "content": "no tool_call_id"}
    assert revive({"a": [strange, {"type": "human", "content": "hi"}]}) == {"a": [strange, HumanMessage("hi")]}
    assert revive({"node": "n", "arg": 1}) == Send("n", 1)
    assert revive({"node": 3, "arg": 1}) == {"node": 3, "arg": 1}
    assert revive({"graph": None, "update": {"x": 1}, "resume": None, "goto": "n"}) == Command(
        update={"x": 1}, goto="n"
    )


def test_a_part_of_a_run_that_is_hidden_does_not_orphan_what_is_in_it():
    log = EventLog("desk", {}, lambda: 1.0)
    ids = [f"00000000-0000-0000-0000-00000000000{at}" for at in range(4)]
    start = {"event": "on_chain_start", "name": "desk", "run_id": ids[0], "data": {"input": {}}}
    inner = {"event": "on_tool_start", "name": "find", "run_id": ids[3], "data": {"input": "text"}}
    lost = {"event": "on_tool_start", "name": "lost", "run_id": ids[2], "data": {}}
    for event in (
        start,
        {**inner, "parent_ids": ids[:2]},
        {**inner, "event": "on_tool_end", "data": {"output": "x"}},
        lost,
    ):
        log.add(event)
    trace = log.trace({}, None, id="0" * 32, example="e")
    assert [(span.name, span.parent) for span in trace.spans] == [("desk", None), ("find", "s0")]


# Publishing


def interfering(served, assistant, phase, **fields):
    done = []

    def interfere(event):
        if isinstance(event, ExampleScored) and event.phase == phase and not done:
            done.append(served.update(assistant, **fields))

    return interfere


def test_a_version_that_somebody_else_made_meanwhile_is_not_overwritten():
    served, registry = Served({"desk": desk()}), MemoryRegistry()
    assistant = served.create("desk")
    theirs = interfering(served, assistant, Phase.TEST, context={"system_prompt": "Somebody else's."})
    result = improve(Assistant(assistant, client=served.client), callbacks=[theirs], registry=registry)
    assert (result.improved, dict(result.published)) == (True, {})
    assert "version 2 by now, and version 1 was expected" in result.reason
    assert served.now(assistant)["context"] == {"system_prompt": "Somebody else's."}
    assert all("production" not in registry.labels(name) for name in registry.names())


def test_a_rollback_over_somebody_elses_version_is_refused_and_the_registry_stays():
    served, registry = Served({"desk": desk()}), MemoryRegistry()
    assistant = served.create("desk")
    result = improve(Assistant(assistant, client=served.client), registry=registry)
    served.update(assistant, context={"system_prompt": "Somebody else's."})
    with pytest.raises(VersionConflict, match="version 3"):
        result.rollback()
    assert {name: registry.labels(name)["production"] for name in result.published} == dict(result.published)
    assert served.now(assistant)["context"] == {"system_prompt": "Somebody else's."}


def test_a_version_made_between_the_comparison_and_the_publication_is_told_of(caplog):
    served = Served({"desk": desk()})
    assistant = served.create("desk")
    answer = served.answer

    def late(request):
        if request.method == "PATCH" and served.versions(assistant) == [1]:
            served.update(assistant, context={})
        return answer(request)

    served.answer = late
    assert improve(Assistant(assistant, client=served.client)).published
    assert served.versions(assistant) == [1, 2, 3]
    assert "version 3 is in force, look at those from 2 on" in caplog.text


def test_a_server_that_is_gone_when_it_comes_to_publishing_costs_nothing(tmp_path):
    served, registry = Served({"desk": desk()}), MemoryRegistry()
    assistant = served.create("desk")
    answer = served.answer
    down = [True]

    def flaky(request):
        if request.method == "PATCH" and down[0]:
            raise httpx.ConnectError("refused")
        return answer(request)

    served.answer = flaky
    options = {"registry": registry, "run_dir": tmp_path / "run"}
    result = improve(Assistant(assistant, client=served.client), **options)
    assert "improved, but not published (the LangGraph Server could not publish" in result.reason
    name = f"desk@{assistant[:8]}:{PROMPT}"
    assert registry.labels(name).get("production") in (None, 1)
    down[0] = False
    before = len(served.runs())
    again = improve(Assistant(assistant, client=served.client), **options)
    assert again.published
    assert len(served.runs()) == before
    assert ALONE in served.now(assistant)["context"]["system_prompt"]


def test_a_registrys_texts_are_published_from_another_process_once():
    served, registry = Served({"desk": desk()}), MemoryRegistry()
    assistant = served.create("desk")
    result = improve(Assistant(assistant, client=served.client, name="front"), registry=registry)
    assert list(result.published) == ["front:context:system_prompt/text"]
    served.update(assistant, context={})
    again = Assistant(assistant, client=served.client, name="front")
    assert again.publish(registry) == 4
    assert again.publish(registry) == 4
    assert ALONE in served.now(assistant)["context"]["system_prompt"]


def test_an_old_version_is_restored_as_a_new_one():
    served = Served({"desk": desk(), "legacy": legacy()})
    for graph, fields in (
        ("desk", lambda text: {"context": {"system_prompt": text}}),
        ("legacy", lambda text: {"config": {"configurable": {"instructions": text}}}),
    ):
        assistant = served.create(graph, **fields("The first."))
        for at in range(150):
            served.update(assistant, **fields(f"Number {at}."))
        handle = Assistant(assistant, client=served.client)
        assert handle.restore(1) == 152
        assert served.now(assistant) | fields("The first.") == served.now(assistant)
        with pytest.raises(GraphError, match="no version 999; its latest is 152"):
            handle.restore(999)


# Money


def test_runs_are_admitted_in_advance_and_counted_as_they_were():
    served = Served({"desk": desk()})
    result = improve(Assistant("desk", client=served.client), budget="150 calls")
    assert result.spend.total.calls == len(served.runs()) <= 150
    assert result.spend.unpriced == ("double",)
    with pytest.raises(BudgetTooSmall):
        improve(Assistant("desk", client=served.client), budget="10 calls")


def test_a_money_limit_needs_to_know_the_model_before_the_first_run():
    served = Served({"desk": desk()})
    with pytest.raises(UnknownPrice, match=r"Assistant\(\.\.\., model="):
        improve(Assistant("desk", client=served.client), budget="$1")
    assert served.runs() == []
    prices = {"double": Price(input=1.0, output=1.0)}
    for name in ("double", "simulated:double"):
        assistant = Assistant("desk", client=served.client, model=name)
        assert improve(assistant, budget="$1", prices=prices).spend.total.usd > 0


def llm_trace(*calls):
    def span(at, name, used):
        about = {"provider": "p", "model": name, "messages": [{"content": "abcdef"}], **used}
        return Span(f"s{at}", SpanKind.LLM, name, attributes=about)

    return Trace("0" * 32, "g", tuple(span(at, *call) for at, call in enumerate(calls)))


def test_the_largest_run_seen_is_reserved_for_the_next_one():
    ledger = Ledger(Budget(calls=6))
    meter = Metering(ledger, Prices()).meter(Phase.ROLLOUT)
    admission = Admission()
    used = {"input_tokens": 5, "output_tokens": 7}
    with admission.run(meter, 30) as seen:
        seen.append(llm_trace(("a", used), ("b", {}), ("a", used)))
    total = ledger.spend.total
    # What `b` did not say counts at its worst: its message at 3 characters a token, and the most it may answer.
    assert (total.calls, total.input_tokens, total.output_tokens) == (3, 12, 7 + 4096 + 7)
    with admission.run(meter, 30) as seen:
        seen.append(llm_trace(("a", used)))
    assert ledger.spend.total.calls == 4
    with pytest.raises(BudgetExhausted), admission.run(meter, 30):
        pytest.fail("three calls were not left")
    with pytest.raises(BudgetExhausted):
        meter.check()
    # The refused run has given back what it had reserved.
    ledger.hold(Phase.TEST, ledger.spend.total.__class__(calls=2))


def test_a_run_that_was_cut_off_counts_at_its_worst():
    ledger = Ledger(Budget(calls=6))
    meter = Metering(ledger, Prices()).meter(Phase.ROLLOUT)
    with pytest.raises(ConnectionError), Admission("p", "m").run(meter, 30):
        raise ConnectionError
    assert (ledger.spend.total.calls, ledger.spend.total.input_tokens) == (1, 10)


def test_a_meter_that_cannot_count_afterwards_counts_what_was_admitted():
    settled = []

    class Plain:
        def admit(self, call):
            return SimpleNamespace(settle=lambda *used: settled.append(used))

    with Admission().run(cast("Any", Plain()), 3) as seen:
        seen.append(llm_trace(("a", {})))
    assert settled == [(None, None)]


def test_a_refused_run_gives_back_what_was_admitted_of_it_even_to_a_plain_meter():
    settled = []

    class Plain:
        left = 1

        def admit(self, call):
            self.left -= 1
            if self.left < 0:
                raise BudgetExhausted("no more")
            return SimpleNamespace(settle=lambda *used: settled.append(used))

    admission = Admission()
    with admission.run(Calls().meter, 3) as seen:
        seen.append(llm_trace(("a", {}), ("a", {})))
    with pytest.raises(BudgetExhausted), admission.run(cast("Any", Plain()), 3):
        pytest.fail("it was refused")
    assert settled == [(0, 0)]


def test_nothing_is_counted_twice_after_a_stop():
    ledger = Ledger(Budget(calls=6))
    metering = Metering(ledger, Prices())
    with Admission().run(metering.meter(Phase.ROLLOUT), 3) as seen:
        metering.stop()
        seen.append(llm_trace(("a", {})))
    assert ledger.spend.total.calls == 1


def test_the_first_run_is_made_alone():
    admission, meter = Admission(), Calls().meter
    order, begun, release = [], threading.Event(), threading.Event()

    def first():
        with admission.run(meter, 3) as seen:
            begun.set()
            assert release.wait(60)
            order.append("first")
            seen.append(llm_trace(("a", {})))

    def second():
        with admission.run(meter, 3):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    release.set()
    for thread in threads:
        thread.join(60)
    assert order == ["first", "second"]


def test_a_refusal_is_the_result_of_the_run():
    class Refuse:
        def admit(self, call):
            raise BudgetExhausted("no more")

    served = Served({"desk": desk()})
    ran = run_once(Assistant("desk", client=served.client), {"review": "good"}, meter=Refuse())
    assert isinstance(ran.error, BudgetExhausted)
    assert served.runs() == []


# What cannot be done


def test_context_and_configurable_together_are_refused_before_the_server_is_asked():
    served = Served({"desk": desk(), "legacy": legacy()})
    with pytest.raises(GraphError, match="'configurable' too"):
        run_once(Assistant("desk", client=served.client), {}, config={"configurable": {"a": 1}})
    with pytest.raises(GraphError, match="'context' too"):
        run_once(Assistant("legacy", client=served.client), {}, config={"context": {"a": 1}})
    assert served.runs() == []


def test_a_server_that_is_down_ends_the_optimisation_and_is_no_score():
    served = Served({"desk": desk()})
    target = Assistant("desk", client=served.client)

    def down(request):
        raise httpx.ConnectError("refused")

    def first_runs_only(request):
        return down(request) if request.url.path == "/runs/stream" else answer(request)

    answer = served.answer
    served.answer = first_runs_only
    with pytest.raises(GraphError, match=r"could not run the assistant: .*refused"):
        improve(target)
    served.answer = down
    with pytest.raises(GraphError, match="could not look for the assistant"):
        improve(target)


def test_which_assistant():
    served = Served({"desk": desk()})
    with pytest.raises(GraphError, match="has no graph 'none'"):
        optimize(Assistant(graph_id="none", client=served.client), evals())
    with pytest.raises(GraphError, match="not found"):
        optimize(Assistant("00000000-0000-0000-0000-0000000000ff", client=served.client), evals())
    other = served.create("desk")
    assert as_target(Assistant("desk", client=served.client))[0].name == "desk@00000000"
    served.now("00000000-0000-0000-0000-000000000001")["metadata"].clear()
    with pytest.raises(GraphError, match=f"several assistants: .*{other}"):
        optimize(Assistant("desk", client=served.client), evals())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "which assistant"),
        ({"assistant_id": "a"}, "one of the two"),
        ({"assistant_id": "a", "url": "http://x", "client": object()}, "one of the two"),
        ({"assistant_id": "a", "client": object()}, "get_sync_client"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with pytest.raises(GraphError, match=words):
        Assistant(**arguments)


def test_a_url_a_key_and_headers_become_a_client():
    assistant = Assistant("desk", url="http://127.0.0.1:9", api_key="k", headers={"x-tenant": "t"})
    http = assistant._server.client.http.client
    assert (http.headers["x-api-key"], http.headers["x-tenant"]) == ("k", "t")
    del assistant
    assert http.is_closed


def test_a_remote_graph_is_not_optimised_itself_but_its_assistant_is():
    served = Served({"desk": desk()})
    remote = RemoteGraph("desk", sync_client=served.client)
    with pytest.raises(GraphError, match=r"Assistant\.of\(remote_graph\)"):
        optimize(remote, evals())
    plan = optimize(Assistant.of(remote, fields=["tone"]), evals(), dry_run=True)
    assert [str(site) for site in plan.parameters] == ["context:tone/text"]
    bare = RemoteGraph("desk", client=get_client(url="http://127.0.0.1:9", api_key=None))
    with pytest.raises(GraphError, match="asynchronous client only"):
        Assistant.of(bare)


def test_a_remote_graph_that_is_a_node_is_recorded_as_a_node():
    served = Served({"desk": desk()})
    remote = RemoteGraph(served.create("desk"), sync_client=served.client)
    served.tell = lambda event, data: [(event, data)] if event == "values" else []

    def loud(state: State):
        return {"label": state["label"].upper()}

    graph = StateGraph(State).add_node("far", remote).add_node("loud", loud)
    graph = graph.add_edge(START, "far").add_edge("far", "loud").compile(name="near")
    with record() as recording:
        graph.invoke({"review": "a good one"})
    trace = recording.trace
    assert [(span.kind, span.name) for span in trace.spans] == [("graph", "near"), ("node", "far"), ("node", "loud")]
    assert trace.output()["label"] == "I THINK THIS IS POSITIVE, ALL IN ALL."
    assert ("s1.out.label", "s2.out.label", CONFIRMED) in [(e.source, e.target, e.weight) for e in trace.edges]


def test_the_graph_given_first_still_works():
    graph = worlds.three_nodes(worlds.review_model())
    target, start = as_target(graph)
    assert (target.name, target.state, start) == ("pages", "", {})
