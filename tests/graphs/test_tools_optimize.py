"""Descriptions are learned: graphs in which only a better description helps, from the verdict to the registry and back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.tools import answers, parallel
from textgrad_lg import Evals, MemoryRegistry, Settings, optimize
from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import NoPromptFound, UnknownParameter
from textgrad_lg.example import Score
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import TGD, EditLimits, Insert, Rewrite, StepContext, check
from textgrad_lg.overlay import Replacement, bind, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import discover, record
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.models import DoubleChatModel
from textgrad_lg.types import Strategy

USE = "Call this whenever a price is asked for."
FORM = "One word in lower case: good or bad."


class Clerk(DoubleChatModel):
    """Calls `price` if and only if what it is told of that tool says when to; otherwise it guesses."""

    def _reply(self, messages, at):
        if messages[-1].type == "tool":
            return messages[-1].text
        tools = {tool["function"]["name"]: tool["function"] for tool in self.requests[at].options.get("tools", [])}
        if USE not in tools["price"]["description"]:
            return "About ten coins, I guess."
        item = messages[-1].text.split()[-1]
        return AIMessage("", tool_calls=[{"name": "price", "args": {"item": item}, "id": "c1", "type": "tool_call"}])


class Judge(DoubleChatModel):
    """Puts the label into the form that the schema's field asks for."""

    def _reply(self, messages, at):
        schema = self.requests[at].options["response_format"]["json_schema"]["schema"]
        label = "good" if "good" in messages[-1].text else "bad"
        asked = FORM in schema["properties"]["label"]["description"]
        return json.dumps({"label": label if asked else f"It is rather {label}!"})


def critic():
    """Reads which text describes the tool or the field at fault, and asks for the missing words there and nowhere else."""

    def reply(messages):
        request = messages[-1].text
        told = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
        wanted = USE if "price" in request else FORM
        if told:
            alternatives = [{"why": "the feedback asks for it", "text": f"{told[1]} {wanted}"}]
            return {"alternatives": alternatives if wanted in request else []}
        place = re.search(r"<<<DATA (P\d+): (?:description of the tool `price`|field `label` of)", request)
        said = [{"id": place[1], "feedback": f"Say this: {wanted}"}] if place and "guess" in request else []
        if place and "rather" in request:
            said = [{"id": place[1], "feedback": f"Say this: {wanted}"}]
        return {"about_this": said, "about_inputs": [], "feedback": said}

    return ScriptedChatModel(replies=reply, model_name="critic")


def shop_evals(count=30):
    items = ["a" * (at + 1) for at in range(count)]
    data = [
        {
            "inputs": {"messages": [{"role": "user", "content": f"What costs {item}"}]},
            "reference_outputs": {"answer": f"{item} costs {len(item)} coins"},
        }
        for item in items
    ]

    def right_price(outputs, reference_outputs):
        return outputs["messages"][-1].text == reference_outputs["answer"], USE

    return Evals(data, [right_price])


def review_evals(count=30):
    data = [
        {
            "inputs": {"review": f"A {'good' if at % 2 else 'bad'} film, number {at}"},
            "reference_outputs": {"label": "good" if at % 2 else "bad"},
        }
        for at in range(count)
    ]

    def right_label(outputs, reference_outputs):
        return outputs["label"] == reference_outputs["label"], FORM

    return Evals(data, [right_label])


def ask(graph, item="tea"):
    return graph.invoke({"messages": [("human", f"What costs {item}")]})["messages"][-1].text


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL])
def test_a_tools_description_is_learned_published_and_rolled_back(strategy):
    graph, registry = parallel.agent(Clerk()), MemoryRegistry()
    result = optimize(
        graph,
        shop_evals(),
        optimize_only=["tools:*"],
        model=critic(),
        registry=registry,
        optimizer=TGD(proposers=[Insert()], parameters=4) if strategy is Strategy.STRUCTURAL else None,
        settings=Settings(steps=1, strategy=strategy),
    )
    assert result.improved, result.summary()
    assert list(map(str, result.texts)) == ["tools:price/description"]
    assert USE in result.prompts["tools:price/description"]
    assert registry.names() == ("clerk:tools:price/description",)
    assert ask(result.graph) == "tea costs 3 coins"
    assert ask(graph) == "About ten coins, I guess."
    result.rollback()
    assert ask(result.graph) == "About ten coins, I guess."


def test_a_field_of_an_output_schema_is_learned():
    graph = answers.in_a_node(Judge())
    result = optimize(
        graph,
        review_evals(),
        optimize_only=["schemas:*"],
        model=critic(),
        registry=MemoryRegistry(),
        settings=Settings(steps=1),
    )
    assert result.improved, result.summary()
    assert list(map(str, result.texts)) == ["schemas:Answer/args/label"]
    assert result.graph.invoke({"review": "A good film"})["label"] == "good"
    assert graph.invoke({"review": "A good film"})["label"] == "It is rather good!"


def test_descriptions_stay_as_they_are_unless_they_are_named():
    model = Clerk()
    result = optimize(
        parallel.agent(model), shop_evals(), model=critic(), registry=MemoryRegistry(), settings=Settings(steps=1)
    )
    assert not any(str(site).startswith("tools:") for site in result.texts)
    assert result.original["tools:price/description"] == "The price of an item."
    offers = {tool["function"]["description"] for request in model.requests for tool in request.options["tools"]}
    assert offers == {"The price of an item.", "How many of an item are there."}


def test_both_kinds_are_trained_where_both_are_named():
    found = discover([one_run(Clerk())], only=["*", "tools:*"])
    assert [str(site) for site in found.trainable] == [
        "model[clerk]/system",
        "tools:price/description",
        "tools:price/args/item",
        "tools:stock/description",
        "tools:stock/args/item",
    ]


def one_run(model):
    with record() as recording:
        parallel.agent(model).invoke({"messages": [("human", "What costs tea")]})
    return recording.trace


@pytest.mark.parametrize(
    ("names", "sites"),
    [
        (["tools:price"], ["tools:price/description", "tools:price/args/item"]),
        (["tools:price/args"], ["tools:price/args/item"]),
        (["tools:*/description"], ["tools:price/description", "tools:stock/description"]),
        (["tools:stock/args/item"], ["tools:stock/args/item"]),
        (["*"], ["model[clerk]/system"]),
        (["model", "clerk"], ["model[clerk]/system"]),
        (["*/system"], ["model[clerk]/system"]),
        (None, ["model[clerk]/system"]),
    ],
)
def test_which_names_mean_descriptions(names, sites):
    assert [str(site) for site in discover([one_run(Clerk())], only=names).trainable] == sites


@pytest.mark.parametrize("name", ["price", "*price*", "*/description", "tools:prices", "schemas:price", "tools"])
def test_a_name_without_the_prefix_means_no_description(name):
    with pytest.raises(UnknownParameter) as error:
        discover([one_run(Clerk())], only=[name])
    assert "tools:price/description, tools:price/args/item" in str(error.value)


def test_a_graph_with_nothing_but_tools_says_how_to_train_them():
    alone = recorded_without_prompts()
    assert [str(site) for site in discover([alone], only=["tools:*"]).trainable] == [
        "tools:price/description",
        "tools:price/args/item",
    ]
    with pytest.raises(NoPromptFound, match=r"changed only if you name them: optimize_only=\['tools:\*'"):
        discover([alone])


def recorded_without_prompts():
    model = Clerk().bind_tools([parallel.price])
    build: Any = StateGraph(MessagesState)
    build.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    build.add_edge(START, "ask")
    with record() as recording:
        build.compile().invoke({"messages": [HumanMessage("What costs tea")]})
    return recording.trace


class TestDryRun:
    def test_it_lists_what_would_have_to_be_named(self):
        plan = optimize(parallel.agent(Clerk()), shop_evals(), dry_run=True)
        text = str(plan)
        assert "1 prompts found without running anything:" in text
        assert "changed only if named in optimize_only: tools:price/description, tools:stock/description" in text

    def test_names_that_only_a_run_can_show_are_a_warning(self):
        plan = optimize(
            parallel.agent(Clerk()), shop_evals(), dry_run=True, optimize_only=["tools:price", "tools:price/args/item"]
        )
        assert "whether the graph has 'tools:price/args/item', a run will tell" in plan.warnings

    def test_a_wrong_name_of_another_kind_is_an_error(self):
        with pytest.raises(UnknownParameter):
            optimize(parallel.agent(Clerk()), shop_evals(), dry_run=True, optimize_only=["modle"])


def test_a_rollout_under_another_description_is_another_rollout():
    """What a changed description costs: every example is run again, because each of its calls offers the tool."""
    model = Clerk()
    result = optimize(
        parallel.agent(model),
        shop_evals(),
        optimize_only=["tools:price"],
        model=critic(),
        registry=MemoryRegistry(),
        settings=Settings(steps=1),
    )
    with_new = [request for request in model.requests if USE in request.options["tools"][0]["function"]["description"]]
    assert result.improved
    assert len(with_new) >= result.validation.n


class TestCredit:
    """How a verdict gets from the final reply to the description by which a tool was called wrongly, or not at all."""

    def wrong_argument(self):
        """The model calls `price` with a whole sentence, and repeats what the tool says of it."""

        def reply(messages):
            if messages[-1].type == "tool":
                return messages[-1].text
            args = {"item": "a cup of tea, please"}
            return AIMessage("", tool_calls=[{"name": "price", "args": args, "id": "c1", "type": "tool_call"}])

        model = ScriptedChatModel(replies=reply)
        with record() as recording:
            parallel.agent(model).invoke({"messages": [("human", "What costs tea")]})
        trace = recording.trace
        found = discover([trace], only=["tools:price"])
        return seed(found.label(trace), [Score("right_price", 0.0, "expected 'tea costs 3 coins'")])

    async def test_structural(self):
        gradients = await backward(self.wrong_argument(), strategy=Strategy.STRUCTURAL)
        found = {str(site): {g.text for g in of} for site, of in gradients.parameters().items()}
        assert found.keys() == {"tools:price/description", "tools:price/args/item"}
        assert all(texts == {"expected 'tea costs 3 coins'"} for texts in found.values())

    async def test_chain_goes_through_the_tool_to_the_call_that_chose_the_argument(self):
        asked = []

        def reply(messages):
            asked.append(messages[-1].text)
            if "a call of the tool `price`" in messages[-1].text:
                return {"feedback": [{"id": "V1", "feedback": "Pass the bare name of the item."}]}
            if "Pass the bare name" in messages[-1].text:
                return {"about_this": [{"id": "P2", "feedback": "Say: one noun."}], "about_inputs": []}
            return {"about_this": [], "about_inputs": [{"id": "V1", "feedback": "The price is of the wrong thing."}]}

        trace = self.wrong_argument()
        gradients = await backward(trace, ScriptedChatModel(replies=reply), strategy=Strategy.CHAIN)
        found = {str(site): [g.text for g in of] for site, of in gradients.parameters().items()}
        assert found == {"tools:price/args/item": ["Say: one noun."]}
        assert [len(asked), gradients.failures] == [3, ()]
        assert steady(asked[-1]) == snapshot("""\
<<<DATA output of the whole system>>>
{"messages": [{"content": "What costs tea", "role": "human"}, {"content": "", "name": "clerk", "role": "assistant", "tool_calls": [{"args": {"item": "a cup of tea, please"}, "name": "price"}]}, {"content": "a cup of tea, please costs 20 coins", "name": "price", "role": "tool"}, {"content": "a cup of tea, please costs 20 coins", "name": "clerk", "role": "assistant"}]}
<<<END>>>

<<<DATA verdicts on the output of the whole system>>>
right_price: score 0. expected 'tea costs 3 coins'
<<<END>>>

The step to criticise is a model call in `model`.

<<<DATA P1: description of the tool `price`>>>
The price of an item.
<<<END>>>

<<<DATA P2: argument `item` of the tool `price`>>>
The item's name.
<<<END>>>

Not prompts but descriptions, by which the model decides, are: P1 (when to call the tool), P2 (what to put into the argument). Of such a description, say what it should tell the model.

<<<DATA the rest of what it was given>>>
system: You serve in a shop.
human: What costs tea
input `messages`: [["human", "What costs tea"]]
tools it could call: [{"function": {"description": "The price of an item.", "name": "price", "parameters": {"properties": {"item": {"description": "The item's name.", "type": "string"}}, "required": ["item"], "type": "object"}}, "type": "function"}, {"function": {"description": "How many of an item are there.", "name": "stock", "parameters": {"properties": {"item": {"description": "The item's name.", "type": "string"}}, "required": ["item"], "type": "object"}}, "type": "function"}]
<<<END>>>

<<<DATA reply of the call>>>
[{"args": {"item": "a cup of tea, please"}, "name": "price"}]
<<<END>>>

<<<DATA feedback on it>>>
- expected 'tea costs 3 coins' (score 0, 1 example)
- The price is of the wrong thing. (score 0, 1 example)
- Pass the bare name of the item. (score 0, 1 example)
<<<END>>>

Give feedback on: P1, P2.\
""")

    async def test_fused_asks_about_descriptions_by_what_they_are(self):
        asked = []

        def reply(messages):
            asked.append(messages[-1].text)
            return {"feedback": [{"id": "P1", "feedback": "Say when to call it."}]}

        gradients = await backward(self.wrong_argument(), ScriptedChatModel(replies=reply), strategy=Strategy.FUSED)
        assert [str(site) for site in gradients.parameters()] == ["tools:price/description"]
        assert steady(asked[0]) == snapshot("""\
The run of `clerk`:

<<<DATA G1: input `messages`>>>
[["human", "What costs tea"]]
<<<END>>>

<<<DATA G2: system prompt of `model`>>>
You serve in a shop.
<<<END>>>

<<<DATA P1: description of the tool `price`>>>
The price of an item.
<<<END>>>

<<<DATA P2: argument `item` of the tool `price`>>>
The item's name.
<<<END>>>

<<<DATA S1: reply of `model`, from G1 G2 P1 P2>>>
[{"args": {"item": "a cup of tea, please"}, "name": "price"}]
<<<END>>>

<<<DATA S2: value sent to `tools`, from S1>>>
[{"args": {"item": "a cup of tea, please"}, "id": "c1", "name": "price", "type": "tool_call"}]
<<<END>>>

<<<DATA S3: result of the tool `price`, from S2>>>
a cup of tea, please costs 20 coins
<<<END>>>

<<<DATA G3: system prompt of `model`>>>
You serve in a shop.
<<<END>>>

<<<DATA S4: reply of `model`, from G1 S1 S3 G3 P1 P2>>>
a cup of tea, please costs 20 coins
<<<END>>>

<<<DATA S5: output `messages`, from G1 S1 S3 S4>>>
human: What costs tea
assistant: [{"args": {"item": "a cup of tea, please"}, "name": "price"}]
tool: a cup of tea, please costs 20 coins
assistant: a cup of tea, please costs 20 coins
<<<END>>>

Not prompts but descriptions, by which the model decides, are: P1 (when to call the tool), P2 (what to put into the argument). Of such a description, say what it should tell the model.

<<<DATA output of the whole system>>>
{"messages": [{"content": "What costs tea", "role": "human"}, {"content": "", "name": "clerk", "role": "assistant", "tool_calls": [{"args": {"item": "a cup of tea, please"}, "name": "price"}]}, {"content": "a cup of tea, please costs 20 coins", "name": "price", "role": "tool"}, {"content": "a cup of tea, please costs 20 coins", "name": "clerk", "role": "assistant"}]}
<<<END>>>

<<<DATA verdicts on the output of the whole system>>>
right_price: score 0. expected 'tea costs 3 coins'
<<<END>>>

Used on several visits: P1, P2. One visit is named by what it led to: P1@S1.

Give feedback on what is at fault among: P1, P2, S1, S2, S3, S4, S5.\
""")


def steady(text):
    """A request without the marks of its fences and the ids that are drawn for each run."""
    return re.sub(r'"id": "[^"]{20,}"', '"id": "..."', re.sub(r" [0-9a-f]{8,}>>>", ">>>", text))


class TestRewrite:
    async def test_the_request_says_what_a_description_is_for(self):
        site = Site.parse("tools:price/args/item")
        context = StepContext({site: Template("The item's name.")}, Gradients())
        request = Rewrite().request(site, Template("The item's name."), (), context)
        assert steady(request[-1].text) == snapshot("""\
The text is the argument `item` of the tool `price`, which a model reads to decide what to put into the argument.

<<<DATA the text now>>>
The item's name.
<<<END>>>

Write 4 alternative versions of the text, each at most 1024 characters long. For each, say first in one or two sentences why it answers the feedback.\
""")

    def test_a_description_may_not_be_longer_than_providers_take(self):
        limits = EditLimits().at(Site.parse("tools:price/description"))
        assert check(Template("short"), Template("x" * 1_024), limits=limits) is None
        assert check(Template("short"), Template("x" * 1_025), limits=limits) == (
            "the new text has 1025 characters; the limit is 1024"
        )
        assert check(Template("y" * 1_100), Template("x" * 1_100), limits=limits) is None
        assert EditLimits().at(Site(("model",), "system")) == EditLimits()


def test_a_bound_graph_in_a_node_of_another_graph_offers_the_new_text():
    model = Clerk()
    site = Site.parse("tools:price/description")
    texts = {site: Replacement(Template("The price of an item."), Template(USE))}
    inner = bind(parallel.agent(model), lambda: texts)
    build: Any = StateGraph(MessagesState)
    build.add_node("desk", inner)
    build.add_edge(START, "desk")
    outer = build.compile()
    assert ask(outer) == "tea costs 3 coins"
    with overlay({site: Replacement(Template(USE), Template("Never call this."))}):
        assert ask(outer) == "About ten coins, I guess."
