"""As `tests.run.killed`, for `learn`: `python -m tests.run.killed_learning graph|traces FOLDER CONCURRENCY END...`.

The production traces are recorded once, before the first session: each session is given the same ones, as a backend would.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import replace
from functools import partial

from langchain_core.messages import HumanMessage, SystemMessage

from tests.run import killed, worlds
from tests.run.production import pages, quoted_critic, short
from textgrad_lg import TGD, Settings, SQLiteRegistry, Strategy, learn
from textgrad_lg.testing import ScriptedChatModel

MARK = re.compile(r" [0-9a-f]{16}>>>")
"""The marks of fences around strangers' data are other ones in each run, and in all sessions of one run the same."""
SETTINGS = Settings(steps=2, batch=3, strategy=Strategy.CHAIN, alpha=0.2, significance=0.3)


def asked(session, who, answer):
    """As `Session.asked`, where requests are the same in all runs but for the marks."""

    def told(messages):
        shown = [SystemMessage(MARK.sub(">>>", message.text)) for message in messages]
        return session.asked(who, lambda _: answer(messages))(shown)

    return told


def run(traces, with_graph, folder, session, concurrency):
    """One session, to its end if it is not killed."""
    model, critic = worlds.review_model(), quoted_critic()
    model.answer = session.asked("model", model.answer)
    critic.replies = asked(session, "critic", critic.replies)
    arbiter = ScriptedChatModel(replies=session.asked("arbiter", lambda _: "Agreed."), model_name="arbiter")

    def judged(outputs):
        arbiter.invoke([SystemMessage("Is it right?"), HumanMessage(outputs["page"])])
        return short(outputs)

    killed.watch_all(session)
    registry = SQLiteRegistry(folder / "registry.sqlite3")
    result = learn(
        worlds.three_nodes(model) if with_graph else None,
        traces,
        judged,
        model=critic,
        answers=model,
        optimizer=TGD(),
        settings=replace(SETTINGS, concurrency=concurrency),
        registry=registry,
        run_dir=folder / "run",
        callbacks=[lambda _: session.tick()],
    )
    (name,) = registry.names()
    return {
        "ticks": session.ticks,
        "calls": result.spend.total.calls,
        "same": {
            "decisions": [
                [each.gate, str(each.update.site), each.update.new.text, each.accepted, each.reason, each.step]
                for each in result.decisions
            ],
            "texts": {str(site): change.new.text for site, change in result.texts.items()},
            "failing": [one.trace.id for one in result.failing],
            "clusters": [str(cluster) for cluster in result.clusters],
            "test": repr(result.result.test) if result.result else None,
            "reason": result.reason,
            "versions": [
                [version.version, version.template.text, version.provenance.get("traces")]
                for version in registry.history(name)
            ],
            "labels": registry.labels(name),
        },
    }


def main(mode, *arguments):
    importlib.import_module("sklearn.cluster")  # once, for all sessions
    importlib.import_module("sklearn.feature_extraction.text")
    _, traces = pages(12)
    killed.run = partial(run, traces, mode == "graph")
    killed.main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
