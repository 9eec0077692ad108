"""`record`: what it catches, in which order, and that blocks never mix."""

from __future__ import annotations

import asyncio
import contextvars
import doctest
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from langgraph.graph import END, START

from textgrad_lg.errors import TraceError
from textgrad_lg.record import recorder
from textgrad_lg.trace import Trace
from textgrad_lg.variable import text_of

from .graphs import State, blank, chain, echo, fan_out, linear, looping, map_reduce, printed, record, says

STREAMS = ["updates", "values", "messages", "debug", ["updates", "messages"]]


def shout(state):
    return {"answer": state["question"].upper()}


def ticking():
    now = iter(range(1000, 2000))
    return lambda: float(next(now))


class TestEveryWayToRun:
    def test_all_ways_give_the_same_trace(self):
        def recorded(run):
            with record() as recording:
                run(linear())
            assert len(recording.traces) == 1
            return printed(recording.trace)

        async def drain(stream):
            return [chunk async for chunk in stream]

        inputs = {"question": "Where is my money?"}
        want = recorded(lambda graph: graph.invoke(inputs))
        assert "s2.out -> s1.out.label by s1 text" in want
        assert recorded(lambda graph: asyncio.run(graph.ainvoke(inputs))) == want
        assert recorded(lambda graph: graph.batch([inputs])) == want
        for mode in STREAMS:
            assert recorded(lambda graph, mode=mode: list(graph.stream(inputs, stream_mode=mode))) == want
            assert (
                recorded(lambda graph, mode=mode: asyncio.run(drain(graph.astream(inputs, stream_mode=mode)))) == want
            )
        assert recorded(lambda graph: asyncio.run(drain(graph.astream_events(inputs, version="v2")))) == want

    def test_a_streamed_reply_is_recorded_whole_with_its_usage(self):
        model = says("one two three")

        def talk(state):
            return {"answer": "".join(chunk.text for chunk in model.stream([("system", "Count."), state["question"]]))}

        with record() as recording:
            chain(("talk", talk)).invoke({"question": "go on"})
        trace = recording.trace
        assert text_of(trace.variable_by_id["s2.out"].value) == "one two three"
        assert trace.span_by_id["s2"].attributes["output_tokens"] == 4
        assert trace.output()["answer"] == "one two three"

    def test_batch_gives_a_trace_for_each(self):
        graph = chain(("shout", shout))
        with record() as recording:
            graph.batch([{"question": f"question {at}"} for at in range(5)])
        assert sorted(trace.output()["answer"] for trace in recording.traces) == [f"QUESTION {at}" for at in range(5)]

    def test_a_model_called_outside_any_graph(self):
        with record() as recording:
            says("hello").invoke([("system", "Greet."), ("human", "hi")])
        trace = recording.trace
        assert [str(p.site) for p in trace.parameters] == ["/system", "/human"]
        assert trace.output()[""]["content"] == "hello"
        assert Trace.from_json(trace.to_json()) == trace

    def test_a_failed_model_called_outside_any_graph(self):
        with record() as recording, pytest.raises(ZeroDivisionError):
            says(ZeroDivisionError("no")).invoke("hi")
        assert recording.trace.outputs == {}
        assert recording.trace.spans[0].error == "ZeroDivisionError: no"

    def test_a_chain_around_a_graph(self):
        whole = chain(("shout", shout)) | (lambda state: state["answer"] + "!")
        with record() as recording:
            assert whole.invoke({"question": "why not"}) == "WHY NOT!"
        trace = recording.trace
        assert [(span.kind, span.name) for span in trace.spans][:2] == [
            ("graph", "RunnableSequence"),
            ("graph", "LangGraph"),
        ]
        assert trace.output() == {"": "WHY NOT!"}
        assert ("s1.out.answer", "s0.out") in {(edge.source, edge.target) for edge in trace.edges}


class TestTraces:
    def test_ids_clock_and_example_are_the_callers(self):
        names = iter(["a" * 32, "b" * 32])
        with record(example="e7", clock=ticking(), ids=lambda: next(names)) as recording:
            graph = chain(("shout", shout))
            graph.invoke({"question": "one"})
            graph.invoke({"question": "two"})
        first, second = recording.traces
        assert (first.id, second.id, first.example) == ("a" * 32, "b" * 32, "e7")
        assert (first.started, second.started) == (1000.0, 1004.0)
        assert [(span.start, span.end) for span in first.spans] == [(0.0, 3.0), (1.0, 2.0)]
        assert recording.trace is second
        assert recording.traces[0] is first

    def test_default_ids_are_32_hex_digits_and_differ(self):
        with record() as recording:
            for _ in range(2):
                chain(("shout", shout)).invoke({"question": "one"})
        one, other = (trace.id for trace in recording.traces)
        assert one != other
        assert len(one) == 32
        int(one, 16)

    def test_order_is_that_of_starting_not_of_ending(self):
        first_may_end, first_runs = threading.Event(), threading.Event()

        def wait(state):
            if state["question"] == "first":
                first_runs.set()
                assert first_may_end.wait(30)
            return {"answer": state["question"]}

        graph = chain(("wait", wait))
        with record() as recording:
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=(graph.invoke, {"question": "first"}))
            thread.start()
            assert first_runs.wait(30)
            graph.invoke({"question": "second"})
            assert [trace.output()["answer"] for trace in recording.traces] == ["second"]
            first_may_end.set()
            thread.join()
        assert [trace.output()["answer"] for trace in recording.traces] == ["first", "second"]

    def test_nothing_recorded_says_so(self):
        with record() as recording:
            pass
        assert recording.traces == ()
        with pytest.raises(TraceError, match="no graph finished inside"):
            _ = recording.trace

    def test_runs_before_and_after_the_block_are_not_recorded(self):
        graph = chain(("shout", shout))
        graph.invoke({"question": "before"})
        with record() as recording:
            graph.invoke({"question": "inside"})
        graph.invoke({"question": "after"})
        assert [trace.output()["answer"] for trace in recording.traces] == ["INSIDE"]

    def test_a_stream_that_is_still_open_when_the_block_ends_is_left_out(self):
        graph = chain(("a", shout), ("b", lambda state: {"draft": "x"}))
        with record() as recording:
            stream = graph.stream({"question": "q"})
            next(stream)
        assert [*stream] == [{"b": {"draft": "x"}}]
        assert recording.traces == ()

    def test_an_abandoned_stream_has_a_trace_that_says_so(self):
        graph = chain(("a", shout), ("b", lambda state: {"draft": "x"}))
        with record() as recording:
            stream = graph.stream({"question": "q"})
            next(stream)
            stream.close()
        trace = recording.trace
        assert [span.name for span in trace.spans] == ["LangGraph", "a"]
        assert trace.spans[0].error == "GeneratorExit"

    def test_the_users_exception_is_the_very_object(self):
        mine = ValueError("mine")

        def bad(state):
            raise mine

        with pytest.raises(ValueError) as caught, record() as recording:
            chain(("bad", bad)).invoke({"question": "q"})
        assert caught.value is mine
        assert recording.trace.spans[0].error == "ValueError: mine"

    def test_the_graph_and_its_config_are_untouched(self):
        seen = []
        graph = chain(("peek", lambda state, config: seen.append(dict(config)) or {"answer": "a"}))
        before = dict(vars(graph))
        with record():
            graph.invoke({"question": "q"}, {"tags": ["mine"], "metadata": {"who": "me"}})
        assert dict(vars(graph)) == before
        assert seen[0]["tags"] == ["mine"]

    def test_a_failing_handler_of_ours_would_not_break_the_run(self, caplog):
        def broken():
            raise RuntimeError("the clock is broken")

        with record(clock=broken) as recording:
            assert chain(("shout", shout)).invoke({"question": "q"})["answer"] == "Q"
        assert recording.traces == ()
        assert "the clock is broken" in caplog.text

    def test_other_handlers_keep_working_beside_it(self):
        class Counter(BaseCallbackHandler):
            ended = 0

            def on_chain_end(self, *args, **kwargs):
                self.ended += 1

        counter = Counter()
        with record() as recording:
            chain(("shout", shout)).invoke({"question": "q"}, {"callbacks": [counter]})
        assert counter.ended == 2
        assert len(recording.traces) == 1


class TestNesting:
    def test_an_inner_block_is_in_the_outer_recording_too(self):
        graph = chain(("shout", shout))
        with record() as outer:
            graph.invoke({"question": "one"})
            with record() as inner:
                graph.invoke({"question": "two"})
            graph.invoke({"question": "three"})
        assert [trace.output()["answer"] for trace in outer.traces] == ["ONE", "TWO", "THREE"]
        assert [trace.output()["answer"] for trace in inner.traces] == ["TWO"]

    def test_a_block_inside_a_node_records_only_what_runs_in_it(self):
        inner_graph, caught = chain(("shout", shout)), []

        def node(state):
            with record() as inner:
                answer = inner_graph.invoke(state)["answer"]
            caught.append(inner.traces)
            return {"answer": answer}

        with record() as outer:
            chain(("outer", node)).invoke({"question": "why"})
        assert [len(traces) for traces in caught] == [1]
        assert [span.name for span in caught[0][0].spans] == ["LangGraph", "shout"]
        assert len(outer.traces) == 1
        assert [span.name for span in outer.trace.spans] == ["LangGraph", "outer", "LangGraph", "shout"]

    def test_a_block_left_in_another_context_than_it_was_entered_in(self):
        def generator():
            with record() as recording:
                yield recording

        stepping = generator()
        contextvars.copy_context().run(next, stepping)
        contextvars.copy_context().run(stepping.close)
        with record() as recording:
            chain(("shout", shout)).invoke({"question": "q"})
        assert len(recording.traces) == 1


class TestConcurrency:
    async def test_twenty_blocks_in_asyncio_tasks(self):
        ready = asyncio.Barrier(20)

        async def slow(state):
            await ready.wait()
            return {"answer": state["question"]}

        graph = chain(("slow", slow))

        async def one(at):
            with record(example=str(at)) as recording:
                await graph.ainvoke({"question": f"question {at}"})
            return recording

        recordings = await asyncio.gather(*(one(at) for at in range(20)))
        for at, recording in enumerate(recordings):
            assert [(trace.example, trace.output()["answer"]) for trace in recording.traces] == [
                (str(at), f"question {at}")
            ]

    def test_twenty_blocks_in_threads(self):
        ready = threading.Barrier(20)

        def slow(state):
            ready.wait(30)
            return {"answer": state["question"]}

        graph = chain(("slow", slow))

        def one(at):
            with record(example=str(at)) as recording:
                graph.invoke({"question": f"question {at}"})
            return recording.trace

        with ThreadPoolExecutor(20) as pool:
            traces = list(pool.map(one, range(20)))
        assert [(t.example, t.output()["answer"], len(t.spans)) for t in traces] == [
            (str(at), f"question {at}", 2) for at in range(20)
        ]

    def test_threads_that_carry_the_context_belong_to_the_block(self):
        graph = chain(("shout", shout))
        with record() as recording, ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(contextvars.copy_context().run, graph.invoke, {"question": f"question {at}"})
                for at in range(8)
            ]
            for job in jobs:
                job.result()
        assert len(recording.traces) == 8

    async def test_a_sync_node_under_ainvoke(self):
        with record() as recording:
            await linear().ainvoke({"question": "Where is my money?"})
        assert [span.name for span in recording.trace.spans] == ["LangGraph", "classify", "double", "answer", "double"]


class TestSteadyIds:
    """The same run has the same ids and edges, whatever the timing."""

    @pytest.mark.parametrize("order", [("red", "green", "blue"), ("blue", "green", "red"), ("green", "red", "blue")])
    def test_fan_out(self, order):
        with record() as recording:
            fan_out(in_order(order)).invoke({"question": "pick"})
        with record() as plain:
            fan_out().invoke({"question": "pick"})
        assert printed(recording.trace) == printed(plain.trace)
        assert [span.name for span in recording.trace.spans if span.kind == "node"] == ["blue", "green", "red", "join"]

    @pytest.mark.parametrize("order", ["abcdef", "fedcba", "cafebd"])
    def test_map_reduce(self, order):
        items = {name: f"item {name}" for name in "abcdef"}
        with record() as recording:
            map_reduce(in_order([items[name] for name in order])).invoke({"question": ", ".join(items.values())})
        with record() as plain:
            map_reduce().invoke({"question": ", ".join(items.values())})
        assert printed(recording.trace) == printed(plain.trace)

    @pytest.mark.parametrize("order", ["abc", "cba", "bca"])
    async def test_branches_that_one_node_forks(self, order):
        async def recorded(turns):
            model = echo()
            gate = Gate(turns)

            async def branch(name):
                await gate.turn(name)
                first = await model.ainvoke([("system", "Draft."), ("human", f"about {name}")])
                await gate.turn(f"{name} again")
                return (await model.ainvoke([("system", "Refine."), ("human", first.text)])).text

            async def node(state):
                opening = await model.ainvoke([("system", "Open."), ("human", state["question"])])
                parts = await asyncio.gather(*(branch(name) for name in "abc"))
                closing = await model.ainvoke([("system", "Close."), ("human", " ".join(parts))])
                return {"answer": opening.text + closing.text}

            with record() as recording:
                await chain(("node", node)).ainvoke({"question": "the question"})
            return printed(recording.trace)

        one_after_the_other = await recorded([*order, *(f"{name} again" for name in order)])
        assert one_after_the_other == await recorded([part for name in order[::-1] for part in (name, f"{name} again")])
        assert "s3.out -> s4.out by s4 text" in one_after_the_other

    @pytest.mark.parametrize("order", ["abc", "cab"])
    def test_batches_in_one_node(self, order):
        def recorded(turns):
            take = in_order([f"about {name}" for name in turns])
            model = says()
            model.replies = lambda messages: take(messages[-1].text) or f"on {messages[-1].text}"

            def node(state):
                replies = model.batch([[("system", "Draft."), ("human", f"about {name}")] for name in "abc"])
                last = says("the end").invoke([("system", "Join."), ("human", " ".join(r.text for r in replies))])
                return {"answer": last.text}

            with record() as recording:
                chain(("node", node)).invoke({"question": "the question"})
            return printed(recording.trace)

        assert recorded(order) == recorded("bac")

    async def test_one_thread_hop_after_another_keeps_their_order(self):
        model = echo("z")

        async def node(state):
            first = await asyncio.to_thread(model.invoke, [("system", "One."), ("human", "yonder text")])
            second = await asyncio.to_thread(model.invoke, [("system", "Two."), ("human", f"a bit of {first.text}")])
            return {"answer": second.text}

        with record() as recording:
            await chain(("node", node)).ainvoke({"question": "q"})
        calls = [span for span in recording.trace.spans if span.kind == "llm"]
        assert [span.attributes["messages"][0]["content"] for span in calls] == ["One.", "Two."]
        assert ("s2.out", "s3.out") in {(edge.source, edge.target) for edge in recording.trace.edges}

    def test_forks_of_forks(self):
        model = echo()

        def ask(text):
            return model.invoke([("human", text)]).text

        def inner(name):
            with ThreadPoolExecutor(2) as pool:
                first = ask(f"start {name}")
                jobs = [pool.submit(contextvars.copy_context().run, ask, f"{name} {part}") for part in ("yy", "xx")]
                return first, *[job.result() for job in jobs], ask(f"end {name}")

        def node(state):
            with ThreadPoolExecutor(2) as pool:
                jobs = [pool.submit(contextvars.copy_context().run, inner, name) for name in ("bb", "aa")]
                return {"data": [job.result() for job in jobs]}

        with record() as recording:
            chain(("node", node)).invoke({"question": "q"})
        asked = [s.attributes["messages"][0]["content"] for s in recording.trace.spans if s.kind == "llm"]
        assert asked == ["start aa", "aa xx", "aa yy", "end aa", "start bb", "bb xx", "bb yy", "end bb"]


def test_the_example_in_the_docstring():
    failed, tried = doctest.testmod(recorder)
    assert (failed, tried > 0) == (0, True)


class TestHook:
    def test_importing_registers_nothing_and_using_it_registers_once(self):
        program = (
            "from langchain_core.tracers import context\n"
            "before = len(context._configure_hooks)\n"
            "from textgrad_lg.record import record\n"
            "assert len(context._configure_hooks) == before\n"
            "for _ in range(3):\n"
            "    with record():\n"
            "        pass\n"
            "assert len(context._configure_hooks) == before + 1\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_another_librarys_hook_is_left_alone(self):
        class Other(BaseCallbackHandler):
            names: list[str]

            def on_chain_start(self, *args, **kwargs):
                self.names.append(kwargs["name"])

        mine: ContextVar[Other | None] = ContextVar("mine", default=None)
        register_configure_hook(mine, inheritable=True)
        other = Other()
        other.names = []
        mine.set(other)
        with record() as recording:
            chain(("shout", shout)).invoke({"question": "q"})
        mine.set(None)
        assert other.names == ["LangGraph", "shout"]
        assert len(recording.traces) == 1


def test_a_long_loop_needs_no_recursion():
    with record() as recording:
        looping(300).invoke({"messages": "start it"}, {"recursion_limit": 400})
    trace = recording.trace
    nodes = [span for span in trace.spans if span.kind == "node"]
    assert [span.visit for span in nodes] == list(range(300))
    assert len({edge.source for edge in trace.incoming[f"{nodes[-1].id}.out.messages"]}) == 2
    last_call = [span for span in trace.spans if span.kind == "llm"][-1]
    assert len(trace.incoming[f"{last_call.id}.out"]) == 301
    assert Trace.from_json(trace.to_json()) == trace


def test_a_long_loop_over_plain_state_has_edges_in_proportion_to_its_length():
    def count(turns):
        def step(state):
            return {"count": state["count"] + 1, "parts": [f"part {state['count']}"]}

        build = blank(State)
        build.add_node("step", step)
        build.add_edge(START, "step")
        build.add_conditional_edges("step", lambda state: END if state["count"] >= turns else "step", ["step", END])
        with record() as recording:
            build.compile().invoke({"count": 0, "question": "go"}, {"recursion_limit": turns + 9})
        return len([edge for edge in recording.trace.edges if edge.target != "s0.out.parts"])

    assert count(300) < 3.2 * count(100)


class Gate:
    """Lets asyncio tasks pass in a given order, each once the one before has passed."""

    def __init__(self, order):
        self._order = list(order)
        self._events = {name: asyncio.Event() for name in self._order}
        self._events[self._order[0]].set()

    async def turn(self, name):
        await self._events[name].wait()
        after = self._order.index(name) + 1
        if after < len(self._order):
            asyncio.get_running_loop().call_soon(self._events[self._order[after]].set)


def in_order(names):
    """A function that blocks its callers until those before them in `names` have called it."""
    names = list(names)
    passed = {name: threading.Event() for name in names}

    def wait(name):
        at = names.index(name)
        if at and not passed[names[at - 1]].wait(30):
            raise TimeoutError(name)
        passed[name].set()

    return wait
