"""How close a whole run comes to what its calls must take, and what the library itself adds to a call.

    python -m benchmarks.critical_path [--seeds 1]

On the simulated world's server, at 200 ms a call, with ChatOpenAI as the client. The critical path is the number of rounds
(calls that have to wait for each other) times the latency. The floor is the very same requests, sent again by a bare
`gather` with the same client in the same waves, right after. Four parts:

- a run of twelve steps on the three-node pipeline, and its rounds a step with `fused` and with `chain`;
- `backward` on a branching graph of twelve nodes for sixteen examples, with 18, 32 and 8 calls in flight;
- the library's own CPU a model call and a rollout, beyond LangGraph and a client that costs nothing;
- `backward` through a Trace of 2,000 spans, without a model and `fused`.

A figure beyond its limit is printed as such. Rounds are counted in a run whose requests are answered round by round, so that
they are the same on any machine. Wall times depend on what else it does: only rounds and CPU decide the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

from benchmarks.measure import verdict
from benchmarks.optimizers import Row, measure, models
from benchmarks.world.server import LATENCY, Client, running
from textgrad_lg import Budget, Evals, Settings, Strategy
from textgrad_lg.autograd import backward, seed
from textgrad_lg.example import Score
from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.limits import Limits
from textgrad_lg.overlay.scope import current
from textgrad_lg.run.opening import opened
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.target import as_target
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from textgrad_lg import Trace

WIDE, WIDER, CAPPED = 18, 32, 8
"""Calls in flight."""
STEPS, EXAMPLES, SPANS = 12, 16, 2_000
ROLLOUTS, TIMES, MANY = 100, 5, 5
"""Rollouts at a time, how often they are measured, and the calls a node in the longer ones."""
RUN, FLOOR, BOUND = 1.15, 1.05, 1.10
"""Wall over critical path at 18 in flight, over the floor at 32, and over the bound of a limit of 8."""
CPU_MS, TRACE_SECONDS = 0.3, 2.0
ROUNDS = {Strategy.FUSED: 8, Strategy.CHAIN: 10}
DEPTH = 3
"""Calls in turn of one run of the pipeline."""
NODES: dict[str, list[str]] = {
    "n1": [], "n2": ["n1"], "n3": ["n1"], "n4": ["n1"], "n5": ["n2"], "n6": ["n2", "n3"], "n7": ["n3", "n4"],
    "n8": ["n5"], "n9": ["n6", "n7"], "n10": ["n7"], "n11": ["n8", "n9"], "n12": ["n10", "n11"],
}  # fmt: skip
"""The branching graph: each node, and the nodes it hears."""

QUIET = 300
"""Turns of the event loop without a new request, after which a run is taken to wait for answers alone."""
_IDS = re.compile(r"<<<DATA ([PV]\d+):")


@dataclass(frozen=True)
class Sent:
    """A request that a client sent, and when."""

    model: ChatOpenAI
    messages: list[Any]
    options: dict[str, Any]
    start: float
    end: float

    async def again(self) -> None:
        """Send it by the client alone."""
        await self.model.bind(**self.options).ainvoke(self.messages)


@contextmanager
def noting(say: Callable[[str], str] | None = None) -> Generator[list[Sent]]:
    """Every request that is sent by a ChatOpenAI in the block.

    Args:
        say: Gives, for a request's text, what is taken for the reply in the place of the server's; the request is sent, and
            takes what it takes.
    """
    sent: list[Sent] = []
    original = ChatOpenAI._agenerate  # noqa: SLF001

    async def noted(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
        start = time.perf_counter()
        result = await original(self, messages, stop, run_manager, **options)
        sent.append(Sent(self, messages, options, start, time.perf_counter()))
        if say is not None:
            result.generations[0].message = AIMessage(say(messages[-1].text))
        return result

    ChatOpenAI._agenerate = noted  # noqa: SLF001
    try:
        yield sent
    finally:
        ChatOpenAI._agenerate = original  # noqa: SLF001


class Rounds:
    """Answers requests round by round: those under way are held until the run can do nothing more without an answer.

    How often that happens depends on what waits for what, and not on how busy the machine is. Of the test set, which is read
    once at the end, the requests are not held.

    Attributes:
        sizes: Of each round the number of its requests.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._held: list[asyncio.Future[None]] = []
        self._open = 0
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def on(self) -> Generator[None]:
        """Hold the requests of every ChatOpenAI in the block."""
        original = ChatOpenAI._agenerate  # noqa: SLF001

        async def held(model: Any, *args: Any, **options: Any) -> Any:
            scope = current()
            if scope is None or getattr(scope.meter, "_phase", None) is Phase.TEST:
                return await original(model, *args, **options)
            self._open += 1
            try:
                result = await original(model, *args, **options)
                await self._hold()
            finally:
                self._open -= 1
            return result

        wrapper: Any = held

        ChatOpenAI._agenerate = wrapper  # noqa: SLF001
        try:
            yield
        finally:
            ChatOpenAI._agenerate = original  # noqa: SLF001

    async def _hold(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._held.append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._release())
        await future

    async def _release(self) -> None:
        before = 0
        # Whoever is not held takes some hundred turns of the loop at most until the next request.
        while before != len(self._held) or self._open > len(self._held):
            before = len(self._held)
            for _ in range(QUIET):
                await asyncio.sleep(0)
            await asyncio.sleep(QUIET / 10_000)
        held, self._held, self._task = self._held, [], None
        self.sizes.append(len(held))
        for future in held:
            if not future.done():
                future.set_result(None)


def waves(sent: Iterable[Sent]) -> list[list[Sent]]:
    """The requests in waves: one that began after another of the wave had ended belongs to the next."""
    found: list[list[Sent]] = []
    for call in sorted(sent, key=lambda call: call.start):
        if not found or call.start >= min(other.end for other in found[-1]):
            found.append([])
        found[-1].append(call)
    return found


async def bare(parts: Sequence[Sequence[Sent]], most: int) -> float:
    """Wall of the requests by a bare gather, wave by wave."""
    places = asyncio.Semaphore(most)

    async def one(call: Sent) -> None:
        async with places:
            await call.again()

    started = time.perf_counter()
    for part in parts:
        await asyncio.gather(*map(one, part))
    return time.perf_counter() - started


def line(what: str, value: float, limit: float, unit: str = "") -> bool:
    """Print a figure beside its limit; whether it holds."""
    print(f"  {what:62} {value:8.2f}{unit}  limit {limit:g}{unit}: {verdict(value, limit)}")
    return value <= limit


def whole_runs(world: Client, seeds: int) -> bool:
    """Runs of the pipeline; whether the rounds hold."""
    print(f"\nA run of {STEPS} steps on read -> price -> reply, {WIDE} in flight (medians of {seeds})")
    held = True
    for strategy, limit in ROUNDS.items():
        ratios, floors = [], []
        rounds = Rounds()
        with rounds.on():
            measure(world, Row("rounds", strategy=strategy), 0, concurrency=WIDE, salt=True, obey=0.0, latency=0.0)
        for at in range(seeds):
            with noting() as sent:
                run = measure(world, Row("run", strategy=strategy), at, concurrency=WIDE, salt=True, obey=0.0)
            report, parts = run["report"], waves(sent)
            ratios.append(report["wall"] / (len(rounds.sizes) * LATENCY))
            wall = max(call.end for call in sent) - min(call.start for call in sent)
            floors.append(wall / asyncio.run(_anew(world, parts, WIDE)))
        name = strategy.value
        # The validation of the graph as it is comes before the steps.
        held = line(f"{name}: rounds a step", (len(rounds.sizes) - DEPTH) / STEPS, limit) and held
        print(f"  {name}: {sum(rounds.sizes)} calls beside the test set's, {max(rounds.sizes)} at once at most")
        line(f"{name}: wall over critical path", statistics.median(ratios), RUN)
        print(f"  {name + ': wall over the floor':62} {statistics.median(floors):8.2f}")
    return held


async def _anew(world: Client, parts: Sequence[Sequence[Sent]], most: int) -> float:
    """The floor, by clients of this event loop."""
    async with models(world) as clients:
        by_name = {cast("ChatOpenAI", client).model_name: cast("ChatOpenAI", client) for client in clients}
        await asyncio.gather(*(client.ainvoke("warm") for client in clients for _ in range(most)))
        again = [
            [Sent(by_name[call.model.model_name], call.messages, call.options, 0, 0) for call in part] for part in parts
        ]
        return await bare(again, most)


def judged(at: int) -> Trace:
    """A Trace of the branching graph that failed."""
    build = TraceBuilder(id=f"{at:032x}", example=f"e{at}")
    made = {"": build.input("question", f"Question {at}: what does the order cost?")}
    for name, heard in NODES.items():
        made[name] = build.llm(
            name,
            reply=f"{name} thinks that {at} is so.",
            reads=[made[each] for each in heard or [""]],
            prompts={f"{name}/system": f"You are {name}. Say what you think of what you are told."},
        )
    return seed(build.finish({"answer": made["n12"]}), (Score("right", 0.0, "expected EUR 12.50"),))


def blaming(request: str) -> str:
    """A critic's reply that finds fault with all it is shown, so that the pass goes all the way."""
    said = [{"id": name, "feedback": f"{name} should say so."} for name in dict.fromkeys(_IDS.findall(request))]
    about = {kind: [each for each in said if each["id"][0] == kind] for kind in "PV"}
    return json.dumps({"about_this": about["P"], "about_inputs": about["V"], "feedback": said})


def depth() -> int:
    """The longest way through the branching graph, in nodes."""
    reached: dict[str, int] = {}
    for name, heard in NODES.items():
        reached[name] = 1 + max((reached[each] for each in heard), default=0)
    return max(reached.values())


def reverse(world: Client) -> None:
    """The reverse pass alone."""
    print(f"\nbackward on {len(NODES)} branching nodes, {EXAMPLES} examples side by side")
    for strategy in (Strategy.CHAIN, Strategy.FUSED):
        for most in (WIDE, WIDER, CAPPED, EXAMPLES * len(NODES)):
            wall, floor, calls, own = asyncio.run(_reverse(world, strategy, most))
            rounds = depth() if strategy is Strategy.CHAIN else 1
            bound = max(rounds, math.ceil(calls / most)) * LATENCY
            name = f"{strategy.value}, {calls} calls, {most} in flight"
            limit = {WIDE: RUN, CAPPED: BOUND}.get(most)
            over = f"{name}: wall over max(rounds, calls / limit)"
            line(over, wall / bound, limit) if limit else print(f"  {over:62} {wall / bound:8.2f}")
            line(f"{name}: wall over the floor", wall / floor, FLOOR)
            line(f"{name}: CPU a call beyond the floor's", own, CPU_MS, " ms")


async def _reverse(world: Client, strategy: Strategy, most: int) -> tuple[float, float, int, float]:
    """Wall of the pass, wall of the floor, the calls, and milliseconds of CPU a call that the pass took more."""
    traces = [judged(at) for at in range(EXAMPLES)]
    async with models(world) as (_, critic):
        await asyncio.gather(*(critic.ainvoke("warm") for _ in range(most)))
        with noting(blaming) as sent, overlay({}, limits=Limits(most)):
            started, cpu = time.perf_counter(), time.process_time()
            found = await asyncio.gather(
                *(
                    backward(trace, critic, strategy=strategy, goal="Tell the price.", concurrency=most)
                    for trace in traces
                )
            )
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        failures = [failure for gradients in found for failure in gradients.failures]
        if strategy is Strategy.CHAIN and len(sent) != EXAMPLES * len(NODES):
            raise RuntimeError(f"a pass makes {EXAMPLES * len(NODES)} calls, and {len(sent)} were made")
        if failures:
            raise RuntimeError(f"{len(failures)} gradients failed: {failures[0]}")
        parts = waves(sent)
        # As many at once as the pass had: under a limit its waves flow into each other, and so may the floor's.
        flowing = [[call for part in parts for call in part]] if len(sent) > most * depth() else parts
        before = time.process_time()
        floor = await bare(flowing, most)
        own = (cpu - (time.process_time() - before)) / len(sent) * 1000
        return wall, floor, len(sent), own


def own_cpu() -> bool:
    """CPU of rollouts beyond that of the graph by itself; whether it holds."""
    print(
        f"\nThe library's own CPU, {ROLLOUTS} rollouts of three nodes whose model answers at once (medians of {TIMES})"
    )
    few, many = pipeline(1), pipeline(MANY)
    taken = [(_own(few), _own(many)) for _ in range(TIMES)]
    rollout, longer = (statistics.median(column) for column in zip(*taken, strict=True))
    call = (longer - rollout) / (3 * (MANY - 1))
    held = line("ms a model call: rewritten, admitted, counted, recorded, kept", call, CPU_MS, " ms")
    print(f"  {'ms a rollout beside its calls: Trace, judging, journal':62} {rollout - 3 * call:8.2f} ms")
    print(f"  {'ms a model call, with its share of a rollout of three':62} {rollout / 3:8.2f} ms")
    return held


def pipeline(times: int) -> Any:
    """A graph of three nodes, each of which calls its model so many times."""
    model = ScriptedChatModel(replies=lambda messages: f"{messages[0].text[:8]}: {messages[-1].text[-200:]}")
    # Of a model with a price, as nearly all have one.
    model.model_name = "gpt-4.1-mini"
    graph: Any = StateGraph(cast("Any", dict))

    def node(name: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        async def call(state: dict[str, Any]) -> dict[str, Any]:
            text = state["text"]
            for at in range(times):
                prompt = f"You are {name}. " + "Say what you think of what you are told. " * 10
                reply = await model.ainvoke([SystemMessage(prompt), HumanMessage(f"{at} {text}")])
                text = reply.text
            return {"text": text}

        return call

    before = START
    for name in ("one", "two", "three"):
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile()


def _own(app: Any) -> float:
    """Milliseconds of CPU of a rollout beyond a bare run of the graph."""
    texts = [f"{'A long question. ' * 10} {at}" for at in range(ROLLOUTS)]
    # What the parts before have left would be gone through by each full collection.
    gc.collect()
    gc.freeze()
    plain = _cpu(lambda: asyncio.run(_plain(app, texts)))
    return (_cpu(lambda: _rollouts(app, texts)) - plain) / ROLLOUTS * 1000


def _cpu(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


async def _plain(app: Any, texts: Sequence[str]) -> None:
    await asyncio.gather(*(app.ainvoke({"text": text}) for text in texts))


def _rollouts(app: Any, texts: Sequence[str]) -> None:
    target, _ = as_target(app)
    evals = Evals([{"inputs": {"text": text}} for text in texts], [lambda outputs: float(bool(outputs))])
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(
            target, lambda _: evals, identity={}, run_dir=Path(folder) / "run", budget=Budget(calls=100_000),
            prices=Prices(), settings=Settings(concurrency=WIDE), critic=None, judges=(), config=None, callbacks=(),
        ) as run,
    ):  # fmt: skip
        asyncio.run(cast("Any", run.rollouts.evaluate(evals.examples, {}, Phase.ROLLOUT)))


def long_trace() -> bool:
    """The reverse pass through a long Trace; whether it holds."""
    print(f"\nbackward through a Trace of {SPANS:,} spans and more")
    build = TraceBuilder()
    made = [build.input("question", "Why?")]
    while len(made) <= SPANS // 2:  # a node and its call each
        name = f"n{len(made) % 20}"
        prompts = {f"{name}/system": f"You are {name}."} if len(made) % 4 == 0 else None
        made.append(build.llm(name, reply=f"reply {len(made)}", reads=made[-2:], prompts=prompts))
    trace = seed(build.finish({"answer": made[-1]}), (Score("right", 0.0, "expected: something else"),))
    held = True
    critic = ScriptedChatModel(replies=lambda messages: blaming(messages[-1].text))
    for strategy, model in ((Strategy.STRUCTURAL, None), (Strategy.FUSED, critic)):
        passing = _complete(trace, model, strategy)
        taken = _cpu(partial(asyncio.run, passing))
        held = line(f"{strategy.value}: {len(trace.spans):,} spans", taken, TRACE_SECONDS, " s") and held
    return held


async def _complete(trace: Trace, model: Any, strategy: Strategy) -> None:
    found = await backward(trace, model, strategy=strategy, goal="Tell the price.", cap=1_000_000)
    if found.failures or len(found) < SPANS // 8:
        raise RuntimeError(f"{len(found)} gradients; {found.failures[:1]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures; exit with 1 where counts or CPU do not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--parts", default="run,backward,cpu,trace")
    given = parser.parse_args(arguments)
    parts = given.parts.split(",")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    held = [check() for name, check in (("trace", long_trace), ("cpu", own_cpu)) if name in parts]
    with running() as world:
        if "backward" in parts:
            reverse(world)
        if "run" in parts:
            held.append(whole_runs(world, given.seeds))
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
