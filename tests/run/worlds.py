"""Small worlds to optimise in: plain LangGraph graphs on a simulated model, and a critic that reads what it is shown.

The forward model follows the instructions that its prompts really contain, so a score rises if and only if the missing
instruction reaches the call that needs it. The critic is simulated too: it names a fault only where the request it is
sent shows the fault.
"""

from __future__ import annotations

import re
from typing import TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from textgrad_lg import Evals
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel

WANTED = "Reply with the label alone."
LOUD = "Write in capitals."
JUDGE = "You judge the facts of a review."


class State(TypedDict, total=False):
    review: str
    facts: str
    label: str
    page: str


def review_model(**options):
    """Extracts facts, judges them at length unless told to be short, and publishes what it is given."""

    def answer(messages):
        system, given = messages[0].text, messages[-1].text
        if system.startswith("You extract"):
            return "facts: " + given
        if JUDGE in system:
            return f"I think this is {'positive' if 'good' in given else 'negative'}, all things considered."
        return f"<p>{given}</p>"

    def alone(reply, messages):
        found = re.search(r"I think this is (\w+)", reply)
        return found[1] if found else reply

    return SimulatedChatModel(
        answer=answer, rules=[Rule(WANTED, alone), Rule(LOUD, lambda reply, _: reply.upper())], **options
    )


def three_nodes(model, **options):
    """extract -> judge -> publish; only the middle node's prompt is at fault."""

    def extract(state: State):
        return {"facts": model.invoke([SystemMessage("You extract the facts."), HumanMessage(state["review"])]).text}

    def judge(state: State):
        prompt = [SystemMessage(JUDGE), HumanMessage(f"The facts:\n\n{state['facts']}")]
        return {"label": model.invoke(prompt).text}

    def publish(state: State):
        return {"page": model.invoke([SystemMessage("You write the page."), HumanMessage(state["label"])]).text}

    graph = StateGraph(State)
    for node in (extract, judge, publish):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "extract")
    graph.add_edge("extract", "judge")
    graph.add_edge("judge", "publish")
    graph.add_edge("publish", END)
    return graph.compile(name="pages", **options)


def reviews(count=40):
    """Half of them good."""
    return [
        {
            "inputs": {"review": f"{'good' if at % 2 else 'bad'} film number {at}"},
            "reference_outputs": {"page": f"<p>{'positive' if at % 2 else 'negative'}</p>"},
        }
        for at in range(count)
    ]


def right_page(outputs, reference_outputs):
    want = reference_outputs["page"]
    return outputs["page"] == want, f"expected {want!r}, got {outputs['page']!r}"


def page_evals(count=40):
    return Evals(reviews(count), [right_page], goal="Publish the label of a review.")


def critic(fault, instruction):
    """Where the reply it is shown begins with `fault` it asks for `instruction`; it writes what the feedback asks for."""

    def reply(messages):
        system, request = messages[0].text, messages[-1].text
        if "alternatives" in system or "alternative" in request:
            text = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
            asked = instruction if instruction in request else "Do your best."
            return {
                "alternatives": [{"why": "the feedback asks for it", "text": f"{text[1] if text else ''}\n\n{asked}"}]
            }
        shown = re.search(r"<<<DATA reply of the call [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
        if shown and shown[1].startswith(fault):
            return {"about_this": [{"id": "P1", "feedback": f"Ask for this: {instruction}"}], "about_inputs": []}
        inputs = (
            [{"id": "V1", "feedback": "It should have been the label and nothing else."}] if fault in request else []
        )
        return {"about_this": [], "about_inputs": inputs}

    return ScriptedChatModel(replies=reply, model_name="critic")


AGENT_WANTED = "Always look the price up before you answer."


def shop(model):
    """A subgraph whose agent has a tool and a system prompt that does not tell it to use the tool."""

    @tool
    def price_of(item: str) -> str:
        """The price of an item in the shop."""
        return f"{item} costs {len(item)} coins"

    agent = create_agent(model, tools=[price_of], system_prompt="You serve in a shop.", name="clerk")

    class Shop(TypedDict, total=False):
        item: str
        answer: str

    def serve(state: Shop):
        out = agent.invoke({"messages": [HumanMessage(f"What does {state['item']} cost?")]})
        return {"answer": out["messages"][-1].text}

    desk = StateGraph(Shop)
    desk.add_node("serve", serve)
    desk.add_edge(START, "serve")

    def greet(state: Shop):
        model.invoke([SystemMessage("You greet."), HumanMessage(state["item"])])
        return {}

    graph = StateGraph(Shop)
    graph.add_node("greet", greet)
    graph.add_node("desk", desk.compile())
    graph.add_edge(START, "greet")
    graph.add_edge("greet", "desk")
    return graph.compile(name="shop")


def shop_model():
    def answer(messages):
        system, last = messages[0].text, messages[-1]
        if system == "You greet.":
            return "Good morning."
        if last.type == "tool":
            return last.text
        if AGENT_WANTED in system:
            item = re.search(r"What does (\w+) cost", messages[-1].text)
            call = {"name": "price_of", "args": {"item": item[1] if item else ""}, "id": "c1", "type": "tool_call"}
            return AIMessage("", tool_calls=[call])
        return "About ten coins, I guess."

    return SimulatedChatModel(answer=answer)


def right_price(outputs, reference_outputs):
    return outputs["answer"] == reference_outputs["answer"], f"expected {reference_outputs['answer']!r}"


def shop_evals(count=40):
    items = ["a" * (at + 1) for at in range(count)]
    data = [{"inputs": {"item": i}, "reference_outputs": {"answer": f"{i} costs {len(i)} coins"}} for i in items]
    return Evals(data, [right_price])


def branches(model):
    """judge -> publish, but only where the judge's answer is a bare label; anything else goes nowhere."""

    def judge(state: State):
        return {"label": model.invoke([SystemMessage(JUDGE), HumanMessage(state["review"])]).text}

    def publish(state: State):
        return {"page": model.invoke([SystemMessage("You write the page."), HumanMessage(state["label"])]).text}

    graph = StateGraph(State)
    graph.add_node("judge", judge)
    graph.add_node("publish", publish)
    graph.add_edge(START, "judge")
    graph.add_conditional_edges("judge", lambda state: "publish" if " " not in state["label"] else END)
    return graph.compile(name="branches")
