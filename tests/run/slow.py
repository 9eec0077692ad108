"""Programs for the tests of Ctrl-C: `python -m tests.run.slow KIND RUN_DIR` optimises a graph on a slow model.

The model says "ready" once it is answering, then takes as long as the test lets it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import Evals, Settings, Strategy, optimize
from textgrad_lg.events import ExampleScored


def told(outputs, reference_outputs):
    return outputs["page"] == reference_outputs["page"], worlds.WANTED


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(kind, run_dir):
    fast_calls, seconds = int(os.environ["FAST_CALLS"]), float(os.environ["SECONDS"])
    model = worlds.review_model()
    answer, made = model.answer, []

    def slowly(messages):
        made.append(messages)
        if len(made) > fast_calls:
            if len(made) == fast_calls + 1:
                say("ready")
            time.sleep(seconds)
        return answer(messages)

    model.answer = slowly

    def judge(state: worlds.State):
        return {"page": f"<p>{model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state['review'])]).text}</p>"}

    async def ajudge(state: worlds.State):
        reply = await model.ainvoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])])
        return {"page": f"<p>{reply.text}</p>"}

    async def nothing(state: worlds.State):
        return {}

    def judged(outputs, reference_outputs):
        model.invoke([SystemMessage("Judge this."), HumanMessage(outputs["page"])])
        return told(outputs, reference_outputs)

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    if kind == "mixed":  # an async node makes LangGraph run the sync one in the event loop's own threads
        graph.add_node("nothing", nothing)
        graph.add_edge("judge", "nothing")
    compiled = graph.compile(name="slow")

    paid = []

    def count(event):
        if isinstance(event, ExampleScored) and not event.cached:
            paid.append(event)

    def work():
        try:
            result = optimize(
                compiled,
                Evals(worlds.reviews(), [judged if kind == "judge" else told]),
                settings=Settings(steps=1, batch=6, concurrency=2, strategy=Strategy.STRUCTURAL),
                run_dir=run_dir,
                callbacks=[count],
            )
            say(f"improved {result.improved}, {len(paid)} rollouts, {result.spend.total.calls} calls in all sessions")
        finally:
            say(f"calls {len(made)}")

    async def inside():
        work()

    if kind == "loop":
        asyncio.run(inside())
    else:
        work()


if __name__ == "__main__":
    main(*sys.argv[1:])
