"""Overlays that are open at the same time never see each other's text."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.scope import current
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

from .support import OLD, CountingMeter, change, one_node, sent

CANDIDATES = 20
SITE = Site(("ask",), "system")


def echo() -> Any:
    """A model whose reply is the system text it was sent."""
    return ScriptedChatModel(replies=lambda messages: messages[0].text)


def prompt(state):
    return [SystemMessage(OLD), HumanMessage(state.get("question", ""), id="q")]


def texts(number):
    return {SITE: change(OLD, f"Candidate {number}.")}


EXPECTED = [f"Candidate {number}." for number in range(CANDIDATES)]


def test_asyncio_tasks():
    async def main():
        model, together = echo(), asyncio.Barrier(CANDIDATES)

        async def node(state):
            await together.wait()
            before = await model.ainvoke(prompt(state))
            await together.wait()
            parts = [chunk.text async for chunk in model.astream(prompt(state))]
            await together.wait()
            assert "".join(parts) == before.text
            return {"answer": before.text}

        graph = one_node(node)

        async def candidate(number):
            with overlay(texts(number)):
                return (await graph.ainvoke({"question": "?"}))["answer"]

        assert await asyncio.gather(*map(candidate, range(CANDIDATES))) == EXPECTED
        assert current() is None

    asyncio.run(main())


def test_threads():
    model, together = echo(), threading.Barrier(CANDIDATES)

    def node(state):
        together.wait()
        before = model.invoke(prompt(state)).text
        together.wait()
        assert "".join(chunk.text for chunk in model.stream(prompt(state))) == before
        return {"answer": before}

    graph = one_node(node)

    def candidate(number):
        with overlay(texts(number)):
            return graph.invoke({"question": "?"})["answer"]

    with ThreadPoolExecutor(CANDIDATES) as pool:
        assert list(pool.map(candidate, range(CANDIDATES))) == EXPECTED


def test_synchronous_nodes_in_an_asynchronous_run():
    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CANDIDATES))
        model, together = echo(), threading.Barrier(CANDIDATES)

        def node(state):
            together.wait()
            reply = model.invoke(prompt(state)).text
            together.wait()
            return {"answer": reply}

        graph = one_node(node)

        async def candidate(number):
            with overlay(texts(number)):
                return (await graph.ainvoke({"question": "?"}))["answer"]

        assert await asyncio.gather(*map(candidate, range(CANDIDATES))) == EXPECTED

    asyncio.run(main())


class Fan(TypedDict, total=False):
    answers: Annotated[list[str], add]


def test_send_fan_outs():
    branches = 3

    async def main():
        model, together = echo(), asyncio.Barrier(CANDIDATES * branches)

        async def ask(state):
            await together.wait()
            return {"answers": [(await model.ainvoke(prompt(state))).text]}

        graph = StateGraph(Fan)
        graph.add_node("ask", ask)
        graph.add_conditional_edges(START, lambda state: [Send("ask", {"question": str(at)}) for at in range(branches)])
        graph.add_edge("ask", END)
        compiled = graph.compile()

        async def candidate(number):
            with overlay(texts(number)):
                return (await compiled.ainvoke({"answers": []}))["answers"]

        found = await asyncio.gather(*map(candidate, range(CANDIDATES)))
        assert found == [[text] * branches for text in EXPECTED]

    asyncio.run(main())


def test_the_meter_counts_every_call_of_concurrent_batches():
    model, meter = echo(), CountingMeter()

    def node(state):
        model.batch([prompt(state)] * 5)
        return {"answer": ""}

    graph = one_node(node)
    with overlay(texts(0), meter=meter):
        graph.batch([{"question": "?"}] * 4)
    assert len(meter.admitted) == len(meter.settled) == len(model.requests) == 20
    assert {messages[0][1] for messages in sent(model)} == {"Candidate 0."}


def test_two_streams_of_one_model_taken_in_turns():
    model = echo()
    with overlay({Site((), "system"): change(OLD, "First words here.")}):
        first = model.stream(prompt({}))
        got = [next(first).text]
        with overlay({Site((), "system"): change(OLD, "Second words here.")}):
            second = model.stream(prompt({}))
            other = [next(second).text]
            got += [next(first).text]
            other += [next(second).text]
        got += [chunk.text for chunk in first]
        other += [chunk.text for chunk in second]
    assert "".join(got) == "First words here."
    assert "".join(other) == "Second words here."
    assert current() is None


async def test_a_stream_taken_by_several_tasks():
    model, meter = echo(), CountingMeter()
    with overlay({Site((), "system"): change(OLD, "Three new words.")}, meter=meter):
        items = model.astream(prompt({}))
        parts = [await asyncio.create_task(anext(items)) for _ in range(3)]
        assert [chunk async for chunk in items] == []
    assert "".join(chunk.text for chunk in parts) == "Three new words."
    assert len(meter.settled) == 1


def test_a_stream_that_outlives_its_overlay_ends_as_it_began(originals):
    model, meter = echo(), CountingMeter()
    with overlay({Site((), "system"): change(OLD, "Three new words.")}, meter=meter):
        items = model.stream(prompt({}))
        first = next(items).text
    assert BaseChatModel.stream is originals["stream"]
    assert first + "".join(chunk.text for chunk in items) == "Three new words."
    assert len(meter.settled) == 1


def test_a_generator_leaves_nothing_in_the_context_of_its_caller():
    def ours():
        context = contextvars.copy_context().items()
        return {variable.name: value for variable, value in context if variable.name.startswith("textgrad_lg")}

    model = echo()
    with overlay({}):
        model.invoke("hello")
        before = ours()
        items = model.stream(prompt({}))
        next(items)
        assert ours() == before
        items.close()
        assert ours() == before
