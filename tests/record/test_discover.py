"""Discovery: which texts of a graph are Parameters."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import NoPromptFound, UnknownParameter
from textgrad_lg.prompt import Template
from textgrad_lg.record import Discovery, Tool, discover, literals, record, static, static_texts
from textgrad_lg.record.observe import leaves, sendings
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel, TraceBuilder
from textgrad_lg.trace import Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable


class State(TypedDict, total=False):
    review: str
    label: str
    notes: Annotated[list[str], operator.add]
    messages: list[Any]


MODEL = ScriptedChatModel(replies=lambda messages: "positive" if "good" in messages[-1].text else "negative")
TRIAGE = "Sort the review. Say positive or negative."
REVIEWS = ("a good film", "the book was bad", "not much of a play", "what good food")


def graph_of(**nodes):
    """One node after the other."""
    build = StateGraph(State)
    for name, node in nodes.items():
        build.add_node(name, node)
    for first, then in zip((START, *nodes), (*nodes, END), strict=True):
        build.add_edge(first, then)
    return build.compile()


def runs(graph, reviews=REVIEWS, **state):
    traces: list[Trace] = []
    for review in reviews:
        with record(example=review) as recording:
            graph.invoke({"review": review, **state})
        traces.append(recording.trace)
    return traces


def found(discovery):
    """The prompts that were found; what is told of tools and schemas is found as well, and tested elsewhere."""
    return {str(site): text.text for site, text in discovery.parameters.items() if not is_description(site)}


def sites(trace):
    """The printed site of each message that could hold a Parameter, by Variable id."""
    return {
        at.id: str(at.site) if at.site else None for at in trace.variables if ".in" in at.id and at.id[-1].isdigit()
    }


def messages_of(trace):
    """The messages of all model calls."""
    calls: list[Any] = [span.attributes["messages"] for span in trace.spans if span.kind is SpanKind.LLM]
    return [message for messages in calls for message in messages]


# The ways to hold a prompt


def constant(state):
    return {"label": MODEL.invoke([SystemMessage(TRIAGE), HumanMessage(state["review"])]).text}


def f_string(state):
    return {"label": MODEL.invoke(f"Is this review kind?\n\n{state['review']}\n\nSay positive or negative.").text}


CHAT = ChatPromptTemplate.from_messages([("system", "You answer to {label} reviews."), ("human", "{review}")])


def to_label(reply):
    return {"label": reply.text}


@tool
def search(query: str) -> str:
    """Search the web."""
    return "nothing"


class TestWaysToHoldAPrompt:
    """Each with the graph at hand and without, after four runs and after one."""

    @pytest.mark.parametrize("count", [1, 4])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_module_constant(self, known, count):
        graph = graph_of(sort=constant)
        discovery = discover(runs(graph, REVIEWS[:count]), graph if known else None)
        assert found(discovery) == {"sort/system": TRIAGE}
        if known:
            assert next(iter(discovery.sources.values())).startswith(f"module constant `{__name__}.TRIAGE` (")
        else:
            assert discovery.sources == {}

    @pytest.mark.parametrize("count", [1, 4])
    @pytest.mark.parametrize("known", [True, False])
    def test_an_f_string(self, known, count):
        graph = graph_of(sort=f_string)
        discovery = discover(runs(graph, REVIEWS[:count]), graph if known else None)
        (template,) = discovery.parameters.values()
        assert template == Template("Is this review kind?\n\n{review}\n\nSay positive or negative.", ("review",))
        assert [str(site) for site in discovery.parameters] == ["sort/human"]

    @pytest.mark.parametrize("count", [1, 4])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_chat_prompt_template(self, known, count):
        graph = graph_of(sort=constant, answer=CHAT | MODEL | to_label)
        discovery = discover(runs(graph, REVIEWS[:count]), graph if known else None)
        assert found(discovery) == {"sort/system": TRIAGE, "answer/system": "You answer to {label} reviews."}
        assert discovery.parameters[Site(("answer",), "system")].slots == ("label",)
        if known:
            assert discovery.sources[Site(("answer",), "system")] == "ChatPromptTemplate in node `answer`"

    @pytest.mark.parametrize("known", [True, False])
    def test_the_system_prompt_of_an_agent(self, known):
        agent = create_agent(MODEL, [search], system_prompt="You write letters.", name="writer")
        graph = graph_of(desk=agent)
        discovery = discover(runs(graph, REVIEWS[:2], messages=[("human", "hello")]), graph if known else None)
        assert found(discovery) == {"desk/model[writer]/system": "You write letters."}
        assert [(at.name, at.description) for at in discovery.tools][:1] == [("search", "Search the web.")]
        if known:
            assert list(discovery.sources.values())[:1] == ["system_prompt of the agent `writer`"]
        else:
            assert discovery.tools == (Tool("search", "Search the web.", "desk/model"),)


class TestFromRuns:
    def test_texts_of_one_node_are_numbered_in_the_order_of_their_first_use(self):
        def node(state):
            first = "Write one long letter of thanks." if "good" in state["review"] else "Say sorry for it."
            return {"label": MODEL.invoke([SystemMessage(first), SystemMessage("Keep to the facts.")]).text}

        for graph in (None, graph_of(reply=node)):
            assert found(discover(runs(graph_of(reply=node)), graph)) == {
                "reply/system": "Write one long letter of thanks.",
                "reply/system#1": "Keep to the facts.",
                "reply/system#2": "Say sorry for it.",
            }

    def test_a_text_that_moves_to_another_place_among_the_messages_is_one_parameter(self):
        def node(state):
            extra = [SystemMessage("Mind the tone of it.")] if "good" in state["review"] else []
            return {"label": MODEL.invoke([*extra, SystemMessage("Keep to the facts.")]).text}

        discovery = discover(runs(graph_of(reply=node)))
        assert found(discovery) == {"reply/system": "Mind the tone of it.", "reply/system#1": "Keep to the facts."}

    def test_a_loop_gives_one_parameter_with_a_slot_for_its_count(self):
        def write(state):
            turn = len(state.get("notes", []))
            return {"notes": [MODEL.invoke([SystemMessage(f"This is turn {turn} of your work.")]).text]}

        def more(state):
            return "write" if len(state["notes"]) < 3 else END

        build = StateGraph(State).add_node("write", write).add_edge(START, "write")
        graph = build.add_conditional_edges("write", more).compile()
        discovery = discover(runs(graph, ["x"]))
        assert found(discovery) == {"write/system": "This is turn {v0} of your work."}
        labelled = discovery.label(runs(graph, ["y"])[0])
        assert list(sites(labelled).values()) == ["write/system"] * 3

    def test_a_value_that_stands_in_the_constant_text_by_chance_is_no_slot(self):
        def judge(state):
            return {"notes": [MODEL.invoke([SystemMessage("Is it positive, or is it negative? Say so.")]).text]}

        discovery = discover(runs(graph_of(sort=constant, judge=judge)))
        assert discovery.parameters[Site(("judge",), "system")].slots == ()

    def test_a_value_in_a_list_a_message_or_a_record_becomes_a_slot(self):
        def node(state):
            said, note = state["messages"][0], state["notes"]
            return {"label": MODEL.invoke([SystemMessage(f"Notes: {note}. Said: {said.content}, by all.")]).text}

        graph = graph_of(sort=node)
        traces = runs(graph, ["x"], notes=["first note", "second"], messages=[HumanMessage("hello there")])
        assert found(discover(traces)) == {"sort/system": "Notes: {notes}. Said: {messages}, by all."}

    def test_a_text_that_differs_in_every_run_is_a_value_of_the_state(self):
        def node(state):
            text = "".join(reversed(state["review"]))
            return {"label": MODEL.invoke([SystemMessage(TRIAGE), HumanMessage(text)]).text}

        graph = graph_of(sort=node)
        for known in (graph, None):
            discovery = discover(runs(graph), known)
            assert found(discovery) == {"sort/system": TRIAGE}
            assert discovery.warnings == (
                snapshot(
                    "sort/human: 4 texts were sent by one run each and have little in common; "
                    "they are taken for values of the state, not for prompts"
                ),
            )

    def test_texts_that_differ_in_every_run_are_prompts_if_they_stand_in_the_code(self):
        texts = {"a": "Count the apples", "b": "Write about bees", "c": "Sing of cats"}

        def node(state):
            return {"label": MODEL.invoke([SystemMessage(texts[state["review"]] + " " + state["review"] * 5)]).text}

        graph = graph_of(sort=node)
        assert found(discover(runs(graph, "abc"), graph)) == {
            "sort/system": "Count the apples aaaaa",
            "sort/system#1": "Write about bees bbbbb",
            "sort/system#2": "Sing of cats ccccc",
        }

    def test_a_constant_inside_an_f_string_is_trained_and_not_a_slot(self):
        def node(state):
            rules = TRIAGE
            return {"label": MODEL.invoke(f"{rules}\nThe review now follows here: {state['review']}").text}

        graph = graph_of(sort=node)
        assert found(discover(runs(graph), graph)) == {
            "sort/human": f"{TRIAGE}\nThe review now follows here: {{review}}"
        }

    def test_an_instruction_that_was_loaded_while_running_is_trained_and_not_a_slot(self, tmp_path):
        file = tmp_path / "rules.txt"

        def node(state):
            rules = file.read_text()
            return {"label": MODEL.invoke(f"{rules}\nThe review now follows here: {state['review']}").text}

        graph = graph_of(sort=node)
        file.write_text("Only ever answer with one word.")
        assert found(discover(runs(graph), graph)) == {
            "sort/human": "Only ever answer with one word.\nThe review now follows here: {review}"
        }
        # One run cannot tell it from a value, nor can runs in which it reads like another slot.
        assert found(discover(runs(graph, ["x"]), graph)) == {
            "sort/human": "{rules}\nThe review now follows here: {review}"
        }
        file.write_text("Answer with {review} and nothing else.")
        assert found(discover(runs(graph), graph)) == {"sort/human": "{rules}\nThe review now follows here: {review}"}

    def test_a_talk_that_is_the_same_in_every_run_stays_a_slot(self):
        def node(state):
            talk = "".join(f"<said>{note}</said>" for note in state["notes"])
            return {"label": MODEL.invoke(f"Sum up in one line what was said: {talk}").text}

        graph = graph_of(sort=node)
        traces = runs(graph, REVIEWS[:2], notes=["good day to you", "and a good day to you too"])
        assert found(discover(traces, graph)) == {"sort/human": "Sum up in one line what was said: {talk}"}

    def test_the_source_of_a_text_is_not_a_short_text_of_another_node(self):
        def other(state):
            return {"notes": [MODEL.invoke([SystemMessage("Say")]).text]}

        def node(state):
            parts = ["Say", "it", "well"]
            return {"label": MODEL.invoke([SystemMessage(" ".join(parts))]).text}

        graph = graph_of(other=other, sort=node)
        discovery = discover(runs(graph), graph)
        assert [str(site) for site in discovery.sources] == ["other/system"]

    def test_the_code_tells_what_a_transformed_value_is(self):
        def node(state):
            backwards = state["review"][::-1]
            return {"label": MODEL.invoke(f"Read this from its end to its start: {backwards}").text}

        graph = graph_of(sort=node)
        discovery = discover(runs(graph), graph)
        assert list(discovery.parameters.values()) == [
            Template("Read this from its end to its start: {backwards}", ("backwards",))
        ]

    def test_each_text_block_of_a_message_is_looked_at_by_itself(self):
        def node(state):
            blocks = [
                {"type": "text", "text": state["review"]},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "What does the picture show?"},
                "Answer in one word.",
            ]
            return {"label": MODEL.invoke([HumanMessage(blocks)]).text}

        graph = graph_of(see=node)
        traces = runs(graph, REVIEWS[:2])
        discovery = discover(traces)
        assert found(discovery) == {"see/human": "What does the picture show?", "see/human#1": "Answer in one word."}
        labelled = discovery.label(traces[0])
        assert list(sites(labelled).values()) == [None, "see/human", "see/human#1"]
        assert [message["site"] for message in messages_of(labelled)] == ["see/human"]
        assert discovery.label(labelled) == labelled
        assert found(discover(runs(graph_of(see=blocks_of_state), REVIEWS[:2]) + traces)) == found(discovery)

    def test_tools_that_runs_offered_are_named_in_any_form(self):
        tools = [
            "web_search",
            {"type": "function", "function": {"name": "add"}},
            {"name": "sub", "description": "a - b"},
        ]
        build = TraceBuilder()
        build.llm("a", reply="x", prompts={"a/system": "Be kind."})
        trace = build.finish({})
        trace.spans[-1].attributes["tools"] = tools
        assert discover([trace]).tools == (Tool("add", "", "a"), Tool("sub", "a - b", "a"))

    def test_texts_no_run_sent_are_named(self):
        def left(state):
            return {"label": MODEL.invoke([SystemMessage("Turn to the left")]).text}

        def right(state):
            return {"label": MODEL.invoke([SystemMessage("Turn to the right")]).text}

        build = StateGraph(State).add_node("left", left).add_node("right", right)
        graph = build.add_conditional_edges(START, lambda state: "left", ["left", "right"]).compile()
        discovery = discover(runs(graph, ["x"]), graph)
        assert found(discovery) == {"left/system": "Turn to the left"}
        assert [(text.path, text.text) for text in discovery.unreached] == [(("right",), "Turn to the right")]
        (warning,) = discovery.warnings
        assert warning.startswith("no recorded run sent the text of text in")

    def test_of_many_texts_no_run_sent_the_nearest_to_a_node_are_named(self):
        far = {f"note {n}": f"This could be instruction number {n} too" for n in range(9)}

        def helper():
            return far

        def node(state):
            left = helper() and state["review"] == "never"
            text = "Turn to the left" if left else "Turn to the right"
            return {"label": MODEL.invoke([SystemMessage(text)]).text}

        discovery = discover(runs(graph_of(turn=node), ["x"]), graph := graph_of(turn=node))
        (warning,) = discovery.warnings
        assert warning.startswith(f"no recorded run sent the text of text in `{__name__}.")
        assert "`far['note 6']`" in warning
        assert "`far['note 7']`" not in warning
        assert warning.endswith(" and 2 more; it can be trained only on examples that reach it")
        assert len(discovery.unreached) == 10
        assert len(static_texts(graph)) == 11

    def test_the_code_is_walked_once_and_each_function_is_read_once(self, monkeypatch):
        read: list[Any] = []
        monkeypatch.setattr(static, "read", lambda code: read.append(code) or literals.read(code))
        graph = graph_of(one=constant, two=constant, three=f_string)
        traces = runs(graph, REVIEWS[:1])
        discover(traces, graph)
        assert [code.co_name for code in read] == ["constant", "f_string"]

    def test_a_prompt_may_be_made_in_one_node_and_sent_by_another(self):
        def prepare(state):
            return {"notes": [f"You look after the matter of {state['review']} now."]}

        def send(state):
            return {"label": MODEL.invoke([SystemMessage(state["notes"][0])]).text}

        graph = graph_of(prepare=prepare, send=send)
        traces = runs(graph)
        discovery = discover(traces, graph)
        assert found(discovery) == {"send/system": "You look after the matter of {review} now."}
        assert list(sites(discovery.label(traces[0])).values()) == ["send/system"]
        with pytest.raises(NoPromptFound):
            discover(traces)

    def test_instructions_that_are_kept_in_the_state_are_trained_if_they_cannot_be_a_users(self):
        def remind(state):
            short, long = HumanMessage("Go on then."), HumanMessage("Now say what you think.")
            return {"messages": [SystemMessage("Mind the tone."), short, long]}

        build: Any = StateGraph(MessagesState)
        build.add_node("remind", remind)
        build.add_node("talk", lambda state: {"messages": [MODEL.invoke(state["messages"])]})
        graph = build.add_edge(START, "remind").add_edge("remind", "talk").compile()
        with record() as recording:
            graph.invoke({"messages": [("system", "What the caller says."), ("human", "hello")]})
        discovery = discover(recording.traces, graph)
        assert found(discovery) == {"talk/system": "Mind the tone.", "talk/human": "Now say what you think."}
        assert discovery.unreached == ()
        (warning,) = discovery.warnings
        assert warning.partition("remind` ")[2] == snapshot(
            "reached a model as a human message that the graph keeps in its state, where it cannot be told from a user's words; to have it trained, make it a system message, or put it into the messages of the call itself"
        )

    def test_a_prompt_that_was_pulled_in_a_node_names_its_commit(self):
        def pull():
            prompt = ChatPromptTemplate.from_messages([("system", "Grade what {who} wrote."), ("human", "{review}")])
            prompt.metadata = {"lc_hub_owner": "me", "lc_hub_repo": "grader", "lc_hub_commit_hash": "c0ffee"}
            return prompt

        texts: dict[str, Any] = {"pull": pull}

        def node(state):
            chain = texts["pull"]() | MODEL
            return {"label": chain.invoke({"who": "Ann", "review": state["review"]}).text}

        graph = graph_of(sort=node)
        traces = runs(graph)
        for known in (None, graph):
            discovery = discover(traces, known)
            assert found(discovery) == {"sort/system": "Grade what {who} wrote."}
            (source,) = discovery.sources.values()
            assert source.endswith("pulled from me/grader:c0ffee")
        assert traces[0] == Trace.from_json(traces[0].to_json())

    def test_the_result_does_not_depend_on_anything_but_the_arguments(self):
        graph = graph_of(sort=constant, explain=f_string)
        traces = runs(graph)
        assert discover(traces, graph) == discover(iter(traces), graph)


def blocks_of_state(state):
    blocks = [{"type": "text", "text": state["review"]}, {"type": "text", "text": f"{state['review']}!"}]
    return {"label": MODEL.invoke([HumanMessage(blocks)]).text}


class TestFromCode:
    def test_without_runs_the_code_is_read(self):
        def unclear(state):
            parts = ["This could well be an instruction to a model, which is not known."]
            return {"notes": [MODEL.invoke("\n".join(parts)).text]}

        graph = graph_of(sort=constant, ask=f_string, answer=CHAT | MODEL | to_label, unclear=unclear)
        discovery = discover((), graph)
        assert found(discovery) == {
            "sort/system": TRIAGE,
            "ask/human": "Is this review kind?\n\n{review}\n\nSay positive or negative.",
            "answer/system": "You answer to {label} reviews.",
        }
        assert discovery.trainable == tuple(discovery.parameters)
        assert len(discovery.sources) == 3
        (warning,) = discovery.warnings
        assert 'may be a piece of a prompt: "This could well be an instruction to a model, which is no..."' in warning

    def test_an_agent_is_found_without_a_run(self):
        agent = create_agent(MODEL, [search], system_prompt="You write letters.", name="writer")
        discovery = discover((), graph_of(desk=agent))
        assert found(discovery) == {"desk/model[writer]/system": "You write letters."}
        assert discovery.tools == (
            Tool("search", "Search the web.", "desk/model"),
            Tool("search", "Search the web.", "desk/tools"),
        )

    def test_what_a_dry_run_shows_is_what_runs_show(self):
        graph = graph_of(sort=constant, ask=f_string, answer=CHAT | MODEL | to_label)
        assert discover((), graph).parameters == discover(runs(graph), graph).parameters


class TestTrainable:
    @pytest.fixture
    def graph(self):
        inner = graph_of(plan=constant)
        return graph_of(sort=constant, desk=inner, ask=f_string)

    @pytest.mark.parametrize(
        ("only", "trainable"),
        [
            (None, ["sort/system", "desk/plan/system", "ask/human"]),
            (["sort/system"], ["sort/system"]),
            (["plan"], ["desk/plan/system"]),
            (["desk"], ["desk/plan/system"]),
            (["desk/plan"], ["desk/plan/system"]),
            (["*/system"], ["sort/system", "desk/plan/system"]),
            (["ask", "sort"], ["sort/system", "ask/human"]),
            ([], []),
        ],
    )
    def test_names_select_parameters(self, graph, only, trainable):
        discovery = discover((), graph, only=only)
        assert [str(site) for site in discovery.trainable] == trainable
        assert len(discovery.parameters) == 3

    def test_an_agents_name_selects_its_parameters(self):
        agent = create_agent(MODEL, [], system_prompt="You write letters.", name="writer")
        discovery = discover((), graph_of(desk=agent), only=["writer"])
        assert [str(site) for site in discovery.trainable] == ["desk/model[writer]/system"]

    def test_an_unknown_name_is_refused_and_near_ones_are_named(self, graph):
        with pytest.raises(UnknownParameter) as error:
            discover((), graph, only=["sort/sytem"])
        assert str(error.value) == snapshot(
            "the graph has no parameter 'sort/sytem'; did you mean 'sort/system'? "
            "It has sort/system, desk/plan/system, ask/human"
        )
        with pytest.raises(UnknownParameter, match=r"no parameter '/'; It has sort/system"):
            discover((), graph, only=["/"])


class TestLabel:
    def test_parameters_get_their_site_and_state_loses_its_own(self):
        graph = graph_of(sort=constant, ask=f_string)
        traces = runs(graph)
        discovery = discover(traces, graph, only=["ask"])
        trace = discovery.label(traces[0])
        assert list(sites(traces[0]).values()) == ["sort/system", "sort/human", "ask/human"]
        assert list(sites(trace).values()) == ["sort/system", None, "ask/human"]
        assert [str(at.site) for at in trace.variables if at.requires_grad] == ["ask/human"]
        messages = messages_of(trace)
        assert [message.get("site", "none") for message in messages] == ["sort/system", None, "ask/human"]
        assert Trace.from_json(trace.to_json()) == trace

    def test_labelling_twice_changes_nothing(self):
        graph = graph_of(sort=constant, ask=f_string)
        traces = runs(graph)
        discovery = discover(traces)
        once = discovery.label(traces[0])
        assert discovery.label(once) == once
        assert discover([discovery.label(trace) for trace in traces]).parameters == discovery.parameters

    def test_the_index_is_the_parameters_and_not_the_messages(self):
        def node(state):
            extra = [SystemMessage("Mind the tone of it.")] if "good" in state["review"] else []
            return {"label": MODEL.invoke([*extra, SystemMessage("Keep to the facts.")]).text}

        traces = runs(graph_of(reply=node))
        discovery = discover(traces)
        assert list(sites(discovery.label(traces[0])).values()) == ["reply/system", "reply/system#1"]
        assert list(sites(discovery.label(traces[1])).values()) == ["reply/system#1"]

    def test_other_texts_in_force_are_recognised(self):
        graph = graph_of(sort=constant)
        traces = runs(graph)
        discovery = discover(traces)
        site = Site(("sort",), "system")
        changed = replace(discovery, parameters={site: Template("Other words now.")})
        assert list(sites(changed.label(traces[0])).values()) == [None, None]
        build = TraceBuilder()
        build.llm("sort", reply="x", prompts={"sort/system": "Other words now."})
        assert list(sites(changed.label(build.finish({}))).values()) == ["sort/system"]

    def test_equal_texts_of_two_parameters_are_given_to_one_after_the_other(self):
        parameters = {Site(("a",), "system", at): Template("Be kind.") for at in range(2)}
        discovery = Discovery(parameters, tuple(parameters))
        build = TraceBuilder()
        build.llm("a", reply="x", prompts={"a/system": "Be kind.", "a/system#1": "Be kind.", "a/human": "Be kind."})
        build.llm("a", reply="x", prompts={"a/system": "Be kind."})
        assert list(sites(discovery.label(build.finish({}))).values()) == ["a/system", "a/system#1", None, "a/system"]

    def test_parameters_elsewhere_are_not_confused(self):
        discovery = Discovery({Site(("a",), "system"): Template("Be kind.")}, ())
        build = TraceBuilder()
        build.llm("b", reply="x", prompts={"b/system": "Be kind."})
        assert list(sites(discovery.label(build.finish({}))).values()) == [None]

    def test_messages_that_could_not_be_a_parameter_are_left_as_they_are(self):
        agent = create_agent(MODEL, [search], system_prompt="You write letters.")
        traces = runs(agent, ["x"], messages=[("human", "hello")])
        trace = discover(traces).label(traces[0])
        assert [(message["content"], message.get("site")) for message in messages_of(trace)] == [
            ("You write letters.", "model/system"),
            ("hello", None),
        ]

    def test_a_trace_without_messages_is_left_as_it_is(self):
        discovery = Discovery({}, ())
        trace = Trace("1", "g", (Span("s0", SpanKind.LLM, "m"),), (Variable("s0.out", "x", "reply", "s0"),))
        assert discovery.label(trace) == trace


class TestSize:
    def test_a_loop_of_a_thousand_turns_is_looked_through_once(self):
        build = TraceBuilder()
        for turn in range(1000):
            build.llm("write", reply=f"reply {turn}", prompts={"write/system": f"Improve on reply {turn - 1} now."})
        trace = build.finish({})
        discovery = discover([trace])
        assert found(discovery) == {"write/system": "Improve on {write} now."}
        assert len([at for at in discovery.label(trace).variables if at.site is not None]) == 1000


class TestNothingFound:
    def test_without_anything_to_look_at(self):
        with pytest.raises(NoPromptFound) as error:
            discover(())
        assert str(error.value) == snapshot(
            "no prompt was found; looked at nowhere: neither a recorded run nor a graph was given. To find prompts "
            "that code does not show, run the graph inside `record()` and pass its traces."
        )

    def test_in_code_without_texts(self):
        graph = graph_of(sort=lambda state: {"label": MODEL.invoke(state["review"]).text})
        with pytest.raises(NoPromptFound, match="looked at the code of the graph's nodes"):
            discover((), graph)

    def test_in_runs_without_a_model_call(self):
        def sort(state):
            if state["review"] == "never":
                MODEL.invoke([SystemMessage("Hardly ever")])
            return {"label": "x"}

        graph = graph_of(sort=sort)
        with pytest.raises(NoPromptFound) as error:
            discover(runs(graph, ["x"]), graph)
        assert str(error.value) == snapshot(
            "no prompt was found in 1 recorded runs, 1 nodes (sort), 0 model calls: no model call was seen: models that "
            "are called through another package than langchain-core, or in threads that do not carry the context, "
            "cannot be recorded; call them through a LangChain chat model. The code holds texts that no run sent: "
            "text in `tests.record.test_discover.TestNothingFound.test_in_runs_without_a_model_call.sort`."
        )

    def test_in_runs_that_sent_nothing_but_state(self):
        graph = graph_of(sort=lambda state: {"label": MODEL.invoke(state["review"]).text})
        with pytest.raises(NoPromptFound) as error:
            discover(runs(graph))
        assert str(error.value) == snapshot(
            "no prompt was found in 4 recorded runs, 1 nodes (sort), 4 model calls: everything that was sent came from "
            "the graph's state; put the instructions into the node, as a system message or a template."
        )


class TestValues:
    def test_values_are_named_after_fields_and_keys(self):
        value = {"name": "Ann", "tags": ["a", 3, None, True], "said": {"role": "human", "content": "hello"}}
        assert list(leaves("user", value)) == [
            ("user_name", "Ann"),
            ("user_tags", "a"),
            ("user_tags", "3"),
            ("user_tags", "True"),
            ("user_said", "hello"),
        ]
        assert list(leaves("m", [["human", "hello"], {"type": "text", "text": "hi"}])) == [("m", "hello"), ("m", "hi")]

    def test_channels_name_a_value_before_replies_do(self):
        build = TraceBuilder()
        build.input("", "the input")
        build.llm("plan", reply="the plan", prompts={"plan/system": "Make a plan."})
        build.tool("find", result="the result", reads=[])
        build.llm("act", reply="done", prompts={"act/system": "Do the plan, the result, the input."})
        last = list(sendings([build.finish({})]))[-1]
        assert last.values == (
            ("input", "the input"),
            ("plan", "the plan"),
            ("plan_reply", "the plan"),
            ("find", "the result"),
        )

    def test_earlier_values_are_kept_if_they_stand_in_the_text(self):
        build = TraceBuilder()
        for reply in ("first words", "second words", "third words"):
            build.llm("plan", reply=reply, prompts={"plan/system": "Use first words"})
        last = list(sendings([build.finish({})]))[-1]
        assert [value for name, value in last.values if name == "plan"] == ["first words", "second words"]

    def test_a_record_is_known_as_python_and_json_print_it(self):
        build = TraceBuilder()
        build.input("user", {"name": "Ann"})
        build.llm("plan", reply="x", prompts={"plan/system": "Greet {'name': 'Ann'} and {\"name\": \"Ann\"} well."})
        assert found(discover([build.finish({})])) == {"plan/system": "Greet {user} and {user_2} well."}

    def test_a_value_without_a_field_is_called_input(self):
        spans = (Span("s0", SpanKind.GRAPH, "g"), Span("s1", SpanKind.LLM, "m"))
        variables = (
            Variable("s0.in", "some value", "input value"),
            Variable("s1.in0", "Use some value now.", "prompt", site=Site((), "system")),
        )
        trace = Trace("1", "g", spans, variables, inputs={"": "s0.in"})
        assert found(discover([trace])) == {"/system": "Use {input} now."}

    def test_of_several_values_of_one_field_none_has_a_number_in_its_name(self):
        spans = (Span("s0", SpanKind.GRAPH, "g"), Span("s1", SpanKind.LLM, "m"))
        variables = (
            Variable("s0.in.notes.2", "some value", "state `notes`, there before the run"),
            Variable("s1.in0", "Use some value now.", "prompt", site=Site((), "system")),
        )
        assert found(discover([Trace("1", "g", spans, variables)])) == {"/system": "Use {notes} now."}

    def test_what_is_said_of_a_call_and_of_what_runs_next_is_no_value(self):
        call = {
            "name": "book_a_train",
            "args": {"train": "the 9:14", "seats": ["12a"]},
            "id": "call_1",
            "type": "tool_call",
        }
        assert list(leaves("", [call])) == [("train", "the 9:14"), ("seats", "12a")]
        assert list(leaves("x", {"name": "plan", "args": "all of it", "id": "1"})) == [("x", "all of it")]
        assert list(leaves("x", {"update": {"note": "hello"}, "goto": "desk"})) == [("x_note", "hello")]
        assert list(leaves("x", {"node": "desk", "arg": {"item": "tea"}})) == [("x_item", "tea")]
        assert list(leaves("x", {"goto": "desk"})) == [("x_goto", "desk")]

    def test_names_of_nodes_mask_nothing_unless_they_are_the_users_words(self):
        def pick(state):
            return {"label": "sales"}

        def desk(state):
            text = f"You are at the sales desk, on the subject of {state['review']}."
            return {"notes": [MODEL.invoke([SystemMessage(text)]).text]}

        build = StateGraph(State).add_node("pick", pick).add_node("sales", desk).add_edge(START, "pick")
        graph = build.add_conditional_edges("pick", lambda state: "sales", ["sales"]).compile()
        one, two = runs(graph, ["tea"]), runs(graph, ["sales"])
        assert found(discover(one)) == {"sales/system": "You are at the sales desk, on the subject of {review}."}
        assert discover(two).parameters[Site(("sales",), "system")].slots == ("review",)

    def test_a_routers_own_words_mask_nothing(self):
        def desk(state):
            return {"label": MODEL.invoke([SystemMessage("Turn leftwards at the second door.")]).text}

        build = StateGraph(State).add_node("desk", desk)
        graph = build.add_conditional_edges(START, lambda state: "leftwards", {"leftwards": "desk"}).compile()
        assert found(discover(runs(graph, ["x"]))) == {"desk/system": "Turn leftwards at the second door."}

    def test_a_system_message_that_is_handed_to_an_inner_graph_is_a_text_and_no_value(self):
        build: Any = StateGraph(MessagesState)
        build.add_node("talk", lambda state: {"messages": [MODEL.invoke(state["messages"])]})
        inner = build.add_edge(START, "talk").compile()

        def outer(state):
            system = f"You look after {state['review']}."
            return {"label": inner.invoke({"messages": [("system", system), ("human", "hello")]})["messages"][-1].text}

        def passes(state):
            return {"label": inner.invoke({"messages": state["messages"]})["messages"][-1].text}

        assert found(discover(runs(graph_of(ask=outer)))) == {"ask/talk/system": "You look after {review}."}
        with pytest.raises(NoPromptFound):
            discover(runs(graph_of(ask=passes), messages=[SystemMessage("What the caller says."), HumanMessage("hi")]))

    def test_a_variable_of_unknown_origin_has_its_own_name(self):
        spans = (Span("s0", SpanKind.LLM, "m"),)
        variables = (
            Variable("origin", "some value", "?"),
            Variable("s0.in0", "Use some value now.", "prompt", site=Site((), "system")),
        )
        assert found(discover([Trace("1", "g", spans, variables)])) == {"/system": "Use {origin} now."}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("abc {}\n", max_size=8), st.sampled_from(["Say {} now.", "Well: {}", "{}", "Go"])), max_size=6
    )
)
def test_a_labelled_text_always_matches_its_parameter(runs):
    traces: list[Trace] = []
    for value, form in runs:
        build = TraceBuilder()
        build.input("word", value)
        build.llm("a", reply="x", prompts={"a/system": form.replace("{}", value), "a/human": "Mind it."})
        traces.append(build.finish({}))
    if not traces:
        return
    discovery = discover(traces)
    for trace in traces:
        for variable in discovery.label(trace).variables:
            if variable.site is not None:
                assert discovery.parameters[variable.site].match(str(variable.value)) is not None
    again = discover(traces)
    assert (again.parameters, list(again.parameters)) == (discovery.parameters, list(discovery.parameters))
