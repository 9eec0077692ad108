"""Texts and tools found in a graph's code, without running it."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import dynamic_prompt
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import BaseTool, tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from pydantic import BaseModel, Field

from textgrad_lg.prompt import Template
from textgrad_lg.record.literals import parse_format, read
from textgrad_lg.record.static import static_texts, static_tools
from textgrad_lg.testing import ScriptedChatModel


class State(TypedDict, total=False):
    review: str
    label: str
    messages: list[Any]


MODEL = ScriptedChatModel(replies=lambda messages: "positive")
NAME = "a model's name"
TRIAGE = "Say positive or negative."
FORMAT = "Sort the review {review}, please."
RULES = "One word."
SHORT = "Be brief"
PROMPTS = {"sort": "Sort it into one of two groups.", 2: "x", "later": SystemMessage("Wait for it")}
CHAT = ChatPromptTemplate.from_messages(
    [("system", "Be {label} to all."), ("human", "{review}"), ("placeholder", "{m}")]
)
GREETING = SystemMessage("Greet them.")
OFFSET: Any = types.ModuleType("my_prompts")
OFFSET.LATE = "Come later to this place, please."
OFFSET.SUBMODULE = types


@tool
def search(query: str) -> str:
    """Search the web."""
    return f"Nothing was found for {query} at all"


class Lookup(BaseTool):
    name: str = "lookup"
    description: str = "Look a word up."

    def _run(self, word: str) -> str:
        return MODEL.invoke(f"Define {word}").text


def graph_of(**nodes):
    build = StateGraph(State)
    for name, node in nodes.items():
        build.add_node(name, node)
        build.add_edge(START, name)
    return build.compile()


def found(node, **options):
    """What is found in a graph of this one node: (text, slots, role, held)."""
    return [(at.text, at.slots, at.role, at.held) for at in static_texts(graph_of(node=node), **options)]


def texts(node):
    return [at.text for at in static_texts(graph_of(node=node))]


def constant_node(state):
    """Say something that is rather long and no prompt at all."""
    if not state:
        raise ValueError("This is an error message for people, and not a prompt")
    assert state, "This too is an error message for people, not a prompt"
    return {"label": MODEL.invoke([SystemMessage(TRIAGE), HumanMessage(state["review"])], name=NAME).text}


def explain(state):
    return f"Explain {state['label']} for:\n{state['review'].strip()}\n{RULES}"


HERE = __name__


class TestFunctions:
    def test_a_module_constant_is_found_with_its_name_role_and_line(self):
        (text,) = static_texts(graph_of(node=constant_node))
        assert (text.path, text.text, text.role, text.agent, text.fragment) == (
            ("node",),
            TRIAGE,
            "system",
            None,
            False,
        )
        assert text.held == f"module constant `{HERE}.TRIAGE`"
        file, _, line = text.source.rpartition(":")
        with Path(file).open(encoding="utf-8") as lines:
            assert lines.readlines()[int(line) - 1] == f'TRIAGE = "{TRIAGE}"\n'

    def test_an_f_string_is_found_with_its_slots_and_constants_filled_in(self):
        def node(state):
            return {"label": MODEL.invoke(explain(state)).text}

        assert found(node) == [
            ("Explain {label} for:\n{review}\nOne word.", ("label", "review"), "human", f"f-string in `{HERE}.explain`")
        ]

    def test_a_format_string_is_found_with_its_slots(self):
        def node(state):
            return {"label": MODEL.invoke([("system", FORMAT.format(review=state["review"]))]).text}

        assert found(node) == [(FORMAT, ("review",), "system", f"module constant `{HERE}.FORMAT`")]

    def test_literals_are_found_by_the_message_they_go_into(self):
        def node(state):
            asked = "Well? " + state["review"]
            MODEL.invoke([SystemMessage(content="Be kind"), ["user", "Now: {}".format(state["review"])]])
            MODEL.invoke([{"role": "developer", "content": f"Turn {len(state)} {len(state)}"}])
            return {"label": MODEL.invoke(asked).text}

        assert [(text, slots, role) for text, slots, role, _ in found(node)] == [
            ("Well? {review}", ("review",), "human"),
            ("Be kind", (), "system"),
            ("Now: {value}", ("value",), "human"),
            ("Turn {state} {state}", ("state",), "system"),
        ]

    def test_texts_of_unknown_use_are_fragments_if_they_could_be_instructions_and_left_out_if_not(self):
        def node(state):
            parts = ["These words could be an instruction.", "short", state["review"]]
            return {"label": MODEL.invoke([SystemMessage("\n".join(parts))]).text}

        (text,) = static_texts(graph_of(node=node))
        assert (text.text, text.fragment) == ("These words could be an instruction.", True)

    def test_texts_chosen_by_a_condition_are_both_found(self):
        def node(state):
            prompt = "Go left" if state["label"] else "Go right"
            other = state.get("label") or "Stay"
            return {"label": MODEL.invoke([SystemMessage(prompt), SystemMessage(other)]).text}

        assert texts(node) == ["Go left", "Go right", "Stay"]

    def test_entries_of_constants_are_found(self):
        def node(state):
            return {"label": MODEL.invoke([SystemMessage(PROMPTS[state["label"]])]).text}

        assert [(text, held) for text, _, _, held in found(node)] == [
            ("Sort it into one of two groups.", f"module constant `{HERE}.PROMPTS['sort']`"),
            ("x", f"module constant `{HERE}.PROMPTS[2]`"),
            ("Wait for it", f"module constant `{HERE}.PROMPTS['later']`"),
        ]

    def test_constants_of_the_users_modules_are_found_and_those_of_libraries_are_not(self):
        def node(state):
            return {"label": MODEL.invoke(OFFSET.LATE + functools.__doc__ + str(OFFSET.SUBMODULE)).text}

        assert [(text, held) for text, _, _, held in found(node)] == [
            ("Come later to this place, please.", "module constant `my_prompts.LATE`")
        ]

    def test_closures_defaults_and_partials_are_found(self):
        def make(prompt):
            def node(state, tone="Be polite"):
                return {"label": MODEL.invoke([SystemMessage(prompt), SystemMessage(tone)]).text}

            return node

        assert [(text, held.partition(" in ")[0]) for text, _, _, held in found(make("Be quick"))] == [
            ("Be quick", "variable `prompt`"),
            ("Be polite", "default of `tone`"),
        ]

        def with_text(state, *, text):
            return {"label": MODEL.invoke([SystemMessage(text)]).text}

        ((text, _, role, held),) = found(functools.partial(with_text, text="Be calm"))
        assert (text, role) == ("Be calm", "system")
        assert held.startswith("argument `text` given to")

    def test_attributes_of_callable_objects_and_methods_are_found_without_running_a_property(self):
        class Node:
            tone = "Be mild"

            def __init__(self):
                self.prompt = "Be fair"

            @property
            def trap(self):
                raise AssertionError("a property was read")

            def __call__(self, state):
                _ = self.trap
                return {"label": MODEL.invoke([SystemMessage(self.prompt), SystemMessage(self.tone)]).text}

            def method(self, state):
                return self(state)

            def run(self, state):
                return {"label": MODEL.invoke([SystemMessage(self.prompt)]).text}

        assert [text for text, *_ in found(Node())] == ["Be mild", "Be fair"]
        assert [text for text, *_ in found(Node().run)] == ["Be fair"]
        assert found(Node().method) == []

    def test_methods_of_objects_that_the_code_calls_are_read(self):
        class Base:
            def __init__(self, rules):
                self.rules = rules
                self.forms = {"ask": "Ask {who} about the bill of {month}."}

            def send(self, month):
                return MODEL.invoke([SystemMessage(self.rules), *self.more(month)])

            def more(self, month):
                return [HumanMessage(f"Nobody is asked for {month}.")]

        class Desk(Base):
            def more(self, month):
                return [self.note(), HumanMessage(self.forms["ask"].format(who="Ann", month=month))]

            @staticmethod
            def note():
                return SystemMessage("Mind the tone.")

            def unused(self):
                return SystemMessage("Nobody calls this one.")

        desk = Desk("You keep the books.")

        def node(state):
            return desk.send(state["month"])

        assert [(text, slots, role) for text, slots, role, _ in found(node)] == [
            ("Mind the tone.", (), "system"),
            ("Ask {who} about the bill of {month}.", ("who", "month"), "human"),
            ("You keep the books.", (), "system"),
        ]

    def test_the_methods_of_a_runnable_are_read_where_they_are_the_users(self):
        class Chain(RunnableLambda[Any, Any]):
            def __init__(self):
                super().__init__(lambda state: {})

            def invoke(self, input, config=None, **kwargs):
                return MODEL.invoke([SystemMessage("Keep the chain.")])

        chain = Chain()

        def node(state):
            return chain.invoke(state)

        for run in (node, Chain()):
            texts = static_texts(graph_of(node=run))
            assert [(at.text, at.role) for at in texts] == [("Keep the chain.", "system")]

    def test_a_method_that_calls_itself_ends_the_walk(self):
        class Desk:
            def ask(self, turn):
                return self.ask(turn - 1) if turn else MODEL.invoke([SystemMessage("Ask once more.")])

        desk = Desk()
        assert texts(lambda state: desk.ask(3)) == ["Ask once more."]

    def test_the_lines_of_a_text_may_stand_further_to_the_left_than_the_code(self):
        def node(state):
            text = f"""Sort {state}:
- by name
  - and by date"""
            return MODEL.invoke(
                [
                    SystemMessage(text),
                    SystemMessage("""
                Then tell
                  of it."""),
                ]
            )

        line = node.__code__.co_firstlineno
        held = static_texts(graph_of(node=node))
        assert [(at.text, int(at.source.rpartition(":")[2]) - line) for at in held] == [
            ("Sort {state}:\n- by name\n  - and by date", 1),
            ("\n                Then tell\n                  of it.", 7),
        ]

    def test_settings_are_read_where_the_code_names_their_fields(self):
        @dataclass
        class Settings:
            system: str = "Be good"
            unused: str = "This text is never named in any code."

        class Words:
            SYSTEM = "Be best"

        settings = Settings()

        def node(state):
            return {"label": MODEL.invoke([SystemMessage(settings.system), SystemMessage(Words.SYSTEM)]).text}

        assert [(text, held.partition(" in ")[0]) for text, _, _, held in found(node)] == [
            ("Be best", "variable `Words.SYSTEM`"),
            ("Be good", "variable `settings.system`"),
        ]

    def test_messages_and_templates_that_code_names_are_found(self):
        def node(state):
            return {"label": MODEL.invoke([GREETING, *CHAT.format_messages(**state)]).text}

        assert found(node) == [
            ("Greet them.", (), "system", f"module constant `{HERE}.GREETING`"),
            ("Be {label} to all.", ("label",), "system", f"ChatPromptTemplate `{HERE}.CHAT`"),
        ]

    def test_prompts_given_by_keyword_and_objects_without_attributes_are_no_trouble(self):
        class Slim:
            __slots__ = ()

        slim = Slim()

        def node(state):
            made: Any = create_agent(MODEL, system_prompt=f"Answer {state['label']}", tools=[])
            return {"label": made.invoke({"messages": [("human", slim.__class__.__name__)]})}

        assert found(node)[0][:3] == ("Answer {label}", ("label",), "system")

    def test_functions_that_call_each_other_end_the_walk(self):
        def even(state):
            return odd(state) if state else MODEL.invoke([SystemMessage("Even now")])

        def odd(state):
            return even(state)

        assert texts(even) == ["Even now"]

    def test_a_variable_that_was_never_set_is_no_text(self):
        def make():
            def node(state):
                said = [SystemMessage(later)]  # noqa: F821  # pyright: ignore[reportUnboundVariable]
                return {"label": MODEL.invoke(said).text}

            later = "Not yet"
            del later
            return node

        assert texts(make()) == []

    def test_without_source_the_constants_of_the_code_are_fragments(self):
        source = """
def node(state):
    "A docstring of five whole words"
    def inner(): return f"Please sort this review {state} into two groups"
    return {"label": inner()}
"""
        names: dict[str, Any] = {"__name__": "typed_in"}
        exec(compile(source, "<typed in>", "exec"), names)
        texts = static_texts(graph_of(node=names["node"]))
        assert [(text.text, text.fragment, text.source) for text in texts] == [
            ("Please sort this review ", True, "<typed in>:2"),
        ]

    def test_a_lambda_is_read_without_the_statement_around_it(self):
        node = RunnableLambda(lambda state: {"label": MODEL.invoke([SystemMessage("Be sly")]).text})
        assert texts(node) == ["Be sly"]


@dataclass
class Context:
    prompt: str = "You are the clerk of {label}."
    other: str = "This text is named by no code at all."
    size: int = 3


class Settings(BaseModel):
    prompt: str = "You are the clerk of a court."
    none: str = Field(default_factory=str)


class TestDefaults:
    def test_of_a_context_are_found_where_the_code_names_them(self):
        def node(state, runtime):
            return {"label": MODEL.invoke([SystemMessage(runtime.context.prompt.format(label="x"))]).text}

        for schema, text in ((Context, "You are the clerk of {label}."), (Settings, "You are the clerk of a court.")):
            build = StateGraph(State, context_schema=schema).add_node("node", node).add_edge(START, "node")
            (held,) = static_texts(build.compile())
            assert (held.text, held.role) == (text, "system")
            assert held.held == f"default of `{schema.__name__}.prompt` in the graph's context_schema"

    def test_of_what_a_caller_may_set_are_the_authors(self):
        def node(state, config):
            own = config["configurable"]
            system, human = own.get("system", "Be brief"), getattr(own, "human", "Be kind")
            return {"label": MODEL.invoke([SystemMessage(system), HumanMessage(human)]).text}

        assert [(text, role) for text, _, role, _ in found(node)] == [("Be brief", "system"), ("Be kind", "human")]


class TestBlocks:
    def test_the_texts_of_content_blocks_go_into_the_message(self):
        picture = {"type": "image", "base64": "iVBORw0KGgo="}

        def node(state):
            blocks = [{"type": "text", "text": "What is"}, picture, f"by {state['label']}"]
            return {"label": MODEL.invoke([HumanMessage(blocks), SystemMessage([{"type": "x"}, "Say"])]).text}

        assert [(text, role) for text, _, role, _ in found(node)] == [
            ("What is", "human"),
            ("by {label}", "human"),
            ("Say", "system"),
        ]

    def test_lists_of_messages_are_no_blocks(self):
        def node(state):
            return {"label": MODEL.invoke([SystemMessage(TRIAGE), ("human", RULES)]).text}

        assert [(text, role) for text, _, role, _ in found(node)] == [(TRIAGE, "system"), (RULES, "human")]


class TestRunnables:
    def test_a_chat_prompt_template_is_found_with_its_variables(self):
        assert found(CHAT | MODEL | (lambda reply: {"label": reply.text})) == [
            ("Be {label} to all.", ("label",), "system", "ChatPromptTemplate in node `node`")
        ]

    def test_messages_in_a_template_and_escaped_braces_are_texts(self):
        chat = ChatPromptTemplate.from_messages(
            [
                SystemMessage("As it {is}"),
                ("human", 'Give {{"a": 1}}'),
                ("human", [{"type": "text", "text": "See {it}"}]),
            ]
        )
        assert [
            (text, slots, role) for text, slots, role, _ in found(chat | MODEL | (lambda reply: {"label": "x"}))
        ] == [
            ("As it {is}", (), "system"),
            ('Give {"a": 1}', (), "human"),
            ("See {it}", ("it",), "human"),
        ]

    def test_a_template_for_text_becomes_a_human_message(self):
        node = PromptTemplate.from_template("Tell of {label}") | MODEL | (lambda reply: {"label": reply.text})
        assert [(text, role) for text, _, role, _ in found(node)] == [("Tell of {label}", "human")]

    def test_mustache_variables_are_slots_and_sections_make_a_fragment(self):
        chat = ChatPromptTemplate.from_messages([("system", "Hi {{ label }}")], template_format="mustache")
        assert texts(chat | MODEL | (lambda reply: {})) == ["Hi {label}"]
        chat = ChatPromptTemplate.from_messages(
            [("system", "Hi {{#label}}you{{/label}} there")], template_format="mustache"
        )
        (text,) = static_texts(graph_of(node=chat | MODEL | (lambda reply: {})))
        assert text.fragment

    def test_steps_in_parallel_are_found(self):
        node = RunnableParallel(label=CHAT | MODEL) | (lambda replies: {"label": "x"})
        assert texts(node) == ["Be {label} to all."]

    def test_content_blocks_of_messages_are_texts_and_other_messages_are_not(self):
        blocks = SystemMessage([{"type": "text", "text": "Look at it"}, {"type": "image", "url": "x"}, "And say"])

        def node(state):
            return {"label": MODEL.invoke([blocks, *ANSWERS]).text}

        assert texts(node) == ["Look at it", "And say"]


ANSWERS = [HumanMessage("How?"), ScriptedChatModel(replies=["Like so."]).invoke("x")]
ANSWERS.pop(0)


class TestGraphs:
    def test_nodes_are_told_apart_and_subgraphs_have_longer_paths(self):
        def other(state):
            return {"label": MODEL.invoke([SystemMessage(TRIAGE)]).text}

        def route(state):
            return "a" if MODEL.invoke([SystemMessage("Which way?")]).text else "b"

        inner = StateGraph(State).add_node("deep", other).add_edge(START, "deep").compile()
        build = StateGraph(State).add_node("a", other).add_node("b", inner).add_edge(START, "a")
        build.add_conditional_edges("a", route, ["b", "__end__"])
        assert [(text.path, text.text) for text in static_texts(build.compile())] == [
            (("a",), TRIAGE),
            (("a",), "Which way?"),
            (("b", "deep"), TRIAGE),
        ]

    def test_an_agent_gives_its_system_prompt_its_name_and_its_tools(self):
        agent = create_agent(MODEL, [search], system_prompt="Be a writer", name="writer")

        def node(state):
            return agent.invoke(state)

        for graph in (graph_of(desk=agent), graph_of(desk=node)):
            assert [(at.path, at.text, at.role, at.agent, at.held) for at in static_texts(graph)][:1] == [
                (("desk", "model"), "Be a writer", "system", "writer", "system_prompt of the agent `writer`")
            ]
            assert {(at.name, at.description, at.where) for at in static_tools(graph)} >= {
                ("search", "Search the web.", "desk/tools")
            }

    def test_middleware_of_an_agent_is_found(self):
        @dynamic_prompt
        def prompt(request):
            return f"You have said {len(request.messages)} things to me so far."

        agent = create_agent(MODEL, [], middleware=[prompt])
        assert [(at.path, at.text) for at in static_texts(agent)] == [
            (("model",), "You have said {messages} things to me so far.")
        ]

    def test_tools_of_a_class_bound_tools_and_prompts_inside_tools_are_found(self):
        bound = MODEL.bind_tools([search])

        def node(state):
            return {"messages": [bound.invoke(state["messages"])]}

        assert [(at.name, at.where) for at in static_tools(graph_of(node=node))] == [("search", "node")]
        agent = create_agent(MODEL, [Lookup()])
        assert [(at.path, at.text) for at in static_texts(agent)] == [(("tools",), "Define {word}")]

    def test_tasks_of_the_functional_api_have_their_own_path(self):
        @task
        def draft(topic: str) -> str:
            return MODEL.invoke([SystemMessage("Draft it")]).text

        @entrypoint()
        def essay(topic: str) -> str:
            return draft(topic).result()

        assert [(at.path, at.text) for at in static_texts(essay)] == [(("essay", "draft"), "Draft it")]

    def test_the_walk_is_the_same_each_time(self):
        graph = graph_of(one=constant_node, two=CHAT | MODEL | (lambda reply: {}))
        assert static_texts(graph) == static_texts(graph)


class TestFormatStrings:
    @pytest.mark.parametrize(
        ("text", "template"),
        [
            ("Sort {review}", Template("Sort {review}", ("review",))),
            ("{a.b} {c[0]!r:>3}", Template("{a_b} {c_0}", ("a_b", "c_0"))),
            ("{} or {}", Template("{value} or {value_2}", ("value", "value_2"))),
            ("{0} and {0}", Template("{_0} and {_0}", ("_0",))),
            ('{{"review": {review}}}', Template('{"review": {review}}', ("review",))),
            ("{{review}} {review}", Template("{review} {review_2}", ("review_2",))),
            ("no field", None),
            ('{"json": 1', None),
        ],
    )
    def test_fields_become_slots(self, text, template):
        assert parse_format(text) == template

    def test_code_without_source_cannot_be_read(self):
        assert read(compile("1", "<nowhere>", "eval")) is None

    def test_names_of_slots_come_from_expressions(self):
        def node(state, docs, config):
            MODEL.invoke(
                f"A {state.get('name', 'x')} {', '.join(docs)} {docs!s} {docs[0]} {config.user.upper()} {1 + 1}"
            )

        reading = read(node.__code__)
        assert reading is not None
        assert reading.literals[0].text == "A {name} {docs} {docs_2} {docs_3} {user} {value}"
