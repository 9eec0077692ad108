"""Settings in a Trace, and which of them are Parameters."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.func import entrypoint, task

from tests.autograd.parts import parts
from tests.overlay.test_settings import State, graph_of, model, retrieving, store
from textgrad_lg import Choice, Real, Score, Setting, Strategy, Trace, Whole, backward, seed
from textgrad_lg.overlay import Replacement, Watch, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import discover, record
from textgrad_lg.record.settings import check_reached, with_context
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

TEMPERATURE = Site.parse("settings:ask/temperature")
K = Site.parse("settings:ask/k")
HELD = Site.parse("settings:search/depth")
DOMAINS = {TEMPERATURE: Real(0, 1), K: Whole(1, 9)}


@contextmanager
def watched(texts=None, sites=DOMAINS):
    watch = Watch(frozenset(sites))
    with record(ids=lambda: "0" * 32) as recording, overlay(texts or {}, watch=watch):
        yield recording


def run(graph, texts=None, sites=DOMAINS):
    with watched(texts, sites) as recording:
        graph.invoke({"question": "q"})
    return recording.trace


def asking(chat, *more) -> Any:
    def node(state: State):
        told = [SystemMessage("Be brief and to the point."), HumanMessage(state["question"], id="q")]
        replies = [at.invoke(told).text for at in (chat, *more)]
        return {"answer": replies[0]}

    return graph_of(node)


def settings_in(trace):
    return [(at.id, at.value, at.role) for at in trace.variables if at.site is not None and at.site.is_setting]


def edges_of(trace, name):
    return [(edge.target, edge.weight, edge.via) for edge in trace.edges if edge.source == name]


class TestTraces:
    def test_a_model_call_has_its_settings(self):
        trace = run(asking(model()))
        assert settings_in(trace) == snapshot([("s2.temperature", "0.7", "temperature of the model at `ask`")])
        assert edges_of(trace, "s2.temperature") == [("s2.out", 1.0, "control")]
        assert Trace.from_json(trace.to_json()) == trace

    def test_those_that_were_laid(self):
        texts = {TEMPERATURE: Replacement(Template("0.7"), Template("0.1"))}
        assert settings_in(run(asking(model()), texts))[0][1] == "0.1"

    def test_a_retrieval_has_its_settings(self):
        trace = run(retrieving(store().as_retriever(search_kwargs={"k": 3})))
        assert settings_in(trace) == snapshot([("s2.k", "3", "k of the retriever at `ask`")])
        assert edges_of(trace, "s2.k") == [("s2.out", 1.0, "control")]

    def test_a_call_that_fails_was_made_with_them_too(self):
        def fail(_):
            raise ZeroDivisionError

        chat = ScriptedChatModel(replies=fail)
        with pytest.raises(ZeroDivisionError), watched() as recording:
            asking(chat).invoke({"question": "q"})
        assert settings_in(recording.trace) == [("s2.temperature", "null", "temperature of the model at `ask`")]

    def test_nothing_is_added_where_nobody_watches(self):
        with record() as recording:
            asking(model()).invoke({"question": "q"})
        assert settings_in(recording.trace) == []

    def test_a_call_inside_a_retriever_does_not_have_the_settings_of_the_retriever(self):
        chat = model()

        class Asking(type(store().as_retriever())):
            def _get_relevant_documents(self, query, *, run_manager, **kwargs):
                chat.invoke([HumanMessage(query)], {"callbacks": run_manager.get_child()})
                return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

        graph = retrieving(Asking(vectorstore=store()))
        assert [name for name, _, _ in settings_in(run(graph, sites={K}))] == ["s2.k"]
        trace = run(graph)
        kinds = {span.id: span.kind for span in trace.spans}
        assert [(kinds[name.split(".")[0]], name.split(".")[1]) for name, _, _ in settings_in(trace)] == snapshot(
            [("retriever", "k"), ("llm", "temperature")]
        )

    def test_a_setting_of_the_context_is_linked_to_the_output(self):
        site = Site.parse("context:style/text")
        trace = with_context(run(asking(model())), {site: '"short"'})
        first = trace.variables[0]
        assert (first.id, first.value, first.site) == ("s0.context:style/text", '"short"', site)
        assert edges_of(trace, first.id) == [(output, 0.1, "control") for output in trace.outputs.values()]
        assert Trace.from_json(trace.to_json()) == trace


class TestHandles:
    DEPTH = Setting("search/depth", 2, Whole(1, 5))

    def test_what_its_node_makes_depends_on_it(self):
        trace = run(graph_of(lambda _: {"answer": self.DEPTH.value}), sites=())
        assert settings_in(trace) == snapshot([("s1.setting", "2", "setting depth of `search`")])
        assert edges_of(trace, "s1.setting") == [("s1.out.answer", 0.1, "control")]
        assert Trace.from_json(trace.to_json()) == trace

    def test_it_is_a_parameter_with_its_own_domain(self):
        found = discover([run(graph_of(lambda _: {"answer": self.DEPTH.value}), sites=())])
        assert found.trainable == (HELD,)
        assert found.parameters[HELD] == Template("2")
        assert found.domains == {HELD: Whole(1, 5)}
        assert discover([run(graph_of(lambda _: {"answer": self.DEPTH.value}))], only=["settings:*"]).trainable == (
            HELD,
        )

    def test_what_is_read_twice_in_a_node_is_there_once(self):
        inner = RunnableLambda(lambda _: self.DEPTH.value)
        trace = run(graph_of(lambda state: {"answer": self.DEPTH.value + inner.invoke("q")}))
        assert len(settings_in(trace)) == 1

    def test_in_a_tool(self):
        @tool
        def look(query: str) -> str:
            """Look."""
            return "page" * self.DEPTH.value

        trace = run(graph_of(lambda state: {"answer": look.invoke(state["question"])}))
        ((name, _, _),) = settings_in(trace)
        assert edges_of(trace, name) == [("s2.out", 0.1, "control")]

    def test_in_a_task(self):
        @task
        def look(query: str) -> int:
            return self.DEPTH.value + self.DEPTH.value

        @entrypoint()
        def flow(query: str) -> int:
            return look(query).result()

        with record() as recording:
            flow.invoke("q")
        ((name, _, _),) = settings_in(recording.trace)
        assert [via for _, _, via in edges_of(recording.trace, name)] == ["control"]


class TestDiscovery:
    def test_a_declared_setting_is_trainable_whatever_else_is(self):
        traces = [run(asking(model()))]
        found = discover(traces, domains=DOMAINS)
        assert [str(site) for site in found.trainable] == ["ask/system", "settings:ask/temperature"]
        assert [str(site) for site in discover(traces, domains=DOMAINS, only=["ask"]).trainable] == [
            "ask/system",
            "settings:ask/temperature",
        ]
        assert found.domains == {TEMPERATURE: Real(0, 1)}

    def test_its_variables_say_what_they_may_be(self):
        trace = run(asking(model()))
        labelled = discover([trace], domains=DOMAINS).label(trace)
        (found,) = [at for at in labelled.variables if at.site == TEMPERATURE]
        assert found.requires_grad
        assert found.role == "temperature of the model at `ask`: a number from 0 to 1"
        assert discover([trace], domains=DOMAINS).label(labelled) == labelled

    def test_one_that_has_no_domain_is_frozen(self):
        trace = run(asking(model()))
        labelled = discover([trace]).label(trace)
        assert [at.requires_grad for at in labelled.variables if at.site == TEMPERATURE] == [False]

    def test_calls_with_different_values(self):
        trace = run(asking(model(), model(temperature=0.2)))
        found = discover([trace], domains=DOMAINS)
        assert found.parameters[TEMPERATURE] == Template("0.7")
        assert any("different values, 0.7 and 0.2; only those with 0.7 are changed" in at for at in found.warnings)
        trained = [at.value for at in found.label(trace).variables if at.site == TEMPERATURE and at.requires_grad]
        assert trained == ["0.7"]

    def test_a_place_that_only_later_runs_reach(self):
        found = discover([run(asking(model()))], domains=DOMAINS)
        more = found.extend([run(retrieving(store().as_retriever()))])
        assert K in more.trainable
        assert more.domains == DOMAINS
        assert more.parameters[K] == Template("null")

    def test_a_note_of_another_kind_of_call_is_no_error_where_the_setting_was_met(self):
        retriever, chat = store().as_retriever(), model()
        graph = graph_of(lambda _: {"answer": (retriever.invoke("q"), chat.invoke("q"))[1].text})
        trace = run(graph)
        assert check_reached([trace], DOMAINS, ["ask"]) == ()


class TestGradients:
    async def test_feedback_on_a_setting_is_about_this_text(self):
        def critic(messages):
            return {"about_this": [{"id": "P2", "feedback": "Lower it."}], "about_inputs": []}

        chat = ScriptedChatModel(replies=critic)
        trace = run(asking(model()))
        labelled = seed(discover([trace], domains=DOMAINS).label(trace), [Score("right", 0.0, "too wild")])
        found = await backward(labelled, chat, strategy=Strategy.CHAIN)
        assert [(str(g.site), g.text) for g in found.items if g.site is not None] == [
            ("settings:ask/temperature", "Lower it.")
        ]
        shown = parts(chat.requests[0])
        assert shown["P2: temperature of the model at `ask`: a number from 0 to 1"] == "0.7"
        request = chat.requests[0].messages[-1].text
        assert "Not prompts but settings are: P2. Of a setting, say which value it should have." in request

    async def test_feedback_on_the_k_of_a_retriever(self):
        def critic(messages):
            return {"feedback": [{"id": "P1", "feedback": "Fetch more."}]}

        trace = run(retrieving(store().as_retriever()))
        labelled = seed(discover([trace], domains=DOMAINS).label(trace), [Score("right", 0.0, "a page is missing")])
        found = await backward(labelled, ScriptedChatModel(replies=critic), strategy=Strategy.CHAIN)
        assert [(str(g.site), g.text) for g in found.items if g.site is not None] == [("settings:ask/k", "Fetch more.")]

    async def test_the_structural_pass_reaches_prompt_and_setting_alike(self):
        trace = run(asking(model()))
        labelled = seed(discover([trace], domains=DOMAINS).label(trace), [Score("right", 0.0, "too wild")])
        found = await backward(labelled, strategy=Strategy.STRUCTURAL)
        assert sorted(map(str, found.parameters())) == ["ask/system", "settings:ask/temperature"]


def test_a_domain_with_texts_is_told_by_a_handle():
    style = Setting("write/style", "plain", Choice(["plain", "rich"]))
    found = discover([run(graph_of(lambda _: {"answer": style.value}))])
    assert found.domains == {style.site: Choice(["plain", "rich"])}
    assert found.parameters[style.site] == Template('"plain"')
