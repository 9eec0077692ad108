"""Single-flight: what is being asked is not asked again."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field, PrivateAttr

from tests.overlay.test_limits import Free
from tests.replay.support import network
from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.limits import Limits
from textgrad_lg.replay import Memo, Replay
from textgrad_lg.replay.flight import Flights, Landed
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Tools

TOGETHER = 30


class Held(BaseChatModel):
    """Answers when the gate opens, and numbers its replies; the calls whose number is in `fails` fail."""

    model_name: str = "held"
    temperature: float | None = None
    seed: int | None = None
    fails: tuple[int, ...] = ()
    _gate: Any = PrivateAttr(default_factory=asyncio.Event)
    _number: Any = PrivateAttr(default_factory=lambda: itertools.count(1))
    made: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "held"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise NotImplementedError

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        number = next(self._number)
        self.made.append(messages[-1].text)
        await self._gate.wait()
        if number in self.fails:
            raise ConnectionError(number)
        usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"reply {number}", usage_metadata=usage))])

    def let_go(self):
        self._gate.set()


async def asked(model, flights, *, example="e", text="Why?", replay=None, times=1, **options):
    """What a rollout of an example is answered."""
    replay = replay or Replay(tools=Tools.RUN)
    with overlay({}, flight=flights and flights.about(example)), replay.in_force():
        return [(await model.ainvoke(text, **options)).text for _ in range(times)]


async def together(model, *calls) -> list[Any]:
    """Make the calls, let the model answer when all of them have asked, and give what they were answered."""
    async with asyncio.timeout(TOGETHER):
        tasks = [asyncio.create_task(call) for call in calls]
        for _ in range(20):
            await asyncio.sleep(0)
        model.let_go()
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_same_call_of_two_rollouts_of_an_example_is_made_once():
    model, flights, meter = Held(), Flights(), Free()
    replays = [Replay(tools=Tools.RUN) for _ in range(3)]
    with overlay({}, meter=meter, limits=Limits(1)):
        found = await together(model, *(asked(model, flights, replay=each) for each in replays))
    assert found == [["reply 1"]] * 3
    assert (model.made, flights.saved, meter.most) == (["Why?"], 2, 1)
    # Each remembers it, so that its rollout can be made again from what it kept.
    assert [len(each.memo) for each in replays] == [1, 1, 1]
    assert len({entry.place for each in replays for entry in each.memo.entries}) == 1


@pytest.mark.parametrize(
    "other",
    [{"text": "How?"}, {"example": "f"}, {"temperature": 0.7}, {"max_tokens": 9}, {"stop": ["."]}],
    ids=lambda other: next(iter(other)),
)
async def test_another_call_is_another(other):
    model, flights = Held(), Flights()
    assert len(await together(model, asked(model, flights), asked(model, flights, **other))) == 2
    assert (len(model.made), flights.saved) == (2, 0)


@pytest.mark.parametrize(
    ("sampling", "made"),
    [
        ({"temperature": 0.0}, 1),
        ({"seed": 7}, 1),
        ({"temperature": 0.5, "seed": 7}, 1),
        ({"temperature": 0.5}, 2),
        ({}, 2),
    ],
)
async def test_across_examples_only_what_chance_does_not_decide(sampling, made):
    model, flights = Held(**sampling), Flights()
    await together(model, asked(model, flights, example="a"), asked(model, flights, example="b"))
    assert len(model.made) == made


async def test_a_seed_is_part_of_what_is_asked():
    model, flights = Held(), Flights()
    await together(model, asked(model, flights, seed=1), asked(model, flights, seed=2))
    assert len(model.made) == 2


async def test_a_question_that_is_repeated_in_a_run_gets_two_replies():
    model, flights = Held(), Flights()
    found = await together(model, *(asked(model, flights, times=2) for _ in range(2)))
    assert [replies[0] for replies in found] == ["reply 1"] * 2
    assert all(len(set(replies)) == 2 for replies in found)


async def test_where_it_fails_another_of_them_makes_it():
    model, flights = Held(fails=(1,)), Flights()
    found: Any = await together(model, *(asked(model, flights) for _ in range(3)))
    assert sorted(map(str, found)) == ["1", "['reply 2']", "['reply 2']"]
    assert (len(model.made), flights.saved) == (2, 1)


async def test_who_is_cancelled_holds_nobody_up():
    model, flights = Held(), Flights()
    first = asyncio.create_task(asked(model, flights))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(asked(model, flights)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    rest[0].cancel()
    assert await together(model, asyncio.wait_for(rest[1], TOGETHER)) == [["reply 2"]]
    assert len(model.made) == 2


async def test_without_flights_each_is_made():
    model = Held()
    await together(model, asked(model, None), asked(model, None))
    assert len(model.made) == 2


async def test_what_the_memo_knows_is_not_waited_for():
    model, flights = Held(), Flights()
    replay = Replay(tools=Tools.RUN)
    await together(model, asked(model, flights, replay=replay))
    again = Replay(Memo(replay.memo.entries), tools=Tools.RUN)
    assert await asked(model, flights, replay=again) == ["reply 1"]
    assert flights.join(replay.memo.entries[0].place) is None


def test_sync_graphs_in_threads_share_their_first_nodes():
    flights, started, made = Flights(), threading.Event(), []

    def reply(messages):
        made.append(messages[0].text)
        if messages[0].text == "You are a.":
            started.set()
            # Answers when the other run waits for it, which only a waiting future shows.
            for _ in range(TOGETHER * 1000):
                if any(flights._under_way.values()):
                    break
                threading.Event().wait(0.001)
        return f"reply {len(made)}"

    model = ScriptedChatModel(replies=reply)
    graph = network(model, {"a": [], "b": ["a"]})
    results: list[Any] = []

    def run():
        with overlay({}, flight=flights.about("e"), limits=Limits(1)), Replay(tools=Tools.RUN).in_force():
            results.append(graph.invoke({"question": "Why?", "said": {}})["said"])

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    assert started.wait(TOGETHER)
    threads[1].start()
    for thread in threads:
        thread.join(TOGETHER)
    assert made.count("You are a.") == 1
    assert results[0]["a"] == results[1]["a"] == "reply 1"


def test_nobody_waits_for_what_has_landed():
    flights = Flights()
    assert flights.join("k") is None
    waiting, gone = flights.join("k"), flights.join("k")
    assert waiting is not None
    assert gone is not None
    gone.cancel()
    flights.land("k", Landed("reply", 1.0))
    flights.land("k", None)
    assert waiting.result(0) == Landed("reply", 1.0)
    assert flights.saved == 1
    assert flights.join("k") is None
