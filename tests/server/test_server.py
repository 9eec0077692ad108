"""Deployed graphs against a real LangGraph Server. Not in the default suite: `make test-server` runs it."""

from __future__ import annotations

import time

import pytest
from httpx import HTTPStatusError
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from typing_extensions import TypedDict

from textgrad_lg import Evals, MemoryRegistry, Settings, SQLiteRegistry, Template, optimize
from textgrad_lg.errors import BudgetTooSmall, GraphError, NoPromptFound, UnknownPrice, VersionConflict
from textgrad_lg.events import ExampleScored
from textgrad_lg.record import record
from textgrad_lg.registry import NewVersion
from textgrad_lg.trace import CONFIRMED
from textgrad_lg.types import SpanKind
from textgrad_lg_integrations.langgraph_server import Assistant

pytestmark = pytest.mark.loopback

WANTED = "Reply with the label alone."
OWN = "You label film reviews for the front page."
SETTINGS = Settings(steps=1, batch=4, concurrency=4)


def told(outputs, reference_outputs):
    return outputs["label"] == reference_outputs["label"], WANTED


def reviews(count=28):
    return [
        {
            "inputs": {"review": f"{'good' if at % 2 else 'bad'} film {at}"},
            "reference_outputs": {"label": "positive" if at % 2 else "negative"},
        }
        for at in range(count)
    ]


def evals(count=28):
    return Evals(reviews(count), [told])


def create(client, graph="desk", **fields):
    return client.assistants.create(graph, name="under test", **fields)["assistant_id"]


def context(client, assistant):
    return client.assistants.get(assistant)["context"]


def versions(client, assistant):
    return [item["version"] for item in client.assistants.get_versions(assistant)]


def ask(client, assistant, review="a good one"):
    return client.runs.wait(None, assistant, input={"review": review})["label"]


def improve(assistant, **options):
    events = []
    options = {"settings": SETTINGS, "registry": MemoryRegistry(), "callbacks": [events.append]} | options
    return optimize(assistant, evals(), **options), events


@pytest.mark.parametrize("given", [{"tone": "mild"}, {"system_prompt": "You label reviews of films.", "tone": "mild"}])
def test_a_deployed_assistant_is_made_better_published_and_rolled_back(client, given):
    assistant = create(client, context=given)
    result, _ = improve(Assistant(assistant, client=client))
    assert (result.test.before, result.test.after) == (0.0, 1.0)
    assert result.improved
    assert [str(site) for site in result.texts] == ["context:system_prompt/text"]

    # A plain client of the SDK sees a new version, with the whole context and where it came from.
    now = client.assistants.get(assistant)
    assert now["version"] == 2
    assert now["context"]["tone"] == "mild"
    assert WANTED in now["context"]["system_prompt"]
    assert now["metadata"]["textgrad_lg_run"] == result.run
    assert ask(client, assistant) == "positive"
    assert result.graph.invoke({"review": "a bad one"})["label"] == "negative"

    result.rollback()
    assert context(client, assistant) == given
    assert versions(client, assistant) == [3, 2, 1]
    assert ask(client, assistant).startswith("I think")
    assert result.graph.invoke({"review": "a bad one"})["label"].startswith("I think")


def test_a_graph_without_a_context_schema_is_given_its_texts_in_configurable(client):
    config = {"configurable": {"instructions": "You label film reviews by the book."}, "tags": ["kept"]}
    assistant = create(client, "legacy", config=config)
    result, _ = improve(Assistant(assistant, client=client))
    assert [str(site) for site in result.texts] == ["context:instructions/text"]
    now = client.assistants.get(assistant)["config"]
    assert WANTED in now["configurable"]["instructions"]
    assert now["tags"] == ["kept"]
    assert ask(client, assistant) == "positive"
    result.rollback()
    assert client.assistants.get(assistant)["config"] == config


def test_candidates_are_run_without_being_published(client):
    assistant = create(client, context={})
    seen = set()

    def look(event):
        if isinstance(event, ExampleScored):
            seen.add((client.assistants.get(assistant)["version"], event.candidate == "original"))

    improve(Assistant(assistant, client=client), callbacks=[look])
    assert seen == {(1, True), (1, False)}


def test_a_dry_run_shows_the_fields_and_runs_nothing(client):
    plan = optimize(Assistant("desk", client=client), evals(), dry_run=True)
    assert {str(site): template.text for site, template in plan.parameters.items()} == {
        "context:system_prompt/text": OWN
    }
    assert any("tone" in warning for warning in plan.warnings)
    chosen = optimize(Assistant(graph_id="desk", client=client), evals(), dry_run=True, optimize_only=["tone"])
    assert "context:tone/text" in str(chosen)


def test_the_trace_of_a_run_has_graph_nodes_calls_tools_and_the_texts_of_the_context(client):
    assistant = create(client, "shop", context={"system_prompt": "You greet whoever comes in.", "tone": "warm"})
    traces = []

    def note(event):
        if isinstance(event, ExampleScored):
            traces.append((event.trace, event.scores))

    def answers(outputs, reference_outputs):
        assert all(hasattr(message, "text") for message in outputs["messages"])  # as they are in a local graph
        return outputs["messages"][-1].text == "tea costs 3 coins"

    data = [
        {"inputs": {"messages": [{"role": "user", "content": f"tea {at}?"}]}, "reference_outputs": {}}
        for at in range(9)
    ]
    optimize(
        Assistant(assistant, client=client, fields=["system_prompt", "tone"]),
        Evals(data, [answers]),
        settings=SETTINGS,
        registry=MemoryRegistry(),
        callbacks=[note],
    )
    trace, scores = traces[0]
    assert scores[0].value == 1.0
    assert [(span.kind, span.path) for span in trace.spans if span.kind != SpanKind.FUNCTION] == [
        ("graph", ()),
        ("node", ("greet",)),
        ("llm", ("greet",)),
        ("node", ("clerk",)),
        ("graph", ("clerk",)),
        ("node", ("clerk", "model")),
        ("llm", ("clerk", "model")),
        ("node", ("clerk", "tools")),
        ("tool", ("clerk", "tools")),
        ("node", ("clerk", "model")),
        ("llm", ("clerk", "model")),
    ]
    greeting = next(span for span in trace.spans if span.kind == "llm")
    assert greeting.attributes["input_tokens"]
    used = {edge.source: (edge.span, edge.weight) for edge in trace.edges if edge.source.startswith("context.")}
    assert used == {"context.system_prompt": (greeting.id, CONFIRMED), "context.tone": (greeting.id, CONFIRMED)}
    assert any(edge.via == "tool-call-id" for edge in trace.edges)


def test_what_the_graph_raises_is_a_result_of_the_run(client):
    data = [*reviews(20), *({"inputs": {"review": "explode"}, "reference_outputs": {"label": "x"}} for _ in range(1))]
    result = optimize(
        Assistant(create(client), client=client), Evals(data, [told]), settings=SETTINGS, registry=MemoryRegistry()
    )
    raised = set(result.raised.values())
    assert raised <= {"RemoteException: ValueError: this review cannot be judged"}


def test_calls_are_counted_as_they_were_and_the_budget_holds(client):
    assistant = create(client)
    result, _ = improve(Assistant(assistant, client=client), budget="150 calls")
    total = result.spend.total
    assert 0 < total.calls <= 150
    assert total.input_tokens > total.calls
    assert result.spend.unpriced == ("double",)
    with pytest.raises(BudgetTooSmall):
        improve(Assistant(assistant, client=client), budget="10 calls")
    with pytest.raises(UnknownPrice, match="model="):
        improve(Assistant(assistant, client=client), budget="$1")


def test_a_version_that_somebody_else_made_meanwhile_is_not_overwritten(client):
    assistant = create(client, context={"tone": "mild"})
    theirs = {"system_prompt": "Somebody else's.", "tone": "harsh"}
    done = []

    def interfere(event):
        if isinstance(event, ExampleScored) and event.phase == "test" and not done:
            done.append(client.assistants.update(assistant, context=theirs))

    registry = MemoryRegistry()
    result, _ = improve(Assistant(assistant, client=client), callbacks=[interfere], registry=registry)
    assert result.improved
    assert not result.published
    assert "another writer was faster" in result.reason
    assert context(client, assistant) == theirs
    assert versions(client, assistant) == [2, 1]
    assert all("production" not in registry.labels(name) for name in registry.names())


def test_a_rollback_over_somebody_elses_version_is_refused_and_changes_nothing(client):
    assistant = create(client)
    registry = MemoryRegistry()
    result, _ = improve(Assistant(assistant, client=client), registry=registry)
    theirs = {"system_prompt": "Somebody else's."}
    client.assistants.update(assistant, context=theirs)
    with pytest.raises(VersionConflict, match="version 3"):
        result.rollback()
    assert context(client, assistant) == theirs
    assert {name: registry.labels(name)["production"] for name in result.published} == dict(result.published)


def test_an_old_version_is_restored_as_a_new_one(client):
    assistant = create(client, context={"system_prompt": "The first.", "tone": "a"})
    client.assistants.update(assistant, context={"system_prompt": "The second."})
    assert Assistant(assistant, client=client).restore(1) == 3
    assert context(client, assistant) == {"system_prompt": "The first.", "tone": "a"}
    with pytest.raises(GraphError, match="no version 9"):
        Assistant(assistant, client=client).restore(9)


def test_the_registrys_texts_can_be_published_from_another_process(client):
    assistant = create(client)
    registry = MemoryRegistry()
    result, _ = improve(Assistant(assistant, client=client), registry=registry)
    result.rollback()
    registry.move("production", result.published, expect=dict.fromkeys(result.published, 1))
    assert Assistant(assistant, client=client).publish(registry) == 4
    assert ask(client, assistant) == "positive"


def test_the_server_refuses_context_and_configurable_together_and_so_do_we_before_it_is_asked(client):
    assistant = create(client)
    with pytest.raises(HTTPStatusError, match="400"):
        client.runs.wait(None, assistant, input={}, context={"tone": "a"}, config={"configurable": {"b": "c"}})
    with pytest.raises(GraphError, match="'configurable' too"):
        improve(Assistant(assistant, client=client), config={"configurable": {"b": "c"}})
    improve(Assistant(assistant, client=client), config={"context": {"tone": "odd"}, "recursion_limit": 7})


def test_what_cannot_be_an_assistant(server, client):
    with pytest.raises(GraphError, match="Graph 'none' not found"):
        optimize(Assistant("none", url=server.url), evals(), dry_run=True)
    with pytest.raises(GraphError, match="could not read the assistant"):
        optimize(Assistant("00000000-0000-0000-0000-000000000000", url=server.url), evals(), dry_run=True)
    with pytest.raises(NoPromptFound, match="attach"):
        optimize(Assistant("attached", url=server.url), evals(), dry_run=True)


def test_a_remote_graph(server, client):
    assistant = create(client)
    remote = RemoteGraph(assistant, sync_client=client)
    with pytest.raises(GraphError, match=r"Assistant\.of"):
        optimize(remote, evals())
    plan = optimize(Assistant.of(remote), evals(), dry_run=True)
    assert [str(site) for site in plan.parameters] == ["context:system_prompt/text"]


def test_a_remote_graph_as_a_node_of_a_local_one_is_recorded_as_a_node(server, client):
    class State(TypedDict, total=False):
        review: str
        label: str

    remote = RemoteGraph(create(client), sync_client=client)
    graph = StateGraph(State).add_node("far", remote).add_edge(START, "far").compile()
    with record() as recording:
        graph.invoke({"review": "a good one"})
    assert ("node", "far") in [(span.kind, span.name) for span in recording.trace.spans]
    assert str(recording.trace.output()["label"]).startswith("I think this is positive")


@pytest.mark.parametrize("graph", ["attached", "made"])
def test_a_served_graph_that_reads_no_context_picks_up_a_new_version_without_a_restart(server, client, graph):
    registry = SQLiteRegistry(server.home / "registry.sqlite3")
    name = f"{graph}:judge/system"
    own = Template("You label film reviews and nothing tells you how.")
    assert ask(client, graph).startswith("I think")
    registry.commit([NewVersion(name, own)], label="own", expect={name: None})
    registry.commit([NewVersion(name, Template(WANTED), parent=1)], label="production", expect={name: None})
    until = time.monotonic() + 30
    while ask(client, graph) != "positive":
        assert time.monotonic() < until
    registry.rollback("production", [name])
    while ask(client, graph) == "positive":
        assert time.monotonic() < until


def test_messages_come_back_as_messages(client):
    assistant = create(client, "shop")
    remote = RemoteGraph(assistant, sync_client=client)
    assert isinstance(remote.invoke({"messages": [{"role": "user", "content": "tea?"}]})["messages"][-1], dict)
    result = optimize(
        Assistant(assistant, client=client, fields=["system_prompt"]),
        Evals(
            [
                {"inputs": {"messages": [{"role": "user", "content": f"{at}?"}]}, "reference_outputs": {}}
                for at in range(9)
            ],
            [lambda outputs: isinstance(outputs["messages"][-1], AIMessage)],
        ),
        settings=SETTINGS,
        registry=MemoryRegistry(),
    )
    assert result.validation is None
    assert not result.unjudged
    assert "no edit passed" in result.reason
