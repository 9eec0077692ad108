"""`Prompt`: what it gives, in which text, what a Trace tells of its use, and that an optimisation reaches it."""

from __future__ import annotations

import asyncio
import doctest
import threading
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain.agents.middleware import dynamic_prompt
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from textgrad_lg import (
    Evals,
    MemoryRegistry,
    Prompt,
    Score,
    Settings,
    Strategy,
    Template,
    backward,
    from_registry,
    handle,
    optimize,
    seed,
)
from textgrad_lg.errors import DiscoveryError, TemplateError, TraceError
from textgrad_lg.overlay import Replacement, bind, overlay
from textgrad_lg.record import discover, record, static_texts
from textgrad_lg.record.uses import Held, found_again
from textgrad_lg.registry import NewVersion
from textgrad_lg.site import Site
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.trace import Trace

PLANNER = Site(("prompts:planner",), "text")
TEXT = "You plan for {audience}."


class State(TypedDict, total=False):
    audience: str
    question: str
    answer: str
    messages: Annotated[list[AnyMessage], add_messages]


KIDS: Any = {"audience": "kids", "question": "How do I bake bread?"}
OLD: Any = {"audience": "the elderly", "question": "Where can I swim?"}


def echo():
    """A model whose reply is the first message it was sent."""
    return ScriptedChatModel(replies=lambda messages: messages[0].text)


def planner(default=TEXT, **options):
    return Prompt("planner", default=default, **options)


def changed(prompt, text):
    return {prompt.site: Replacement(prompt.own, Template(text, prompt.own.slots))}


def graph_of(*nodes) -> Any:
    build = StateGraph(State)
    names = [getattr(node, "__name__", f"node{at}") for at, node in enumerate(nodes)]
    for name, node in zip(names, nodes, strict=True):
        build.add_node(name, node)
    for first, then in zip([START, *names], [*names, END], strict=True):
        build.add_edge(first, then)
    return build.compile(name="desk")


def recorded(graph, *inputs):
    traces: list[Trace] = []
    for at, state in enumerate(inputs or (KIDS, OLD)):
        with record(example=str(at)) as recording:
            graph.invoke(state)
        traces.append(recording.trace)
    return traces


def uses(trace):
    """The handles that were used: Variable id, site, text."""
    return [(at.id, str(at.site), at.value) for at in trace.variables if at.site and "prompts:" in str(at.site)]


def edges(trace, source):
    return [(edge.target, edge.via, edge.weight) for edge in trace.edges if edge.source == source]


def found(discovery):
    return {str(site): text.text for site, text in discovery.parameters.items()}


# The text


class TestText:
    def test_the_docstring_is_true(self):
        assert doctest.testmod(handle).failed == 0
        assert doctest.testmod(handle).attempted == 7

    def test_strings_keep_slots_and_format_fills_them(self):
        prompt = planner()
        assert str(prompt) == f"{prompt}" == "{}".format(prompt) == TEXT  # noqa: UP032  each is another way to ask
        assert f"{prompt:>26}|{prompt!s:.3}" == f"  {TEXT}|You"
        assert prompt.format(audience="kids", other="left out") == "You plan for kids."
        assert prompt.render({"audience": 7}) == "You plan for 7."
        assert repr(prompt) == "Prompt('planner', default='You plan for {audience}.')"
        assert prompt.own == Template(TEXT, ("audience",))
        assert str(prompt.site) == "prompts:planner/text"
        assert Site.parse("prompts:planner/text") == prompt.site

    def test_braces_that_are_no_slots_are_text(self):
        prompt = Prompt("json", default='Say {"label": {label}} for {} and {0}.')
        assert prompt.own.slots == ("label",)
        assert prompt.format(label="x") == 'Say {"label": x} for {} and {0}.'
        assert Prompt("plain", default="Write {name} as it is.", slots=()).format() == "Write {name} as it is."

    def test_a_slot_named_like_an_argument_of_python(self):
        assert Prompt("p", default="{self} {values}").format(self="a", values="b") == "a b"

    @pytest.mark.parametrize(
        ("name", "default", "options", "why"),
        [
            ("", "x", {}, "cannot be the name"),
            ("a/b", "x", {}, "letters, digits"),
            ("a#1", "x", {}, "cannot be the name"),
            ("prompts:a", "x", {}, "cannot be the name"),
            ("p", " \n", {}, "empty default"),
            ("p", "x", {"role": "ai"}, "can be 'system' or 'human'"),
            ("p", "x {a}", {"slots": ["b"]}, "does not hold the slot {b}"),
        ],
    )
    def test_what_cannot_be_a_handle_is_refused(self, name, default, options, why):
        with pytest.raises(TemplateError, match=why):
            Prompt(name, default=default, **options)

    def test_a_missing_value_says_which(self):
        with pytest.raises(TemplateError, match=r"'planner' needs a value for \{audience\}; it was given other"):
            planner().format(other=1)

    @given(
        st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=8), min_size=3),
        st.text(max_size=12),
    )
    def test_what_was_put_into_a_message_is_found_again(self, parts, values, around):
        prompt = Prompt("p", default="Be: " + "".join(f"{text}{{{slot}}}" for text, slot in parts) + " So be it.")
        rendered = prompt.format(**values)
        assert rendered == prompt.own.render(values)
        held = Held(prompt.site, prompt.own, prompt.own.text, rendered)
        assert list(found_again(held, f"{around}{rendered}{around}")) == [rendered]
        # A text that the code fills later is found by its constants, whole and unchanged.
        later = Held(prompt.site, prompt.own, prompt.own.text, prompt.own.text)
        for part in found_again(later, f"{around}\n{rendered}\n{around}"):
            assert part in f"{around}\n{rendered}\n{around}"
            assert prompt.own.match(part) is not None


# As a Runnable


class TestRunnable:
    def test_every_way_to_run_gives_the_message(self):
        prompt = planner()
        want = [SystemMessage("You plan for kids.")]
        assert prompt.invoke({"audience": "kids"}).to_messages() == want
        assert asyncio.run(prompt.ainvoke({"audience": "kids"})).to_messages() == want
        assert [value.to_messages() for value in prompt.batch([{"audience": "kids"}] * 2)] == [want, want]
        assert [value.to_messages() for value in prompt.stream({"audience": "kids"})] == [want]
        assert prompt.invoke("kids").to_messages() == want  # type: ignore[arg-type]  one slot takes the value itself
        assert planner(role="human").invoke({"audience": "kids"}).to_messages() == [HumanMessage("You plan for kids.")]

    def test_the_messages_of_a_state_come_after_its_own(self):
        value = planner().invoke({"audience": "kids", "messages": [("human", "hi")], "other": 1})
        assert [message.text for message in value.to_messages()] == ["You plan for kids.", "hi"]
        slot = Prompt("p", default="So far: {messages}").invoke({"messages": ["a"]})
        assert [message.text for message in slot.to_messages()] == ["So far: ['a']"]

    def test_input_that_is_no_mapping(self):
        with pytest.raises(
            TemplateError, match=r"was given a str; give it a mapping with values for its slots \(none\)"
        ):
            Prompt("p", default="No slot.").invoke("hello")  # type: ignore[arg-type]

    def test_in_a_chain(self):
        model = echo()
        chain = planner() | model
        assert chain.invoke({"audience": "kids", "messages": [HumanMessage("go")]}).text == "You plan for kids."
        with overlay(changed(planner(), "Plan, {audience}!")):
            assert chain.invoke({"audience": "kids"}).text == "Plan, kids!"
        assert str(model.requests[0]) == snapshot("system: You plan for kids.\nhuman: go")

    def test_as_the_prompt_of_create_react_agent(self):
        prompt = Prompt("clerk", default="You serve.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own: it has moved to another package
            from langgraph.prebuilt import create_react_agent

            model = echo()
            agent = create_react_agent(model, [], prompt=prompt)
        asked = {"messages": [HumanMessage("hi")]}
        assert agent.invoke(asked)["messages"][-1].text == "You serve."
        with overlay(changed(prompt, "Be quick.")):
            assert agent.invoke(asked)["messages"][-1].text == "Be quick."
        assert str(model.requests[1]) == snapshot("system: Be quick.\nhuman: hi")

    def test_what_is_evaluated_while_the_graph_is_built_keeps_its_text(self):
        prompt = Prompt("clerk", default="You serve.")
        agent = create_agent(echo(), system_prompt=str(prompt))
        chain = ChatPromptTemplate.from_messages([("system", str(prompt))]) | echo()
        with overlay(changed(prompt, "Be quick.")):
            assert agent.invoke({"messages": [HumanMessage("hi")]})["messages"][-1].text == "You serve."
            assert chain.invoke({}).text == "You serve."


# The text in force


def asks(prompt, model=None):
    model = model or echo()

    def ask(state):
        return {"answer": model.invoke([SystemMessage(prompt.format(**state))]).text}

    return graph_of(ask)


class TestInForce:
    def test_an_overlay_and_nothing_after_it(self):
        prompt = planner()
        graph = asks(prompt)
        with overlay(changed(prompt, "For {audience}.")):
            assert graph.invoke(KIDS)["answer"] == "For kids."
            with overlay({}):
                assert graph.invoke(KIDS)["answer"] == "You plan for kids."
        assert graph.invoke(KIDS)["answer"] == "You plan for kids."

    def test_overlays_side_by_side(self):
        prompt, together = planner(), threading.Barrier(8)

        def ask(state):
            together.wait()
            return {"answer": prompt.format(**state)}

        graph = graph_of(ask)

        def one(at):
            with overlay(changed(prompt, f"Candidate {at} for {{audience}}.")):
                return graph.invoke(KIDS)["answer"]

        async def main():
            return await asyncio.gather(*(asyncio.to_thread(one, at) for at in range(8)))

        with asyncio.Runner() as runner:
            from concurrent.futures import ThreadPoolExecutor

            runner.get_loop().set_default_executor(ThreadPoolExecutor(8))
            assert runner.run(main()) == [f"Candidate {at} for kids." for at in range(8)]

    def test_a_bound_graph_streams_and_leaves_its_caller_alone(self):
        prompt = planner()
        graph = bind(asks(prompt), lambda: changed(prompt, "Bound for {audience}."))
        stream = graph.stream(KIDS)
        assert next(stream) == {"ask": {"answer": "Bound for kids."}}
        assert str(prompt) == TEXT
        assert asyncio.run(graph.ainvoke(KIDS))["answer"] == "Bound for kids."

    def test_a_bound_graph_in_a_node_of_another(self):
        prompt = planner()
        inner = bind(asks(prompt), lambda: changed(prompt, "Bound for {audience}."))
        outer = StateGraph(State)
        outer.add_node("inner", inner)
        outer.add_edge(START, "inner")
        assert outer.compile().invoke(KIDS)["answer"] == "Bound for kids."

    def test_texts_on_top_of_bound_texts(self):
        prompt = planner()
        graph = bind(asks(prompt), lambda: changed(prompt, "Bound for {audience}."))
        with overlay(changed(prompt, "Tried for {audience}.")):
            assert graph.invoke(KIDS)["answer"] == "Tried for kids."
        bound = Template("Bound for {audience}.", ("audience",))
        with overlay({prompt.site: Replacement(bound, Template("On top for {audience}.", ("audience",)))}):
            assert graph.invoke(KIDS)["answer"] == "On top for kids."
        with overlay({prompt.site: Replacement(Template("Other."), Template("Never."))}):
            assert graph.invoke(KIDS)["answer"] == "Bound for kids."

    def test_a_registry_and_a_default_that_was_edited_since(self):
        registry = MemoryRegistry()
        name = f"desk:{PLANNER}"
        (own,) = registry.commit([NewVersion(name, Template(TEXT, ("audience",)))], label="x", expect={name: None})
        new = NewVersion(name, Template("Published for {audience}.", ("audience",)), parent=own.version)
        registry.commit([new], label="production", expect={name: None})
        assert from_registry(asks(planner()), registry).invoke(KIDS)["answer"] == "Published for kids."
        edited = planner("You plan with care for {audience}.")
        assert from_registry(asks(edited), registry).invoke(KIDS)["answer"] == "You plan with care for kids."

    def test_a_text_with_slots_that_the_handle_does_not_have(self):
        prompt = planner(slots=())
        old = Template(TEXT, ("audience",))
        with overlay({prompt.site: Replacement(old, Template("New for {audience}.", ("audience",)))}):
            assert str(prompt) == TEXT


# Recording


class TestRecording:
    def test_a_use_is_a_parameter_with_an_edge_to_the_reply_it_was_sent_for(self):
        (trace,) = recorded(asks(planner()), KIDS)
        assert uses(trace) == [("s1.prompt", "prompts:planner/text", TEXT)]
        assert edges(trace, "s1.prompt") == [("s2.out", "text", 1.0)]
        assert trace.variable_by_id["s1.prompt"].role == "prompt `planner`"
        assert Trace.from_json(trace.to_json()) == trace

    def test_sync_and_async_streams_and_sync_nodes_in_async_runs_tell_the_same(self):
        prompt, model = planner(), echo()

        async def aask(state):
            return {"answer": (await model.ainvoke([SystemMessage(prompt.format(**state))])).text}

        async def streamed(graph):
            return [chunk async for chunk in graph.astream(KIDS)]

        def told(run):
            with record() as recording:
                run()
            (trace,) = recording.traces
            return uses(trace), edges(trace, "s1.prompt")

        graph, agraph = asks(prompt, model), graph_of(aask)
        want = told(lambda: graph.invoke(KIDS))
        assert want == ([("s1.prompt", "prompts:planner/text", TEXT)], [("s2.out", "text", 1.0)])
        assert told(lambda: list(graph.stream(KIDS, stream_mode="messages"))) == want
        assert told(lambda: asyncio.run(graph.ainvoke(KIDS))) == want
        assert told(lambda: asyncio.run(agraph.ainvoke(KIDS))) == want
        assert told(lambda: asyncio.run(streamed(agraph))) == want

    def test_of_two_calls_only_the_one_whose_messages_hold_it(self):
        model, prompt = echo(), planner()

        def ask(state):
            model.invoke([SystemMessage("Another thing entirely."), HumanMessage(state["question"])])
            return {"answer": model.invoke([SystemMessage(f"{prompt.format(**state)}\nBe brief.")]).text}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert edges(trace, "s1.prompt") == [("s3.out", "text", 1.0)]

    def test_a_use_that_no_call_shows_is_a_candidate_of_what_the_node_made(self):
        prompt = planner()

        def ask(state):
            return {"answer": str(len(prompt.format(**state)) + 1000)}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert edges(trace, "s1.prompt") == [("s1.out.answer", "channel", 0.1)]

    def test_slots_that_the_code_fills_itself(self):
        prompt = planner()

        def ask(state):
            return {"answer": echo().invoke([SystemMessage(str(prompt).format(**state))]).text}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert edges(trace, "s1.prompt") == [("s2.out", "text", 1.0)]

    def test_in_a_tool_a_router_a_task_and_a_chain(self):
        prompt, model = planner("Say it in other words."), echo()

        @tool
        def reword(text: str) -> str:
            """Reword a text."""
            return f"{prompt} {text}"

        @tool
        def count(text: str) -> int:
            """Count."""
            return len(str(prompt)) * 1000

        def ask(state):
            reword.invoke({"text": state["question"]})
            count.invoke({"text": state["question"]})
            chain = RunnableLambda(lambda text: [SystemMessage(f"{prompt} Now: {text}")]) | model
            return {"answer": chain.invoke(state["question"]).text}

        def route(state):
            return END if model.invoke([SystemMessage(f"{prompt} Or not?")]) else "ask"

        build = StateGraph(State)
        build.add_node("ask", ask)
        build.add_edge(START, "ask")
        build.add_conditional_edges("ask", route)
        (trace,) = recorded(build.compile(), KIDS)
        by_span = {
            trace.span_by_id[at.id.partition(".")[0]].name: edges(trace, at.id)
            for at in trace.variables
            if at.site == PLANNER
        }
        kinds = {
            name: [(trace.span_by_id[target.partition(".")[0]].kind.value, via, weight) for target, via, weight in out]
            for name, out in by_span.items()
        }
        assert kinds == snapshot(
            {
                "reword": [("tool", "text", 1.0)],
                "count": [("tool", "channel", 0.1)],
                "ask": [("llm", "text", 1.0)],
                "route": [("llm", "text", 1.0)],
            }
        )

        @task
        def work(text: str) -> str:
            return model.invoke([SystemMessage(f"{prompt} {text}")]).text

        @entrypoint()
        def main(text: str) -> str:
            return work(text).result()

        with record() as recording:
            main.invoke("hello")
        assert [edges(recording.trace, name)[0][1:] for name, *_ in uses(recording.trace)] == [("text", 1.0)]

    def test_a_tool_whose_own_model_call_shows_it(self):
        prompt, model = planner("Say it in other words."), echo()

        @tool
        def reword(text: str) -> str:
            """Reword a text."""
            return model.invoke([SystemMessage(f"{prompt} {text}")]).text.upper() + "!"

        def ask(state):
            return {"answer": reword.invoke({"text": state["question"]})}

        (trace,) = recorded(graph_of(ask), KIDS)
        (name,) = [at.id for at in trace.variables if at.site == PLANNER]
        assert [trace.variable_by_id[target].role for target, *_ in edges(trace, name)] == ["reply of `ask`"]

    def test_a_tool_that_fails(self):
        prompt = planner("Say it in other words.")

        @tool
        def reword(text: str) -> str:
            """Reword a text."""
            raise ValueError(str(prompt))

        def ask(state):
            with pytest.raises(ValueError, match="other words"):
                reword.invoke({"text": state["question"]})
            return {"answer": "none"}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert [site for _, site, _ in uses(trace)] == ["prompts:planner/text"]

    def test_a_chain_outside_any_graph(self):
        with record() as recording:
            (planner() | echo()).invoke({"audience": "kids"})
            (RunnableLambda(lambda text: f"{planner()} {text}") | echo()).invoke("go")
        first, second = recording.traces
        assert [edges(trace, "s0.prompt") for trace in (first, second)] == [[("s1.out", "text", 1.0)]] * 2

    def test_outside_any_run_nothing_is_recorded(self):
        with record() as recording:
            str(planner())
            planner().invoke({"audience": "kids"})
        with pytest.raises(TraceError, match="nothing was recorded"):
            _ = recording.trace

    def test_the_same_text_is_one_parameter_a_visit_and_other_values_are_others(self):
        prompt, model = planner(), echo()

        def ask(state):
            for audience in ("kids", "kids", "cats"):
                model.invoke([SystemMessage(prompt.format(audience=audience))])
            (prompt | model).invoke({"audience": "kids"})
            return {"answer": "done"}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert [name for name, *_ in uses(trace)] == ["s1.prompt", "s1.prompt.2"]
        assert [target for target, *_ in edges(trace, "s1.prompt")] == ["s4.out"]
        assert [target for target, *_ in edges(trace, "s1.prompt.2")] == ["s2.out", "s3.out", "s5.out"]

    def test_uses_in_tasks_of_a_node_come_in_an_order_of_their_own(self):
        prompts = [Prompt(name, default=f"The words of {name}.") for name in ("one", "two", "three", "four")]

        def traced(order):
            async def ask(state):
                async def use(at):
                    await asyncio.sleep(0)
                    return str(prompts[at])

                await asyncio.gather(*map(use, order))
                return {"answer": "done"}

            async def main():
                with record() as recording:
                    await graph_of(ask).ainvoke(KIDS)
                return recording.trace

            return uses(asyncio.run(main()))

        assert traced([0, 1, 2, 3]) == traced([3, 1, 0, 2])

    def test_uses_in_many_threads_of_a_node_are_all_noted(self):
        prompts: list[Any] = [Prompt(f"p{at:02}", default=f"The words of number {at}.") for at in range(40)]

        def ask(state):
            RunnableLambda(str).batch(prompts)
            return {"answer": "done"}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert sorted(site for _, site, _ in uses(trace)) == [str(prompt.site) for prompt in prompts]

    def test_both_of_two_nested_blocks_note_it(self):
        prompt, seen = planner("Plan."), []

        def ask(state):
            with record() as inner:
                RunnableLambda(lambda _: str(prompt)).invoke("x")
            seen.append(inner.trace)
            return {"answer": "done"}

        (trace,) = recorded(graph_of(ask), KIDS)
        assert len(uses(seen[0])) == 1
        assert [site for _, site, _ in uses(trace)] == ["prompts:planner/text"]

    def test_in_a_loop_each_visit_has_its_own(self):
        prompt, model = planner("Once more."), echo()

        def ask(state):
            model.invoke([SystemMessage(str(prompt))])
            return {"answer": state.get("answer", "") + "x"}

        build = StateGraph(State)
        build.add_node("ask", ask)
        build.add_edge(START, "ask")
        build.add_conditional_edges("ask", lambda state: END if state["answer"] == "xxx" else "ask")
        (trace,) = recorded(build.compile(), KIDS)
        assert [edges(trace, name) for name, *_ in uses(trace)] == [
            [("s2.out", "text", 1.0)],
            [("s5.out", "text", 1.0)],
            [("s8.out", "text", 1.0)],
        ]


# Discovery

ATTRIBUTE = Prompt("attribute", default="It is an attribute.")


@dataclass
class Settled:
    """A record of settings, as programs keep them."""

    prompt: Prompt


SETTLED = Settled(Prompt("settled", default="It is in a record."))
TABLE = {"first": Prompt("tabled", default="It is in a table.")}


class TestDiscovery:
    def test_a_message_that_is_wholly_the_handles_text_is_no_second_parameter(self):
        graph = asks(planner())
        discovery = discover(recorded(graph), graph)
        assert found(discovery) == {"prompts:planner/text": TEXT}
        assert discovery.parameters[PLANNER] == planner().own
        assert discovery.trainable == (PLANNER,)
        assert discovery.unreached == ()

    def test_without_the_code_the_runs_tell_as_much(self):
        discovery = discover(recorded(asks(planner())))
        assert discovery.parameters == {PLANNER: planner().own}

    def test_other_words_around_it_are_a_parameter_with_a_slot_for_it(self):
        prompt, model = Prompt("style", default="Write in short sentences."), echo()

        def ask(state):
            return {"answer": model.invoke([SystemMessage(f"{prompt} The readers are {state['audience']}.")]).text}

        graph = graph_of(ask)
        discovery = discover(recorded(graph), graph)
        assert found(discovery) == {
            "ask/system": "{prompt} The readers are {audience}.",
            "prompts:style/text": "Write in short sentences.",
        }
        assert found(discover(recorded(graph))) == {
            "ask/system": "{style} The readers are {audience}.",
            "prompts:style/text": "Write in short sentences.",
        }
        with overlay(
            {
                **changed(prompt, "Write in verse."),
                Site(("ask",), "system"): Replacement(
                    discovery.parameters[Site(("ask",), "system")],
                    Template("{prompt} Written for {audience}.", ("prompt", "audience")),
                ),
            }
        ):
            assert graph.invoke(KIDS)["answer"] == "Write in verse. Written for kids."

    def test_slots_that_the_code_fills_itself(self):
        prompt = Prompt("p", default="You plan for {audience} and nobody else.")

        def ask(state):
            return {"answer": echo().invoke([SystemMessage(str(prompt).format(**state))]).text}

        graph = graph_of(ask)
        assert found(discover(recorded(graph), graph)) == {"prompts:p/text": prompt.own.text}

    def test_a_slot_at_the_end_with_a_value_that_no_state_holds(self):
        prompt = Prompt("p", default="You plan for {audience}")

        def ask(state):
            filled = prompt.format(audience=f"the {len(state['audience'])} friends")
            return {"answer": echo().invoke([SystemMessage(filled)]).text}

        graph = graph_of(ask)
        assert found(discover(recorded(graph), graph)) == {"prompts:p/text": prompt.own.text}

    def test_a_handle_that_is_made_where_it_is_used(self):
        def ask(state):
            prompt = Prompt("inside", default="You are a helpful planner of trips.")
            return {"answer": echo().invoke([SystemMessage(str(prompt))]).text}

        graph = graph_of(ask)
        assert found(discover(recorded(graph), graph)) == {"prompts:inside/text": "You are a helpful planner of trips."}

    def test_nothing_of_langchain_needs_to_be_called(self):
        prompt = planner()

        def ask(state):
            return {"answer": prompt.format(**state).upper()}

        graph = graph_of(ask)
        assert found(discover(recorded(graph), graph)) == {"prompts:planner/text": TEXT}

    def test_wherever_the_code_holds_it_the_walk_finds_it(self):
        local = Prompt("closed", default="It is in a closure.")

        class Node:
            own = ATTRIBUTE

            def __call__(self, state):
                return {"answer": f"{self.own} {local} {SETTLED.prompt} {TABLE['first']}"}

        graph = graph_of(Node(), planner() | echo())
        texts = {text.handle: text for text in static_texts(graph) if text.handle}
        assert {name: text.held.partition(" of ")[0] for name, text in texts.items()} == snapshot(
            {
                "settled": "module constant `tests.test_handle.SETTLED.prompt`",
                "tabled": "module constant `tests.test_handle.TABLE['first']`",
                "closed": "variable `local` in the closure",
                "attribute": "attribute `own`",
                "planner": "node `node1`",
            }
        )
        assert texts["settled"].text == "It is in a record."
        assert texts["planner"].slots == ("audience",)
        assert set(found(discover((), graph))) == {f"prompts:{name}/text" for name in texts}

    def test_a_handle_in_a_module_is_found_with_its_line(self):
        def ask(state):
            return {"answer": str(ATTRIBUTE)}

        graph = graph_of(ask)
        discovery = discover((), graph)
        (source,) = discovery.sources.values()
        assert source.startswith("module constant `tests.test_handle.ATTRIBUTE` (")
        assert "test_handle.py:" in source
        assert discover(recorded(graph), graph).sources == discovery.sources

    def test_one_that_no_run_used_is_named_as_unreached(self):
        used, unused = planner(), Prompt("unused", default="Never used at all.")

        def ask(state):
            return {"answer": unused.format() if state["audience"] == "nobody" else used.format(**state)}

        graph = graph_of(ask)
        discovery = discover(recorded(graph), graph)
        assert found(discovery) == {"prompts:planner/text": TEXT}
        assert [(text.handle, text.text) for text in discovery.unreached] == [("unused", "Never used at all.")]
        assert "no recorded run sent the text of variable `unused` in the closure of" in discovery.warnings[0]
        more = discovery.extend(recorded(graph, {"audience": "nobody"}), graph)
        assert set(found(more)) == {"prompts:planner/text", "prompts:unused/text"}
        assert more.trainable == (PLANNER, Site(("prompts:unused",), "text"))

    def test_two_handles_with_one_name_and_one_default_are_one(self):
        one, two = planner(), planner()

        def ask(state):
            return {"answer": one.format(**state) + two.format(**state)}

        graph = graph_of(ask)
        assert found(discover(recorded(graph), graph)) == {"prompts:planner/text": TEXT}

    def test_two_handles_with_one_name_and_different_defaults_are_an_error(self):
        one, two = planner("Plan well."), planner("Plan badly. " * 10)

        def ask(state):
            return {"answer": f"{one} {two}" if state["audience"] == "both" else str(one)}

        graph = graph_of(ask)
        message = (
            r"two prompt handles are called 'planner' and have different defaults: \"Plan well.\" \(variable `one` .*\) and "
            r"\"Plan badly.*\.\.\.\" \(variable `two` .*\); give each a name of its own"
        )
        for traces in ((), recorded(graph, {"audience": "one"})):
            with pytest.raises(DiscoveryError, match=message):
                discover(traces, graph)
        with pytest.raises(DiscoveryError, match=r"used in `ask`.* and .*used in `ask`"):
            discover(recorded(graph, {"audience": "both"}))
        # What comes to light only in a later run must not end it.
        early = discover(recorded(graph, {"audience": "one"}))
        assert early.extend(recorded(graph, {"audience": "both"})) is early

    def test_a_run_under_another_text_is_no_second_default(self):
        prompt = planner()
        graph = asks(prompt)
        with overlay(changed(prompt, "New for {audience}.")):
            traces = recorded(graph)
        assert found(discover(traces, graph)) == {"prompts:planner/text": "New for {audience}."}

    def test_choosing_what_may_be_changed(self):
        prompt, model = planner(), echo()

        def ask(state):
            return {"answer": model.invoke([SystemMessage("Some words."), HumanMessage(prompt.format(**state))]).text}

        graph = graph_of(ask)
        traces = recorded(graph)
        for only in ("planner", "prompts:planner", "prompts:*", "prompts:planner/text"):
            assert discover(traces, graph, only=[only]).trainable == (PLANNER,)
        assert discover(traces, graph, only=["ask"]).trainable == (Site(("ask",), "system"),)
        assert set(discover(traces, graph).trainable) == {PLANNER, Site(("ask",), "system")}

    def test_a_labelled_trace(self):
        graph = asks(planner())
        traces = recorded(graph)
        discovery = discover(traces, graph)
        labelled = discovery.label(traces[0])
        marked = {at.id: (at.site and str(at.site), at.requires_grad) for at in labelled.variables}
        assert marked["s1.prompt"] == ("prompts:planner/text", True)
        assert marked["s2.in0"] == (None, False)
        assert discovery.label(labelled) == labelled
        frozen = discover(traces, graph, only=[])
        assert not any(at.requires_grad for at in frozen.label(traces[0]).variables)

    def test_a_trace_that_was_stored_without_its_notes(self):
        (trace,) = recorded(asks(planner()), KIDS)
        for span in trace.spans:
            span.attributes.pop("prompts", None)
        assert discover([trace]).parameters[PLANNER] == planner().own


# End to end

WANTED = "Reply with the label alone."
JUDGE = "You judge a review."


def wordy():
    """Judges a review, at length unless it is told to be short."""
    return SimulatedChatModel(
        answer=lambda messages: f"I think it is {'good' if 'good' in messages[-1].text else 'bad'}",
        rules=[Rule(WANTED, lambda reply, _: reply.split()[-1])],
    )


def in_an_fstring(prompt):
    model = wordy()

    def ask(state):
        return {"answer": model.invoke([SystemMessage(f"{prompt}"), HumanMessage(state["question"])]).text}

    return graph_of(ask)


def in_a_chain(prompt):
    chain = prompt | wordy()

    def ask(state):
        return {"answer": chain.invoke({"messages": [HumanMessage(state["question"])]}).text}

    return graph_of(ask)


def in_middleware(prompt):
    @dynamic_prompt
    def told(request):
        return str(prompt)

    agent = create_agent(wordy(), middleware=[told], name="judge")

    def ask(state):
        return {"answer": agent.invoke({"messages": [HumanMessage(state["question"])]})["messages"][-1].text}

    return graph_of(ask)


def in_a_plain_function(prompt):
    def client(system, question):
        """Stands for another SDK: no call that LangChain could see."""
        label = "good" if "good" in question else "bad"
        return label if WANTED in system else f"I think it is {label}"

    def ask(state):
        return {"answer": client(str(prompt), state["question"])}

    return graph_of(ask)


def reviews():
    return [
        {"inputs": {"question": f"{word} film {at}"}, "reference_outputs": {"answer": word}}
        for at in range(10)
        for word in ("good", "bad")
    ]


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED])
async def test_a_critic_is_asked_about_it_as_about_any_prompt(strategy):
    graph = in_an_fstring(Prompt("judge", default=JUDGE))
    (trace,) = recorded(graph, {"question": "a good film"})
    said = {
        Strategy.CHAIN: {"about_this": [{"id": "P1", "feedback": WANTED}], "about_inputs": []},
        Strategy.FUSED: {"feedback": [{"id": "P1", "feedback": WANTED}]},
    }
    critic = ScriptedChatModel(replies=[said[strategy]])
    scored = seed(discover([trace], graph).label(trace), [Score("right", 0.0, "It should have been: good")])
    gradients = await backward(scored, model=critic, strategy=strategy)
    assert [(str(site), [at.text for at in on]) for site, on in gradients.parameters().items()] == [
        ("prompts:judge/text", [WANTED])
    ]
    assert "P1: prompt `judge`" in str(critic.requests[0])


@pytest.mark.parametrize("build", [in_an_fstring, in_a_chain, in_middleware, in_a_plain_function])
def test_an_optimisation_improves_it(build):
    prompt = Prompt("judge", default=JUDGE)
    graph = build(prompt)
    registry = MemoryRegistry()

    def right(outputs, reference_outputs):
        return outputs["answer"] == reference_outputs["answer"], WANTED

    result = optimize(
        graph,
        Evals(reviews(), [right]),
        registry=registry,
        settings=Settings(steps=1, batch=4, strategy=Strategy.STRUCTURAL),
    )
    assert [str(site) for site in result.original] == ["prompts:judge/text"]
    assert result.improved
    assert WANTED in result.prompts["prompts:judge/text"]
    assert registry.names() == ("desk:prompts:judge/text",)
    asked = State(question="a good one")
    assert result.graph.invoke(asked)["answer"] == "good"
    assert graph.invoke(asked)["answer"] == "I think it is good"
    assert str(prompt) == JUDGE
    assert from_registry(graph, registry).invoke(asked)["answer"] == "good"
    result.rollback()
    assert result.graph.invoke(asked)["answer"] == "I think it is good"
