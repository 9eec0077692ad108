"""Settings as Parameters, end to end: graphs that only another temperature, k or model puts right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from textgrad_lg import (
    TGD,
    Choice,
    Evals,
    MemoryRegistry,
    Prompt,
    Real,
    Setting,
    Settings,
    Whole,
    from_registry,
    optimize,
)
from textgrad_lg.errors import DiscoveryError, DomainError, GraphError, UnknownParameter
from textgrad_lg.optim import Joint, Momentum
from textgrad_lg.testing import ScriptedChatModel

PROMPT = "You answer the question that you are asked."


class State(TypedDict, total=False):
    question: str
    answer: str
    pages: list[str]


class Touchy(ScriptedChatModel):
    """Is right only with the right options."""

    temperature: float | None = 0.7
    right: Any = None

    def _message(self, messages, options):
        super()._message(messages, options)
        given = messages[-1].text
        own = {"temperature": self.temperature, "model": self.model_name}
        usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return AIMessage(given.upper() if self.right({**own, **options}) else "not sure", usage_metadata=usage)


def touchy(right, **options):
    return Touchy(replies=lambda _: "", right=right, **options)


def one_node(node, name="classify", **options) -> Any:
    graph = StateGraph(State, **options)
    graph.add_node(name, node)
    graph.add_edge(START, name)
    graph.add_edge(name, END)
    return graph.compile(name="touchy")


def classifying(model) -> Any:
    def node(state: State):
        return {"answer": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"], id="q")]).text}

    return one_node(node)


class Near(Embeddings):
    """Puts pages on a line, so that the pages nearest to a question come in their order."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        return [1.0, float(text.rpartition(" ")[2]) / 10]


def retriever(**options):
    store = InMemoryVectorStore(Near())
    store.add_documents([Document(f"page {at}") for at in range(8)])
    return store.as_retriever(**options)


def retrieving(found) -> Any:
    def retrieve(state: State):
        return {"pages": [page.page_content for page in found.invoke("question 0")]}

    def write(state: State):
        return {"answer": f"{state['question']} " + ", ".join(state["pages"])}

    graph = StateGraph(State).add_node("retrieve", retrieve).add_node("write", write)
    return graph.add_edge(START, "retrieve").add_edge("retrieve", "write").add_edge("write", END).compile(name="pages")


def loud(question):
    return question.upper()


def three_pages(question):
    return f"{question} page 0, page 1, page 2"


def evals(want=loud, count=20):
    def right(outputs, reference_outputs):
        return outputs.get("answer") == reference_outputs["answer"], f"wanted {reference_outputs['answer']}"

    questions = [f"question {at}" for at in range(count)]
    return Evals([{"inputs": {"question": q}, "reference_outputs": {"answer": want(q)}} for q in questions], [right])


def run(graph, domains, want=loud, **options):
    options = {"optimizer": TGD(proposers=()), "registry": MemoryRegistry(), "budget": "3000 calls", **options}
    settings = Settings(strategy="structural", seed=1, batch=4, **options.pop("settings", {}))  # pyright: ignore[reportArgumentType]
    return optimize(graph, evals(want), domains=domains, settings=settings, **options)


class TestOneSettingAlone:
    @pytest.mark.parametrize("optimizer", [TGD(proposers=()), Momentum(), Joint(), None])
    def test_a_temperature(self, optimizer):
        critic = ScriptedChatModel(
            replies=lambda _: {"alternatives": [], "plans": [], "about_this": [], "about_inputs": []}
        )
        model = touchy(lambda options: options["temperature"] == 0)
        graph = classifying(model)
        registry = MemoryRegistry()
        domains = {"settings:classify/temperature": Real(0, 1)}
        result = run(graph, domains, optimizer=optimizer, registry=registry, model=critic)
        assert result.improved
        assert "settings:classify/temperature" in result.diff()
        assert "-0.7\n+0.0" in result.diff()
        assert result.graph.invoke({"question": "q"})["answer"] == "Q"
        assert from_registry(graph, registry).invoke({"question": "q"})["answer"] == "Q"
        assert graph.invoke({"question": "q"})["answer"] == "not sure"
        result.rollback()
        assert result.graph.invoke({"question": "q"})["answer"] == "not sure"

    def test_the_k_of_a_retriever(self):
        found = retriever(search_kwargs={"k": 2})
        graph = retrieving(found)
        result = run(graph, {"settings:retrieve/k": Whole(1, 6)}, three_pages)
        assert result.improved
        assert result.graph.invoke({"question": "q"})["answer"] == three_pages("q")
        assert found.search_kwargs == {"k": 2}

    def test_a_model(self):
        model = touchy(lambda options: options["model"] == "large", model_name="small")
        result = run(classifying(model), {"settings:classify/model": Choice(["small", "tiny", "large"])})
        assert result.improved
        assert '-"small"\n+"large"' in result.diff()
        assert result.graph.invoke({"question": "q"})["answer"] == "Q"

    def test_one_that_the_graph_does_not_set(self):
        model = touchy(lambda options: options.get("top_p") == 0.5)
        result = run(classifying(model), {"settings:classify/top_p": Real(0, 1)})
        assert result.improved
        assert "-null\n+0.5" in result.diff()

    def test_one_of_the_context(self):
        @dataclass
        class Context:
            style: str = "soft"
            other: int = 1

        def node(state: State, runtime: Runtime[Context]):
            style = runtime.context.style if runtime.context else "none"
            return {"answer": state["question"].upper() if style == "loud" else style}

        graph = one_node(node, context_schema=Context)
        result = run(graph, {"context:style": Choice(["soft", "flat", "loud"])}, config={"context": {"other": 2}})
        assert result.improved
        given: Any = {"question": "q"}
        assert result.graph.invoke(given, context={"other": 3})["answer"] == "Q"
        assert result.graph.invoke(given, context=Context())["answer"] == "Q"
        # What a caller decides otherwise, or leaves out altogether, stays as it is.
        assert result.graph.invoke(given, context={"style": "flat"})["answer"] == "flat"
        assert result.graph.invoke(given)["answer"] == "none"

    def test_one_of_the_configurable(self):
        def node(state: State, config):
            return {"answer": state["question"].upper() if config["configurable"]["depth"] == 3 else "shallow"}

        graph = one_node(node)
        result = run(graph, {"context:depth": Whole(1, 5)}, config={"configurable": {"depth": 1}})
        assert result.improved
        assert result.graph.invoke({"question": "q"}, {"configurable": {"depth": 1}})["answer"] == "Q"

    @pytest.mark.parametrize("domains", [{}, {"settings:pages/k": Whole(2, 4)}])
    def test_one_that_a_handle_holds(self, domains):
        k = Setting("pages/k", 2, Whole(1, 6))

        def retrieve(state: State):
            found = retriever().vectorstore.similarity_search("question 0", k=k.value)
            return {"answer": f"{state['question']} " + ", ".join(page.page_content for page in found)}

        graph = one_node(retrieve, "search")
        result = run(graph, domains, three_pages)
        assert result.improved
        assert result.graph.invoke({"question": "q"})["answer"] == three_pages("q")
        assert k.value == 2


class TestARun:
    def test_what_the_changed_setting_does_not_reach_is_not_run_again(self):
        model = touchy(lambda options: options["temperature"] == 0)

        def route(state: State):
            return "classify" if "3" in state["question"] else "plain"

        def classify(state: State):
            return {"answer": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"], id="q")]).text}

        ran = []

        def plain(state: State):
            ran.append(state["question"])
            return {"answer": "as it is"}

        graph = StateGraph(State).add_node(classify).add_node(plain)
        graph.add_conditional_edges(START, route, ["classify", "plain"])
        graph.add_edge("classify", END).add_edge("plain", END)
        run(graph.compile(name="routed"), {"settings:classify/temperature": Real(0, 1)})
        assert len(ran) == len(set(ran))

    def test_a_run_that_goes_on_asks_nothing_twice(self, tmp_path):
        model = touchy(lambda options: options["temperature"] == 0)
        graph, domains = classifying(model), {"settings:classify/temperature": Real(0, 1)}
        first = run(graph, domains, run_dir=tmp_path / "run")
        asked = len(model.requests)
        again = run(graph, domains, run_dir=tmp_path / "run")
        assert len(model.requests) == asked
        assert again.diff() == first.diff()

    def test_a_bound_graph_goes_on_from_where_it_is(self):
        model = touchy(lambda options: {0.9: 1, 1.0: 1}.get(options["temperature"], 0))
        graph, domains = classifying(model), {"settings:classify/temperature": Real(0, 1)}
        registry = MemoryRegistry()
        first = run(graph, domains, registry=registry)
        assert first.improved
        again = run(first.graph, domains, registry=registry)
        assert not again.improved
        assert again.graph.invoke({"question": "q"})["answer"] == "Q"

    def test_prompts_change_as_they_did_and_settings_only_if_they_are_named(self):
        model = touchy(lambda options: options["temperature"] == 0)
        result = run(classifying(model), {})
        assert not result.improved
        assert {request.options.get("temperature") for request in model.requests} == {None}

    def test_only_settings(self):
        seen = []

        class Seen:
            def __call__(self, event):
                seen.append(event)

        model = touchy(lambda options: options["temperature"] == 0)
        run(
            classifying(model),
            {"settings:classify/temperature": Real(0, 1)},
            optimize_only=["settings:*"],
            callbacks=[Seen()],
        )
        (found,) = [event for event in seen if type(event).__name__ == "Discovered"]
        assert list(map(str, found.trainable)) == ["settings:classify/temperature"]

    def test_a_handle_is_left_alone_where_it_is_not_among_those_that_are_named(self):
        prompt, warmth = Prompt("judge", PROMPT), Setting("judge/warmth", 0.5, Real(0, 1))

        def node(state: State):
            return {"answer": "Q" if warmth.value == 0 else str(prompt)}

        result = run(one_node(node), {}, optimize_only=["judge"])
        assert not result.improved


class TestBadInput:
    def graph(self):
        return classifying(touchy(lambda _: False))

    @pytest.mark.parametrize(
        ("domains", "error", "told"),
        [
            (
                {"settings:clasify/temperature": Real(0, 1)},
                UnknownParameter,
                r"did you mean 'classify'\? calls were made at 'c",
            ),
            (
                {"settings:classify/temprature": Real(0, 1)},
                UnknownParameter,
                "has no setting 'temprature'; it may have",
            ),
            ({"settings:retriever/k": Whole(1, 9)}, UnknownParameter, "no Setting is called 'retriever/k'"),
            ({"classify/system": Real(0, 1)}, UnknownParameter, "is not the name of a setting; it looks like"),
            ({"settings:classify": Real(0, 1)}, UnknownParameter, "is not the name of a setting; it looks like"),
            ({"context:style": Choice(["a"])}, UnknownParameter, "its runs are given no such field"),
            (
                {"settings:classify/temperature": Real(0, 0.5)},
                DomainError,
                "is 0.7 in the graph, and that is not a number from",
            ),
            (
                {"settings:classify/temperature": (0, 1)},
                DomainError,
                "which is no domain; give it Real, Whole or Choice",
            ),
            ({"settings:classify/temperature": Real}, DomainError, "which is no domain"),
        ],
    )
    def test_it_is_told_what_is_wrong(self, domains, error, told):
        with pytest.raises(error, match=told):
            run(self.graph(), domains)

    def test_an_empty_choice(self):
        with pytest.raises(DomainError, match="there is nothing to choose from"):
            run(self.graph(), {"settings:classify/model": Choice([])})

    def test_a_graph_that_is_deployed(self):
        class Elsewhere:
            def target(self):
                raise AssertionError

        with pytest.raises(GraphError, match="out of reach"):
            run(Elsewhere(), {"settings:classify/temperature": Real(0, 1)})

    def test_a_model_that_does_not_look_at_its_keyword_arguments(self):
        class Deaf(GenericFakeChatModel):
            def _generate(self, messages, stop=None, run_manager=None, **kwargs):
                return super()._generate([messages[-1]], stop, run_manager)

        deaf = Deaf(messages=iter(AIMessage("no") for _ in range(1000)))
        result = run(classifying(deaf), {"settings:classify/temperature": Real(0, 1)})
        assert not result.improved
        assert any("Deaf does not read the keyword arguments of a call" in warning for warning in result.warnings)

    def test_a_node_that_no_run_reaches(self):
        model = touchy(lambda _: True)

        def rare(state: State):
            return {"answer": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"], id="q")]).text}

        def usual(state: State):
            return {"answer": model.invoke([SystemMessage(PROMPT), HumanMessage("x", id="q")]).text}

        graph = StateGraph(State).add_node(rare).add_node(usual)
        graph.add_conditional_edges(START, lambda _: "usual", ["rare", "usual"])
        graph.add_edge("rare", END).add_edge("usual", END)
        result = run(graph.compile(name="rare"), {"settings:rare/temperature": Real(0, 1)})
        assert any("settings:rare/temperature: no recorded run reached it" in warning for warning in result.warnings)

    def test_two_handles_of_one_name(self):
        one, two = Setting("a/k", 1, Whole(1, 3)), Setting("a/k", 2, Whole(1, 3))
        graph = one_node(lambda state: {"answer": str(one.value + two.value)})
        with pytest.raises(DiscoveryError, match=r"two Setting handles are called 'a/k'.*1 .*and 2"):
            run(graph, {})

    def test_a_dry_run_says_that_a_run_will_tell(self):
        plan = optimize(
            self.graph(),
            evals(),
            dry_run=True,
            domains={"settings:classify/temperature": Real(0, 1)},
            model=touchy(bool),
        )
        assert "settings:classify/temperature: no recorded run reached it" in str(plan)
