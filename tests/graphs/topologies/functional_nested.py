"""A task that is tried again, and a task that calls tasks of its own."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.func import entrypoint, task
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

INPUTS = "the bells of the old town"
PROMPT = "Find a source."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} for {messages[-1].text}"


def build(model):
    @task(retry_policy=RetryPolicy(max_attempts=2, initial_interval=0, jitter=False))
    def find(topic: str) -> str:
        said = model.invoke([SystemMessage(PROMPT), HumanMessage(topic)]).text
        if get_runtime().execution_info.node_attempt == 1:
            raise ConnectionError("the archive is closed")
        return said

    @task
    def quote(source: str) -> str:
        return model.invoke([SystemMessage("Give a quote."), HumanMessage(source)]).text

    @task
    def research(topic: str) -> list[str]:
        source = find(topic).result()
        return [source, quote(source).result()]

    @entrypoint()
    def report(topic: str) -> str:
        source, said = research(topic).result()
        return f"{said} [{source}]"

    return report
