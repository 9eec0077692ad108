"""Settings that are laid over calls of models and retrievers: which, where, and what is said of those that cannot be."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.graph import END, START, StateGraph

from tests.overlay.support import CountingMeter
from textgrad_lg.errors import TemplateError
from textgrad_lg.overlay import Replacement, Watch, bind, overlay
from textgrad_lg.overlay.settings import reads
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

TEMPERATURE = Site.parse("settings:ask/temperature")
K = Site.parse("settings:ask/k")


class State(TypedDict, total=False):
    question: str
    answer: Any


class Warm(ScriptedChatModel):
    temperature: float | None = 0.7


def laid(site, old, new):
    return {site: Replacement(Template(old), Template(new))}


def asking(model, name="ask", **options) -> Any:
    def node(state: State):
        return {"answer": model.invoke([SystemMessage("Be brief."), HumanMessage(state["question"])], **options).text}

    return graph_of(node, name)


def graph_of(node, name="ask") -> Any:
    graph = StateGraph(State)
    graph.add_node(name, node)
    graph.add_edge(START, name)
    graph.add_edge(name, END)
    return graph.compile()


def store():
    found = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    found.add_documents([Document(f"page {at}") for at in range(10)])
    return found


def retrieving(retriever, name="ask", **options) -> Any:
    return graph_of(lambda state: {"answer": len(retriever.invoke(state["question"], **options))}, name)


def model(**options):
    return Warm(replies=lambda _: "yes", **options)


class TestModels:
    def test_the_new_value_is_a_keyword_argument_of_the_call(self):
        warm = model()
        graph = asking(warm)
        with overlay(laid(TEMPERATURE, "0.7", "0.0")):
            graph.invoke({"question": "q"})
        graph.invoke({"question": "q"})
        assert [request.options for request in warm.requests] == [{"temperature": 0.0}, {}]

    @pytest.mark.filterwarnings("ignore:.*v3:langchain_core._api.beta_decorator.LangChainBetaWarning")
    async def test_in_every_way_of_calling(self):
        warm = model()

        async def node(state: State):
            told = [HumanMessage(state["question"])]
            warm.invoke(told)
            await warm.ainvoke(told)
            list(warm.stream(told))
            async for _ in warm.astream(told):
                pass
            list(warm.stream_events(told, version="v3"))
            async for _ in await warm.astream_events(told, version="v3"):
                pass
            return {"answer": ""}

        with overlay(laid(TEMPERATURE, "0.7", "0.0"), watch=Watch(frozenset({TEMPERATURE}))):
            await graph_of(node).ainvoke({"question": "q"})
        assert {request.options["temperature"] for request in warm.requests} == {0.0}
        assert len(warm.requests) == 6

    def test_only_at_its_node_and_its_agent(self):
        warm = model()
        with overlay(laid(TEMPERATURE, "0.7", "0.0")):
            asking(warm, "other").invoke({"question": "q"})
            warm.invoke("q")
        with overlay(laid(Site.parse("settings:ask[writer]/temperature"), "0.7", "0.0")):
            asking(warm).invoke({"question": "q"})
        assert [request.options for request in warm.requests] == [{}, {}, {}]

    def test_only_in_the_place_of_the_value_that_it_was_made_for(self):
        warm = model(temperature=0.2)
        with overlay(laid(TEMPERATURE, "0.7", "0.0")):
            asking(warm).invoke({"question": "q"})
            asking(warm, temperature=0.7).invoke({"question": "q"})
        assert [request.options for request in warm.requests] == [{}, {"temperature": 0.0}]

    def test_one_that_the_graph_does_not_set(self):
        warm = model(temperature=None)
        with overlay(laid(TEMPERATURE, "null", "0.5") | laid(Site.parse("settings:ask/top_p"), "null", "0.9")):
            asking(warm).invoke({"question": "q"})
        with overlay(laid(TEMPERATURE, "null", "null")):
            asking(warm).invoke({"question": "q"})
        assert [request.options for request in warm.requests] == [{"temperature": 0.5, "top_p": 0.9}, {}]

    def test_a_change_on_top_of_another(self):
        warm = model()
        graph = bind(asking(warm), lambda: laid(TEMPERATURE, "0.7", "0.5"))
        with overlay(laid(TEMPERATURE, "0.5", "0.1")):
            graph.invoke({"question": "q"})
        with overlay(laid(TEMPERATURE, "0.7", "0.2")):
            graph.invoke({"question": "q"})
        graph.invoke({"question": "q"})
        assert [request.options["temperature"] for request in warm.requests] == [0.1, 0.2, 0.5]

    def test_a_bound_graph_in_a_node_of_another(self):
        warm = model()
        inner = bind(asking(warm), lambda: laid(TEMPERATURE, "0.7", "0.0"))
        graph = StateGraph(State).add_node("outer", inner).add_edge(START, "outer").compile()
        graph.invoke({"question": "q"})  # pyright: ignore[reportArgumentType]
        assert warm.requests[0].options == {"temperature": 0.0}

    async def test_runs_side_by_side_stay_apart(self):
        warm = model()
        graph = asking(warm)

        async def run(value):
            with overlay(laid(TEMPERATURE, "0.7", value)):
                await asyncio.to_thread(graph.invoke, {"question": value})

        await asyncio.gather(*(run(f"0.{at}1") for at in range(1, 6)))
        assert {request.messages[-1].text: request.options for request in warm.requests} == {
            f"0.{at}1": {"temperature": float(f"0.{at}1")} for at in range(1, 6)
        }

    def test_the_meter_is_asked_about_the_model_that_is_laid(self):
        meter = CountingMeter()
        with overlay(laid(Site.parse("settings:ask/model"), '"small"', '"large"'), meter=meter):
            asking(model(model_name="small")).invoke({"question": "q"})
        assert [call.model for call in meter.admitted] == ["large"]

    def test_a_text_that_is_no_value(self):
        with (
            pytest.raises(TemplateError, match="'cold' is not the JSON of a value"),
            overlay(laid(TEMPERATURE, "0.7", "cold")),
        ):
            pass


class TestNotes:
    def noted(self, graph, *sites):
        watch = Watch(frozenset(map(Site.parse, sites)))
        with overlay({}, watch=watch):
            graph.invoke({"question": "q"})
        return list(watch.notes)

    def test_a_model_that_does_not_look_at_its_keyword_arguments(self):
        deaf = GenericFakeChatModel(messages=iter([AIMessage("yes")]))
        (note,) = self.noted(asking(deaf), "settings:ask/temperature")
        assert note.startswith(
            "settings:ask/temperature: the model GenericFakeChatModel does not read the keyword arguments"
        )

    def test_nothing_is_laid_on_it(self):
        class Strict(GenericFakeChatModel):
            def _generate(self, messages, stop=None, run_manager=None):  # pyright: ignore[reportIncompatibleMethodOverride]
                return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])

        with overlay(laid(TEMPERATURE, "null", "0.5")):
            assert asking(Strict(messages=iter([]))).invoke({"question": "q"})["answer"] == "yes"

    def test_a_name_that_the_model_does_not_know(self):
        (note,) = self.noted(asking(model()), "settings:ask/temprature")
        assert "the model Warm has no setting 'temprature'; it may have frequency_penalty, max_tokens" in note

    def test_a_retriever_that_takes_nothing(self):
        class Deaf(BaseRetriever):
            def _get_relevant_documents(self, query, *, run_manager):
                return []

        (note,) = self.noted(retrieving(Deaf()), "settings:ask/k")
        assert "the retriever Deaf does not read the keyword arguments of a call and has no field 'k'" in note

    def test_a_name_that_the_retriever_does_not_know(self):
        (note,) = self.noted(retrieving(store().as_retriever()), "settings:ask/temperature")
        assert "the retriever VectorStoreRetriever has no setting 'temperature'; it may have fetch_k, k" in note

    def test_an_argument_of_its_own_is_looked_at_and_code_that_cannot_be_read_may_look(self):
        assert reads(lambda messages, temperature=1: None, "temperature")
        assert not reads(lambda messages: None, "temperature")
        assert not reads(lambda messages, **kwargs: None, "temperature")
        assert reads(lambda messages, *args, **kwargs: [kwargs for _ in args], "temperature")
        assert reads(print, "temperature")

    def test_what_can_be_laid_is_not_noted(self):
        assert self.noted(asking(model()), "settings:ask/temperature", "settings:ask/seed") == []


class TestRetrievers:
    @pytest.mark.parametrize("own", [{"search_kwargs": {"k": 2}}, {"search_kwargs": {"k": 2, "fetch_k": 9}}])
    def test_k_of_a_vector_store(self, own):
        graph = retrieving(store().as_retriever(**own))
        with overlay(laid(K, "2", "5")):
            assert graph.invoke({"question": "q"})["answer"] == 5
        assert graph.invoke({"question": "q"})["answer"] == 2

    def test_one_that_is_not_set_or_is_given_in_the_call(self):
        unset, given = retrieving(store().as_retriever()), retrieving(store().as_retriever(), k=3)
        with overlay(laid(K, "null", "6")):
            assert [graph.invoke({"question": "q"})["answer"] for graph in (unset, given)] == [6, 3]
        with overlay(laid(K, "3", "7")):
            assert [graph.invoke({"question": "q"})["answer"] for graph in (unset, given)] == [4, 7]

    async def test_async(self):
        retriever = store().as_retriever()

        async def node(state: State):
            return {"answer": len(await retriever.ainvoke(state["question"]))}

        with overlay(laid(K, "null", "5")):
            assert (await graph_of(node).ainvoke({"question": "q"}))["answer"] == 5

    def test_one_that_has_it_as_a_field(self):
        class Fixed(BaseRetriever):
            k: int = 4

            def _get_relevant_documents(self, query, *, run_manager):
                return [Document("page")] * self.k

        retriever = Fixed()
        with overlay(laid(K, "4", "2")):
            assert retrieving(retriever).invoke({"question": "q"})["answer"] == 2
        assert retriever.k == 4

    def test_only_at_its_node(self):
        with overlay(laid(K, "null", "5")):
            assert retrieving(store().as_retriever(), "other").invoke({"question": "q"})["answer"] == 4

    def test_the_patch_is_on_only_while_a_setting_is_in_force(self):
        before = BaseRetriever.invoke, BaseRetriever.ainvoke
        with overlay({}):
            assert (BaseRetriever.invoke, BaseRetriever.ainvoke) == before
            with overlay(laid(K, "null", "5")):
                assert BaseRetriever.invoke is not before[0]
                with overlay({}):
                    assert retrieving(store().as_retriever()).invoke({"question": "q"})["answer"] == 4
        assert (BaseRetriever.invoke, BaseRetriever.ainvoke) == before
