"""Threads: which carry the context by themselves, what `carry_context` changes, and the warning where it is lost."""

from __future__ import annotations

import asyncio
import contextvars
import doctest
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableParallel
from langchain_core.runnables.config import ContextThreadPoolExecutor, run_in_executor
from langgraph.graph import END, START, StateGraph

from textgrad_lg import Evals, MemoryRegistry, Prompt, Settings, Strategy, carry_context, optimize, threads
from textgrad_lg.events import Warned
from textgrad_lg.executor import Threads
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.record.lost import LOST, SIGN
from textgrad_lg.site import Site
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.types import SpanKind

OLD = "You are a terse judge."
SITE = Site(("ask",), "system")
NUMBER = ContextVar("number", default=0)
ORIGINALS = threading.Thread.start, ThreadPoolExecutor.submit


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    yield
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == ORIGINALS


class State(TypedDict, total=False):
    question: str
    answer: Any


def echo():
    """A model whose reply is the system text it was sent."""
    return ScriptedChatModel(replies=lambda messages: messages[0].text)


def prompt():
    return [SystemMessage(OLD), HumanMessage("?", id="q")]


def texts(number):
    return {SITE: Replacement(Template(OLD), Template(f"Candidate {number}."))}


def one_node(ask) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(name="desk")


def calls(trace):
    """The model calls of a run: path, and what was sent first."""
    spans = [span for span in trace.spans if span.kind is SpanKind.LLM]
    messages: list[Any] = [span.attributes["messages"] for span in spans]
    return [("/".join(span.path), sent[0]["content"]) for span, sent in zip(spans, messages, strict=True)]


# What a node may do with a model. Each is given the model and returns the texts of its replies.


def batch(model):
    return [reply.text for reply in model.batch([prompt()] * 3)]


def parallel(model):
    return [reply.text for reply in RunnableParallel(a=model, b=model, c=model).invoke(prompt()).values()]


def langchain_executor(model):
    with ContextThreadPoolExecutor() as pool:
        return [reply.text for reply in pool.map(model.invoke, [prompt()] * 3)]


async def to_thread(model):
    return [(await asyncio.to_thread(model.invoke, prompt())).text for _ in range(3)]


async def langchain_run_in_executor(model):
    return [(await run_in_executor(None, model.invoke, prompt())).text for _ in range(3)]


async def tasks(model):
    return [reply.text for reply in await asyncio.gather(*(model.ainvoke(prompt()) for _ in range(3)))]


def raw_submit(model):
    with ThreadPoolExecutor(2) as pool:
        return [future.result().text for future in [pool.submit(model.invoke, prompt()) for _ in range(3)]]


def raw_map(model):
    with ThreadPoolExecutor(2) as pool:
        return [reply.text for reply in pool.map(model.invoke, [prompt()] * 3)]


def raw_threads(model):
    found: list[str] = []
    workers = [threading.Thread(target=lambda: found.append(model.invoke(prompt()).text)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


async def loop_run_in_executor(model):
    loop = asyncio.get_running_loop()
    return [(await loop.run_in_executor(None, model.invoke, prompt())).text for _ in range(3)]


CARRIED = [batch, parallel, langchain_executor, to_thread, langchain_run_in_executor, tasks]
RAW = [raw_submit, raw_map, raw_threads, loop_run_in_executor]


def node_of(work, model):
    async def aask(state: State):
        return {"answer": await work(model)}

    def ask(state: State):
        return {"answer": work(model)}

    return one_node(aask if asyncio.iscoroutinefunction(work) else ask)


def run(graph):
    """Under an overlay and a recorder: the answers and the Trace."""

    async def main():
        return await graph.ainvoke({"question": "?"})

    with record() as recording, overlay(texts(7)):
        out = asyncio.run(main())
    return out["answer"], recording.trace


class TestExecutorsOfLangChain:
    @pytest.mark.parametrize("work", CARRIED)
    def test_they_work_as_they_are(self, work):
        # Also what is sync: LangGraph runs it in a thread of its own executor then.
        answers, trace = run(node_of(work, echo()))
        assert answers == ["Candidate 7."] * 3
        assert calls(trace) == [("ask", "Candidate 7.")] * 3
        assert trace.warnings == ()

    def test_forty_candidates_at_once(self):
        together = threading.Barrier(40)
        model = echo()

        def ask(state):
            together.wait()
            return {"answer": [reply.text for reply in model.batch([prompt()] * 2)]}

        graph = one_node(ask)

        async def candidate(number):
            with record() as recording, overlay(texts(number)):
                out = await graph.ainvoke({"question": "?"})
            return out["answer"], calls(recording.trace)

        async def main():
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(40))
            return await asyncio.gather(*map(candidate, range(40)))

        for number, (answers, sent) in enumerate(asyncio.run(main())):
            assert answers == [f"Candidate {number}."] * 2
            assert sent == [("ask", f"Candidate {number}.")] * 2


class TestCarryContext:
    @pytest.mark.parametrize("work", RAW)
    def test_raw_threads_get_texts_and_are_recorded_where_they_belong(self, work):
        graph = node_of(work, echo())
        with carry_context():
            answers, trace = run(graph)
        assert answers == ["Candidate 7."] * 3
        assert calls(trace) == [("ask", "Candidate 7.")] * 3
        assert trace.warnings == ()
        answers, trace = run(graph)
        assert answers == [OLD] * 3
        assert calls(trace) == []

    def test_forty_candidates_share_one_pool(self):
        model, together = echo(), threading.Barrier(40)
        with ThreadPoolExecutor(40) as shared, carry_context():

            def ask(state):
                return {"answer": shared.submit(lambda: (together.wait(), model.invoke(prompt()).text)[1]).result()}

            graph = one_node(ask)

            def candidate(number):
                with overlay(texts(number)):
                    return graph.invoke({"question": "?"})["answer"]

            with ThreadPoolExecutor(40) as outer:
                assert list(outer.map(candidate, range(40))) == [f"Candidate {number}." for number in range(40)]

    def test_the_docstring_is_true(self):
        assert doctest.testmod(threads).failed == 0
        assert doctest.testmod(threads).attempted == 3

    def test_it_is_on_until_the_last_is_closed_and_closing_twice_is_once(self):
        first, second = carry_context(), carry_context()
        assert threading.Thread.start is not ORIGINALS[0]
        first.close()
        first.close()
        assert ThreadPoolExecutor.submit is not ORIGINALS[1]
        with second:
            pass
        assert (threading.Thread.start, ThreadPoolExecutor.submit) == ORIGINALS

    def test_the_patched_methods_look_like_the_originals(self):
        with carry_context():
            assert threading.Thread.start.__name__ == "start"
            assert ThreadPoolExecutor.submit.__doc__ == ORIGINALS[1].__doc__

    @given(st.lists(st.booleans(), max_size=12))
    def test_any_order_of_opening_and_closing(self, steps):
        still = []
        for opening in steps:
            if opening:
                still.append(carry_context())
            elif still:
                still.pop(0).close()
            assert (threading.Thread.start is ORIGINALS[0]) == (not still)
        for each in still:
            each.close()

    def test_opened_and_closed_by_many_threads(self):
        together = threading.Barrier(8)

        def work():
            together.wait()
            for _ in range(50):
                with carry_context():
                    pass

        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert (threading.Thread.start, ThreadPoolExecutor.submit) == ORIGINALS

    def test_somebody_elses_patch_on_top_stays_and_ours_below_does_nothing(self):
        seen = []
        carrying = carry_context()
        ours = threading.Thread.start

        def theirs(self):
            seen.append(self.name)
            ours(self)

        threading.Thread.start = theirs
        carrying.close()
        assert threading.Thread.start is theirs
        assert in_thread() == 0
        assert len(seen) == 1
        threading.Thread.start = ORIGINALS[0]


def in_thread(make: Any = threading.Thread, **options):
    """What `NUMBER` is in a thread that was started where it is 1."""
    found = []

    def main():
        NUMBER.set(1)
        thread = make(target=lambda: found.append(NUMBER.get()), **options)
        thread.start()
        thread.join()

    contextvars.copy_context().run(main)
    return found[0]


class TestThreads:
    @pytest.fixture(autouse=True)
    def carried(self):
        with carry_context():
            yield

    @pytest.mark.parametrize("daemon", [True, False])
    def test_a_thread(self, daemon):
        assert in_thread(daemon=daemon) == 1

    def test_a_subclass_that_overrides_run(self):
        class Own(threading.Thread):
            def run(self):
                self.before = NUMBER.get()
                super().run()

        assert in_thread(Own) == 1

    def test_a_subclass_that_overrides_start(self):
        class Own(threading.Thread):
            def start(self):
                self.name = "mine"
                super().start()

        assert in_thread(Own) == 1

    def test_a_timer(self):
        assert in_thread(lambda target: threading.Timer(0, target)) == 1

    def test_a_run_that_was_put_on_the_object(self):
        found = []
        thread = threading.Thread()
        thread.run = lambda: found.append(NUMBER.get())  # type: ignore[method-assign]
        mine = thread.run
        NUMBER.set(5)
        thread.start()
        thread.join()
        NUMBER.set(0)
        assert found == [5]
        assert thread.run is mine

    def test_the_thread_is_as_it_was_afterwards(self):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert "run" not in vars(thread)
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        assert "run" not in vars(thread)

    def test_what_it_sets_stays_its_own(self):
        thread = threading.Thread(target=NUMBER.set, args=(9,))
        thread.start()
        thread.join()
        assert NUMBER.get() == 0

    def test_an_error_reaches_the_hook(self, monkeypatch):
        seen = []
        monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        assert seen == [ZeroDivisionError]


class TestPools:
    @pytest.fixture(autouse=True)
    def carried(self):
        with carry_context():
            yield

    def test_each_call_has_the_context_of_its_submission(self):
        with ThreadPoolExecutor(1) as pool:
            found = []
            for number in (1, 2, 3):
                context = contextvars.copy_context()
                context.run(NUMBER.set, number)
                found.append(context.run(pool.submit, NUMBER.get).result())
            assert found == [1, 2, 3]
            assert pool.submit(NUMBER.get).result() == 0

    def test_its_worker_threads_keep_no_context(self):
        # Began while it was on, in a context: what comes after must not be in that context.
        with ThreadPoolExecutor(1) as pool:
            context = contextvars.copy_context()
            context.run(NUMBER.set, 1)
            assert context.run(pool.submit, NUMBER.get).result() == 1
            with carry_context() as again:
                again.close()
            plain = partial(ORIGINALS[1], pool)
            assert plain(NUMBER.get).result() == 0

    def test_our_own_pool_carries_it_too_and_keeps_none(self):
        pool = Threads(1)
        context = contextvars.copy_context()
        context.run(NUMBER.set, 1)
        assert context.run(pool.submit, NUMBER.get).result() == 1
        assert pool.submit(NUMBER.get).result() == 0
        pool.shutdown()

    def test_subclasses(self):
        class Own(ThreadPoolExecutor):
            def submit(self, fn, /, *args, **kwargs):
                return super().submit(lambda: (fn(*args, **kwargs), NUMBER.get()))

        context = contextvars.copy_context()
        context.run(NUMBER.set, 1)
        with Own() as pool:
            assert context.run(pool.submit, NUMBER.get).result() == (1, 1)
        with ThreadPoolExecutor() as pool:
            assert list(context.run(pool.map, lambda _: NUMBER.get(), range(3))) == [1, 1, 1]

    def test_threads_that_are_no_workers_as_python_knows_them_keep_no_context_either(self, monkeypatch):
        class Own(ThreadPoolExecutor):
            def _adjust_thread_count(self):
                if not self._threads:
                    thread = threading.Thread(target=self.work, daemon=True)
                    self._threads = {thread}
                    thread.start()

            def work(self):
                while (item := self._work_queue.get()) is not None:
                    item.run()

        def begun_in_a_context(pool):
            context = contextvars.copy_context()
            context.run(NUMBER.set, 1)
            assert context.run(pool.submit, context.copy().run, NUMBER.get).result() == 1
            return ORIGINALS[1](pool, NUMBER.get).result()

        with Own(1) as pool:
            assert begun_in_a_context(pool) == 0
        monkeypatch.setattr(threads, "_WORKER", None)
        with ThreadPoolExecutor(1) as pool:
            assert begun_in_a_context(pool) == 0

    def test_futures_are_what_they_were(self):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(pow, 2, exp=3).result() == 8
            with pytest.raises(ZeroDivisionError):
                pool.submit(lambda: 1 / 0).result()
            with pytest.raises(TypeError, match="not callable"):
                pool.submit(7).result()  # type: ignore[arg-type]
            hold = threading.Event()
            busy = pool.submit(hold.wait)
            waiting = pool.submit(pow, 2, 2)
            assert waiting.cancel()
            hold.set()
            assert busy.result()
            with pytest.raises(CancelledError):
                waiting.result()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(pow, 2, 2)

    def test_a_pool_of_isolated_interpreters_is_left_alone(self, monkeypatch):
        class Isolated(ThreadPoolExecutor):
            pass

        with carry_context() as still:
            still.close()
        monkeypatch.setattr("concurrent.futures.InterpreterPoolExecutor", Isolated, raising=False)
        submit = threads._submit(ORIGINALS[1])
        context = contextvars.copy_context()
        context.run(NUMBER.set, 1)
        with Isolated() as pool:
            assert context.run(submit, pool, NUMBER.get).result() == 0


class TestWarning:
    @pytest.mark.parametrize("work", RAW)
    def test_a_lost_call_is_told_once_and_says_what_to_do(self, work):
        answers, trace = run(node_of(work, echo()))
        assert answers == [OLD] * 3
        (warning,) = trace.warnings
        assert warning.startswith(f"a model was called {SIGN}, which node `ask` started by itself")
        assert "carry_context()" in warning
        assert "ContextThreadPoolExecutor" in warning

    def test_once_a_recording(self):
        graph = node_of(raw_submit, echo())
        with record() as recording:
            graph.invoke({"question": "?"})
            graph.invoke({"question": "?"})
        assert [len(trace.warnings) for trace in recording.traces] == [1, 0]
        assert [len(trace.warnings) for trace in recording.traces] == [1, 0]

    def test_a_model_of_the_old_kind_and_a_handle(self):
        model = FakeListLLM(responses=["x"])
        handle = Prompt("planner", default="Plan.")
        for work, what in (
            (lambda: model.invoke("hello"), "a model was called"),
            (lambda: str(handle), "the prompt 'planner' was used"),
        ):

            def ask(state, work=work):
                with ThreadPoolExecutor() as pool:
                    return {"answer": str(pool.submit(work).result())}

            with record() as recording:
                one_node(ask).invoke({"question": "?"})
            assert [warning.partition(f" {SIGN}")[0] for warning in recording.trace.warnings] == [what]

    def test_a_thread_that_a_lost_thread_starts(self):
        model = echo()

        def ask(state):
            with ThreadPoolExecutor() as pool:
                return {"answer": pool.submit(raw_threads, model).result()}

        with record() as recording:
            one_node(ask).invoke({"question": "?"})
        assert len(recording.trace.warnings) == 1

    def test_a_lost_thread_that_runs_an_event_loop_and_a_graph(self):
        inner = node_of(tasks, echo())

        def ask(state):
            with ThreadPoolExecutor() as pool:
                return {"answer": pool.submit(lambda: asyncio.run(inner.ainvoke(state))).result()["answer"]}

        with record() as recording:
            one_node(ask).invoke({"question": "?"})
        assert len(recording.trace.warnings) == 1

    def test_other_traffic_in_the_process_is_not_meant(self):
        model, asked, answered = echo(), threading.Event(), threading.Event()
        pool = ThreadPoolExecutor(2)

        def elsewhere():
            # A request that a server answers meanwhile, in threads of its own, and with a pool that the graph uses too.
            asked.wait()
            raw_threads(model)
            raw_submit(model)
            pool.submit(model.invoke, prompt()).result()
            answered.set()

        server = threading.Thread(target=elsewhere)
        server.start()

        def ask(state):
            pool.submit(len, "the pool's threads are started here").result()
            asked.set()
            answered.wait()
            return {"answer": pool.submit(len, "no model").result()}

        with record() as recording:
            one_node(ask).invoke({"question": "?"})
        server.join()
        pool.shutdown()
        assert recording.trace.warnings == ()

    def test_work_that_brings_its_own_context_is_not_lost(self):
        model = echo()

        def ask(state):
            context = contextvars.copy_context()
            with ThreadPoolExecutor() as pool:
                return {"answer": pool.submit(context.run, model.invoke, prompt()).result().text}

        with record() as recording:
            one_node(ask).invoke({"question": "?"})
        assert recording.trace.warnings == ()
        assert len(calls(recording.trace)) == 1

    def test_outside_a_node_it_says_so(self):
        with record() as recording:
            raw_submit(echo())
            one_node(lambda state: {"answer": 1}).invoke({"question": "?"})
        (warning,) = recording.trace.warnings
        assert "which the graph's code started by itself" in warning

    def test_a_thread_that_is_started_after_the_block_was_closed(self):
        contexts = []

        def ask(state):
            contexts.append(contextvars.copy_context())
            return {"answer": 1}

        with record() as recording:
            one_node(ask).invoke({"question": "?"})
        with record():
            contexts[0].run(raw_threads, echo())
        assert recording.trace.warnings == ()
        assert LOST.get() is None

    def test_a_graph_that_raises_and_a_generator_that_is_left(self):
        def ask(state):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), record():
            one_node(ask).invoke({"question": "?"})
        assert threading.Thread.start is ORIGINALS[0]


WANTED = "Reply with the label alone."


class TestRuns:
    def world(self):
        model = SimulatedChatModel(
            answer=lambda messages: f"I think it is {'good' if 'good' in messages[-1].text else 'bad'}",
            rules=[Rule(WANTED, lambda reply, _: reply.split()[-1])],
        )

        def ask(state):
            given = [SystemMessage(OLD), HumanMessage(state["question"])]
            with ThreadPoolExecutor(1) as pool:
                return {"answer": pool.submit(model.invoke, given).result().text}

        def greet(state):
            model.invoke([SystemMessage("You greet people."), HumanMessage(state["question"])])

        graph = StateGraph(State)
        graph.add_node("greet", greet)
        graph.add_node("ask", ask)
        graph.add_edge(START, "greet")
        graph.add_edge("greet", "ask")
        return graph.compile(name="desk"), model

    def optimized(self, **options):
        data = [
            {"inputs": {"question": f"{word} film {at}"}, "reference_outputs": {"answer": word}}
            for at in range(10)
            for word in ("good", "bad")
        ]

        def right(outputs, reference_outputs):
            return outputs["answer"] == reference_outputs["answer"], WANTED

        graph, model = self.world()
        events = []
        settings = Settings(steps=1, batch=4, strategy=Strategy.STRUCTURAL, **options)
        result = optimize(
            graph, Evals(data, [right]), registry=MemoryRegistry(), settings=settings, callbacks=[events.append]
        )
        warned = [event.message for event in events if isinstance(event, Warned) and SIGN in event.message]
        return result, warned, len(model.requests)

    def test_a_run_warns_once(self):
        result, warned, _ = self.optimized()
        assert len(warned) == 1
        assert any(warning.startswith(warned[0]) and "more like it" in warning for warning in result.warnings)
        assert not result.improved

    def test_with_the_setting_the_prompt_is_found_improved_and_paid_for(self):
        result, warned, made = self.optimized(carry_context=True)
        assert warned == []
        assert result.improved
        assert WANTED in result.prompts["ask/system"]
        assert result.spend.total.calls == made
        assert threading.Thread.start is ORIGINALS[0]
