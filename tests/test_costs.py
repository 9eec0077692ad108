"""What costs nothing until it is asked for, and what a recorded run keeps: without a clock, so that it holds anywhere."""

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import MessagesState, StateGraph

from benchmarks import memory, overlay, recording
from benchmarks.measure import added, take_turns, verdict
from textgrad_lg.record import record
from textgrad_lg.record.log import RunLog
from textgrad_lg.record.notes import Log
from textgrad_lg.record.runs import to_run
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.threads import watched

HANDLERS = """
import sys
from typing import Any
from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
import textgrad_lg
from textgrad_lg.record import record

seen = []

def look(state: dict, config: RunnableConfig) -> dict:
    seen.append([type(handler).__name__ for handler in config["callbacks"].handlers])
    return {}

build = StateGraph(dict)
build.add_node("look", look)
build.add_edge("__start__", "look")
graph = build.compile()
graph.invoke({"a": 1})
with record():
    graph.invoke({"a": 1})
graph.invoke({"a": 1})
print(seen)
print([name for name in sys.modules if name.startswith("textgrad_lg_")])
"""


def unread(recording_):
    """The notes of the runs of which no Trace was asked for yet."""
    return [entry for entry in recording_._entries if isinstance(entry, Log)]


def test_a_graph_has_no_handler_and_no_exporter_unless_it_is_recorded():
    done = subprocess.run([sys.executable, "-c", HANDLERS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[[], ['_Layer'], []]", "[]"]


class TestWhatIsKept:
    def test_a_recorded_run_goes_with_its_recording_without_the_garbage_collector(self):
        gc.collect()
        gc.disable()
        try:
            with record() as recording_:
                recording.row(3).invoke({"text": "hello", "count": 0})
                logs = [weakref.ref(log) for log in unread(recording_)]
                root = to_run(cast("Any", logs[0]()))
                (child,) = [weakref.ref(run) for run in root.children if run.name == "node1"]
                assert child().parent is root
            del recording_, root
            assert [log() for log in logs] == [None]
            assert child() is None
        finally:
            gc.enable()

    @pytest.mark.parametrize("document", ["plain words " * 50, "λόγια " * 50])
    def test_a_trace_holds_the_very_texts_of_the_run(self, document):
        with record() as recording_:
            recording.row(3).invoke({"text": document, "count": 0})
        values = [variable.value for variable in recording_.trace.variables if variable.value == document]
        assert len(values) == 2  # the run's input and its output
        assert all(value is document for value in values)

    def test_what_utf8_cannot_hold_is_replaced_in_the_trace_and_not_in_the_run(self):
        with record() as recording_:
            out = recording.row(1).invoke({"text": "bad \ud800", "count": 0})
        assert out["text"] == "bad \ud800"
        assert recording_.trace.output()["text"] == "bad ?"
        assert any("lone surrogates" in warning for warning in recording_.trace.warnings)

    def test_messages_that_are_sent_again_are_shared_and_those_with_a_site_are_not(self):
        model = ScriptedChatModel(replies=["one", "two"])

        def answer(state):
            return {"messages": [model.invoke([SystemMessage("Be brief."), *state["messages"]])]}

        build: Any = StateGraph(MessagesState)
        build.add_node("first", answer)
        build.add_node("second", answer)
        build.add_edge("__start__", "first")
        build.add_edge("first", "second")
        given = [SystemMessage("From the state.", id="s"), HumanMessage("hello", id="h")]
        with record() as recording_:
            build.compile().invoke({"messages": given})
        trace: Any = recording_.trace
        first, second = (span.attributes["messages"] for span in trace.spans if span.kind == "llm")
        human = [next(item for item in sent if item["id"] == "h") for sent in (first, second)]
        assert human[0] is human[1]
        assert "site" not in human[0]
        assert [item["site"] for item in first if item["role"] == "system"][:1] == ["first/system"]
        assert [item["site"] for item in second if item["role"] == "system"][:1] == ["second/system"]
        # The value of the state has no Site, whatever was said of it where it was sent.
        state = trace.variable_by_id[trace.inputs["messages"]].value
        assert [sorted(item) for item in state] == [["content", "id", "role"]] * 2

    def test_a_reply_is_kept_without_the_second_copy_that_langchain_makes(self):
        model = ScriptedChatModel(replies=[AIMessage("a good film")])
        with record() as recording_:
            model.invoke("hello")
            (log,) = unread(recording_)
            run = to_run(cast("Any", log))
            assert run.outputs.message.text == "a good film"
            assert not hasattr(run.outputs, "generations")
        output: Any = recording_.trace.output()[""]
        assert output["content"] == "a good film"

    @pytest.mark.parametrize("make", [partial(memory.document, "δέκα "), partial(memory.conversation, "δέκα ", 4_000)])
    def test_large_texts_are_kept_once(self, make):
        kept = memory.measured(make)
        assert max(kept.run, kept.trace) <= memory.TEXTS * kept.texts + memory.SPAN * kept.spans

    def test_where_texts_are_small_a_span_takes_little_more_than_its_message(self):
        kept = memory.measured(partial(memory.conversation, "ten bytes ", 100))
        assert max(kept.run, kept.trace) <= memory.TEXTS * kept.texts + 1.5 * memory.SPAN * kept.spans

    def test_a_prompt_is_kept_as_it_was_sent_and_equal_ones_once(self):
        model = ScriptedChatModel(replies=["one", "two"])
        with record() as recording_:
            for word in ("same", "same"):
                prompt = SystemMessage(f"The {word} prompt.")
                model.invoke([prompt])
                prompt.content = "Changed when it had been sent."
            first, second = (to_run(log).inputs for log in unread(recording_))
        assert first == [SystemMessage("The same prompt.")]
        assert first[0].content is second[0].content

    @pytest.mark.parametrize(
        "message",
        [
            SystemMessage("Be brief.", name="editor"),
            HumanMessage("hello", additional_kwargs={"lang": "en"}),
            HumanMessage([{"type": "text", "text": "hello"}]),
            HumanMessage("hello", id="h"),
            AIMessage("hello"),
        ],
    )
    def test_a_message_that_has_more_than_a_text_is_kept_whole(self, message):
        with record() as recording_:
            ScriptedChatModel(replies=["one"]).invoke([message])
            (log,) = unread(recording_)
            (kept,) = to_run(log).inputs
        assert kept is message


class TestRunIds:
    @pytest.mark.parametrize("as_given", [lambda run_id: run_id, str])
    def test_an_id_may_be_given_as_text(self, as_given):
        started = []
        log = RunLog(lambda: 0.0, lambda log, _: started.append(log))
        run_id, inner = as_given(uuid4()), as_given(uuid4())
        log.on_chain_start(None, {"a": 1}, run_id=run_id, name="graph")
        log.on_chain_start({"name": "node"}, {"a": 1}, run_id=inner, parent_run_id=run_id)
        log.on_chain_end({"a": 2}, run_id=inner)
        (log_,) = started
        root = to_run(log_)
        (child,) = root.children
        assert (root.id, child.id) == (str(run_id), str(inner))
        assert (root.name, child.name, child.outputs, child.end) == ("graph", "node", {"a": 2}, 0.0)
        log.on_chain_end({"a": 3}, run_id=inner)
        log.on_chain_error(ValueError("late"), run_id=inner)
        (again,) = to_run(log_).children
        assert (again.outputs, again.error) == ({"a": 2}, None)  # the first end counts
        assert log.knows(inner)
        log.close()
        assert not log.knows(inner)


class TestThreads:
    def test_work_that_brings_its_context_is_not_touched(self):
        asked = []

        def watch(call):
            asked.append(call)
            return call

        with watched(watch), ThreadPoolExecutor(1) as pool:
            assert pool.submit(partial(copy_context().run, "abc".lower)).result() == "abc"
            assert asked == []
            assert pool.submit(len, "abc").result() == 3
            assert len(asked) == 1


def test_a_built_trace_counts_visits_for_each_kind_and_name():
    build = TraceBuilder()
    question = build.input("question", "?")
    for _ in range(3):
        build.llm("answer", reads=[question], reply="!")
        build.tool("answer", result="!", reads=[question])
    trace = build.finish({"question": question})
    assert [(span.kind, span.visit) for span in trace.spans if span.name == "answer"] == [
        (kind, visit) for visit in range(3) for kind in ("node", "tool")
    ]


class TestBenchmarks:
    def test_cases_take_turns(self):
        order = []
        cases = {name: lambda name=name: order.append(name) for name in "abc"}
        samples = take_turns(cases, 4)
        assert [sorted(order[at : at + 3]) for at in range(0, 15, 3)] == [["a", "b", "c"]] * 5
        assert {len(times) for times in (*samples.cpu.values(), *samples.wall.values())} == {4}

    def test_a_figure_is_the_median_of_differences_within_rounds(self):
        figure = added({"base": [1.0, 5.0, 2.0], "case": [1.5, 6.0, 3.5]}, "case", "base", 10)
        assert figure.median == pytest.approx(100_000)
        assert (verdict(1.0, 1.0), verdict(1.1, 1.0)) == ("holds", "DOES NOT HOLD")

    @pytest.mark.parametrize("module", [recording, overlay])
    def test_each_prints_its_targets(self, module, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["benchmark", "4"])
        with pytest.raises(SystemExit):  # four rounds say nothing about the figures themselves
            module.main()
        printed = capsys.readouterr().out
        assert printed.count("limit") >= 8

    def test_an_overlay_that_is_open_elsewhere_is_not_in_force_here(self):
        model = ScriptedChatModel(replies=["one", "two"])
        config: Any = {"metadata": {"langgraph_checkpoint_ns": "node0:1"}}
        text = overlay.own_text(0).render({"name": "Ada"})
        with overlay.open_elsewhere():
            model.invoke([SystemMessage(text)], config)
        with overlay.SITUATIONS["20 prompts of one node"][0]():
            model.invoke([SystemMessage(text)], config)
        assert [request.messages[0].text for request in model.requests] == [text, "New 19 for Ada."]
