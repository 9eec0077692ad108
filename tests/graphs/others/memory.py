"""langmem: an agent with memory tools, a memory manager, a store manager, summaries and prompt optimisers."""

from __future__ import annotations

import itertools
import operator
from typing import Annotated, Any, TypedDict, cast

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

HELPER = "You are a helpful assistant that remembers what it is told."


def _embed(texts: list[str]) -> list[list[float]]:
    return [[float(len(text) % 7) + 0.1, float(text.count("e"))] for text in texts]


def _store() -> Any:
    from langgraph.store.memory import InMemoryStore

    index: Any = {"embed": _embed, "dims": 2}
    return InMemoryStore(index=index)


def _remember(turn: Turn) -> Any:
    if not turn.did("search_memory"):
        return calls(("search_memory", {"query": "lighting"}))
    if not turn.did("manage_memory"):
        return calls(("manage_memory", {"content": "prefers dark mode", "action": "create"}))
    return f"I noted: {turn.last}"


def _tools() -> Built:
    from langchain.agents import create_agent
    from langmem import create_manage_memory_tool, create_search_memory_tool

    model = Actor(act=_remember)
    tools = [create_manage_memory_tool(namespace=("memories",)), create_search_memory_tool(namespace=("memories",))]
    return Built(create_agent(model, tools, system_prompt=HELPER, store=_store(), name="butler"), model)


def _manage(turn: Turn) -> Any:
    if turn.told("helpful assistant"):
        return "I will remember that."
    if "Memory" in turn.offered:
        return calls(("Memory", {"content": "They like green tea."}))
    return calls(*((name, {"query": "tea"}) for name in turn.offered[:1])) if turn.offered else "tea"


class _Talk(TypedDict, total=False):
    question: str
    answer: str
    memories: Annotated[list[Any], operator.add]


def _manager() -> Built:
    from langgraph.graph import StateGraph
    from langmem import create_memory_manager

    model = Actor(act=_manage)
    manager: Any = create_memory_manager(model, instructions="Note what people like to drink.", enable_inserts=True)

    def answer(state: _Talk) -> _Talk:
        return {"answer": model.invoke([("system", HELPER), ("user", state["question"])]).text}

    def remember(state: _Talk) -> _Talk:
        said = [{"role": "user", "content": state["question"]}, {"role": "assistant", "content": state["answer"]}]
        return {"memories": [at.content.model_dump() for at in manager.invoke({"messages": said})]}

    build = StateGraph(_Talk).add_node(answer).add_node(remember)
    return Built(build.add_edge("__start__", "answer").add_edge("answer", "remember").compile(), model)


def _store_manager() -> Built:
    from langgraph.func import entrypoint
    from langmem import create_memory_store_manager

    model = Actor(act=_manage)
    manager: Any = create_memory_store_manager(model, namespace=("memories",), query_model=model)

    @entrypoint(store=_store())
    def chat(question: str) -> Any:
        reply = model.invoke([("system", HELPER), ("user", question)])
        manager.invoke(
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply.text}]}
        )
        return reply.text

    return Built(chat, model)


def _sum_up(turn: Turn) -> Any:
    if "SummarizeThread" in turn.offered:
        return {"title": "Tea", "summary": "They asked for tea."}
    return calls(("search_memory", {"query": "tea"}))


def _extractor() -> Built:
    from langgraph.graph import StateGraph
    from langmem import create_memory_searcher, create_thread_extractor

    model, store = Actor(act=_sum_up), _store()
    store.put(("memories",), "tea", {"content": "They drink green tea at noon."})
    extractor: Any = create_thread_extractor(cast("Any", model))
    searcher: Any = create_memory_searcher(model, namespace=("memories",))

    def sum_up(state: _Talk) -> _Talk:
        said = [{"role": "user", "content": state["question"]}]
        return {"answer": extractor.invoke({"messages": said}).summary}

    def search(state: _Talk) -> _Talk:
        found = searcher.invoke({"messages": [("user", state["answer"])]})
        return {"memories": [item.value for item in found]}

    build = StateGraph(_Talk).add_node(sum_up).add_node(search)
    graph = build.add_edge("__start__", "sum_up").add_edge("sum_up", "search").compile(store=store)
    return Built(graph, model)


def _summarise(turn: Turn) -> Any:
    return "Bob likes cats." if "summary" in turn.last.lower() else f"You said: {turn.last}"


def _summary() -> Built:
    from langchain_core.messages.utils import count_tokens_approximately
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import MessagesState, StateGraph
    from langmem.short_term import SummarizationNode

    class State(MessagesState):
        context: dict[str, Any]

    class Inner(TypedDict):
        summarized_messages: list[Any]
        context: dict[str, Any]

    model = Actor(act=_summarise)
    node = SummarizationNode(
        token_counter=count_tokens_approximately,
        model=model,
        max_tokens=256,
        max_tokens_before_summary=40,
        max_summary_tokens=128,
    )

    def call_model(state: Inner) -> Any:
        return {"messages": [model.invoke(state["summarized_messages"])]}

    build = StateGraph(State).add_node("summarize", node).add_node(call_model, input_schema=Inner)
    build.add_edge("__start__", "summarize").add_edge("summarize", "call_model")
    threads = itertools.count()
    return Built(
        build.compile(checkpointer=InMemorySaver()),
        model,
        lambda: {"configurable": {"thread_id": str(next(threads))}},
        follow={"messages": "now do the same but for dogs, and tell me what my name is as well"},
    )


def _improve(turn: Turn) -> Any:
    for thinking in ("think", "critique"):
        if thinking in turn.offered and not turn.did(thinking):
            return calls((thinking, {"thought": "They lack sources.", "criticism": "No sources."}))
    if "recommend" in turn.offered:
        advice = {"warrants_adjustment": True, "hypotheses": "too terse", "full_recommendations": "ask for sources"}
        return calls(("recommend", advice))
    if "Classify" in turn.offered:
        return calls(("Classify", {"reasoning": "both fail", "which": ["guide", "critic"]}))
    return calls((turn.offered[0], {"analysis": "terse", "improved_prompt": "Name your sources."}))


class _Tuning(TypedDict, total=False):
    talk: str
    prompts: list[Any]


def _optimizer() -> Built:
    from langgraph.graph import StateGraph
    from langmem import create_multi_prompt_optimizer

    model = Actor(act=_improve)
    optimizer: Any = create_multi_prompt_optimizer(model, kind="gradient", config={"max_reflection_steps": 2})

    def tune(state: _Tuning) -> _Tuning:
        threads = [([{"role": "user", "content": state["talk"]}, {"role": "assistant", "content": "No."}], "be kind")]
        return {"prompts": optimizer.invoke({"trajectories": threads, "prompts": state["prompts"]})}

    build = StateGraph(_Tuning).add_node(tune).add_edge("__start__", "tune")
    return Built(build.compile(), model)


_ASIDE = "what it leads to is kept in the store, and is no part of the output"
_PROMPTS = [
    {"name": name, "prompt": text, "update_instructions": "keep it short", "when_to_update": "on failure"}
    for name, text in (("guide", "Guide people."), ("critic", "Judge the answer."))
]

CASES = [
    Other(
        "agent with memory tools",
        "langmem",
        _tools,
        [{"messages": [("user", "I prefer dark mode.")]}, {"messages": [("user", "My lights?")]}],
        ["butler"],
        {"model[butler]/system": HELPER},
        keeps=True,
    ),
    Other(
        "create_memory_manager in a graph",
        "langmem",
        _manager,
        [{"question": "Have you green tea?"}, {"question": "I only drink green tea."}],
        ["answer", "memory manager"],
        {
            "answer/system": HELPER,
            "remember/extract/system": "You are a memory subroutine for an AI.",
            "remember/extract/human": "Note what people like to drink.",
        },
    ),
    Other(
        "create_memory_store_manager in an entrypoint",
        "langmem",
        _store_manager,
        ["Have you green tea?", "I only drink green tea."],
        ["chat", "query writer", "memory manager"],
        {
            "chat/system": HELPER,
            "chat/human": "search for distinct memories relevant to this conversation",
            "chat/extract/system": "You are a memory subroutine for an AI.",
            "chat/extract/human": "You are a long-term memory manager",
            "chat/extract_updates/system": "Generate JSONPatches to update the existing schema instances.",
            "chat/extract_updates/human": "You are a long-term memory manager",
        },
        aside=dict.fromkeys(
            (
                "chat/human",
                "chat/extract/system",
                "chat/extract/human",
                "chat/extract_updates/system",
                "chat/extract_updates/human",
            ),
            _ASIDE,
        ),
        keeps=True,
    ),
    Other(
        "SummarizationNode",
        "langmem",
        _summary,
        [
            {
                "messages": [
                    ("user", "hi, my name is Bob and I would like you to write a long poem about cats for me, please")
                ]
            },
            {
                "messages": [
                    ("user", "hello, I am Ann; please do write a very long letter about cats to my aunt in Rome")
                ]
            },
        ],
        ["call_model", "summarizer"],
        {
            "summarize/human": "Create a summary of the conversation above:",
            "call_model/system": "Summary of the conversation so far: {summary}",
        },
    ),
    Other(
        "create_multi_prompt_optimizer in a graph",
        "langmem",
        _optimizer,
        [{"talk": talk, "prompts": _PROMPTS} for talk in ("Where is Rome?", "Who wrote Emma?")],
        ["critic", "editor", "classifier"],
        {
            "tune/extract/human": "Analyze the following trajectories",
            "tune/extract/human#1": "You are reviewing the performance",
            "tune/extract/human#2": "You are optimizing a prompt",
        },
        ways=("invoke", "ainvoke"),
    ),
    Other(
        "create_thread_extractor and create_memory_searcher in a graph",
        "langmem",
        _extractor,
        [{"question": "Have you green tea?"}, {"question": "I only drink green tea."}],
        ["thread extractor", "searcher"],
        {
            "sum_up/extract/system": "You are tasked with summarizing the following conversation.",
            "sum_up/extract/human": "Call the provided tool based on the conversation below:",
            "search/system": "Search for distinct memories relevant to different aspects",
            "search/human": "Search for memories relevant to the above context.",
        },
    ),
]
