"""Tasks of the functional API: called, awaited together, and joined; and what an earlier run kept for this one."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.func import entrypoint, task

INPUTS = {"topic": "lighthouses of the north"}
AGAIN = {"topic": "harbours of the south"}
PROMPT = "Give an outline."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} of {messages[-1].text}"


def build(model, checkpointer=None):
    @task
    def outline(topic: str) -> str:
        return model.invoke([SystemMessage(PROMPT), HumanMessage(topic)]).text

    @task
    def section(outline: str, number: int) -> dict:
        asked = f"{number}. section, {outline}"
        return {"number": number, "text": model.invoke([SystemMessage("Write a section."), HumanMessage(asked)]).text}

    @task
    def join(parts: list[dict], earlier: str) -> str:
        return "\n".join([earlier, *(part["text"] for part in parts)])

    @entrypoint(checkpointer=checkpointer)
    def essay(inputs: dict, *, previous: dict | None = None) -> entrypoint.final[str, dict]:
        plan = outline(inputs["topic"]).result()
        parts = [section(plan, 1), section(f"{plan}, in verse", 2)]
        text = join([part.result() for part in parts], (previous or {}).get("text", "nothing before")).result()
        return entrypoint.final(value=text, save={"text": plan})

    return essay
