"""A program for the tests of SIGKILL: `python -m tests.run.killed FOLDER CONCURRENCY END...`.

It imports everything once and then forks a child for each session of a run. A child ends itself as it is told:

    0.31        SIGKILL after that share of all it would do: inside a statement of SQLite, in the middle of a commit to the
                registry, anywhere
    answered/critic:2    SIGKILL after the second such line of its log
    full:300000          no file can grow beyond so many bytes
    random:25            a share as above, drawn anew for each session until 25 of them were killed

The next child goes on with the same run directory. When one has come to the end of the run, another run begins, until all
ENDs are used. Printed as JSON: the log of each session, and what each run came to, first of all that of a run left alone.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import pkgutil
import random
import resource
import signal
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph

import textgrad_lg
from tests.run import worlds
from textgrad_lg import Evals, Settings, SQLiteRegistry, Strategy, optimize
from textgrad_lg.errors import JournalError
from textgrad_lg.run.journal import Journal
from textgrad_lg.run.receipts import Receipts
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Tools

# So few examples that a gate at the usual levels would take nothing.
SHARE = 0.35
"""Of all that a run does, at most, after which a session is killed at random: it goes on with what is left."""
SETTINGS = Settings(steps=2, batch=3, strategy=Strategy.CHAIN, tools=Tools.RECORD, alpha=0.2, significance=0.3)


class Session:
    """One process of a run: what it does goes to a file, line by line, and it dies when its time has come."""

    def __init__(self, log, end, ticks):
        self.file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.ticks, self.kill_at, self.line, self.left, self.lock = 0, None, None, 0, threading.Lock()
        if end is None:
            return
        what, _, number = end.rpartition(":")
        if what == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), resource.RLIM_INFINITY))
        elif what:
            self.line, self.left = what.split("/"), int(number)
        else:
            self.kill_at = max(1, round(float(number) * ticks))

    def tick(self):
        with self.lock:
            self.ticks += 1
            if self.ticks == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def say(self, *words):
        self.tick()
        os.write(self.file, (json.dumps(words) + "\n").encode())
        if self.line and all(word.startswith(start) for word, start in zip(words, self.line, strict=False)):
            with self.lock:
                self.left -= 1
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        self.tick()

    def asked(self, who, answer):
        """`answer`, told when it is asked, and when its reply is about to leave the model."""

        @functools.wraps(answer)
        def told(messages):
            key = hashlib.sha256(json.dumps([who, *(m.text for m in messages)]).encode()).hexdigest()[:12]
            self.say("asked", who, key)
            reply = answer(messages)
            self.say("answered", who, key)
            return reply

        return told

    def watch(self, owner, name, told=None):
        """Count before and after a method of the library, and say what it was given."""
        method = getattr(owner, name)

        @functools.wraps(method)
        def watched(*args, **kwargs):
            self.tick()
            result = method(*args, **kwargs)
            if told is None:
                self.tick()
            else:
                self.say(*told(*args))
            return result

        setattr(owner, name, watched)


def graph_of(model, session):
    @tool
    def look_up(review: str) -> str:
        """Look a film up."""
        session.say("asked", "tool", review)
        session.say("answered", "tool", review)
        return f"{review}, as the list says"

    def extract(state: worlds.State):
        found = look_up.invoke({"review": state["review"]})
        reply = model.invoke([SystemMessage("You extract the facts."), HumanMessage(found)])
        session.tick()
        return {"facts": reply.text}

    def judge(state: worlds.State):
        reply = model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(f"The facts:\n\n{state['facts']}")])
        session.tick()
        return {"page": f"<p>{reply.text}</p>"}

    graph = StateGraph(worlds.State)
    graph.add_node("extract", extract)
    graph.add_node("judge", judge)
    graph.add_edge(START, "extract")
    graph.add_edge("extract", "judge")
    return graph.compile(name="killed")


def watch_all(session):
    """Have the session count, and tell, what goes to the disk."""
    session.watch(Receipts, "keep", lambda _, scope, entry: ("kept", scope, *entry.place))
    for owner, names in {
        Journal: ("put", "note"),
        SQLiteRegistry: ("commit", "move"),
    }.items():
        for name in names:
            session.watch(owner, name)
    opened = Journal._open

    def counted(self):
        opened(self)
        self._db.set_progress_handler(session.tick, 40)  # virtual machine instructions

    Journal._open = counted


def run(folder, session, concurrency):
    """One session, to its end if it is not killed."""
    model, critic = worlds.review_model(), worlds.critic("I think this is", worlds.WANTED)
    model.answer = session.asked("model", model.answer)
    critic.replies = session.asked("critic", critic.replies)
    arbiter = ScriptedChatModel(replies=session.asked("arbiter", lambda _: "Agreed."), model_name="arbiter")

    def half_right(outputs, reference_outputs):
        # Never perfect, so that every step has something to learn.
        arbiter.invoke([SystemMessage("Is it right?"), HumanMessage(outputs["page"])])
        return 0.5 if outputs["page"] == reference_outputs["page"] else 0.0, f"wanted {reference_outputs['page']}"

    watch_all(session)
    registry = SQLiteRegistry(folder / "registry.sqlite3")
    result = optimize(
        graph_of(model, session),
        Evals(worlds.reviews(12), [half_right]),
        model=critic,
        settings=replace(SETTINGS, concurrency=concurrency),
        registry=registry,
        run_dir=folder / "run",
        callbacks=[lambda _: session.tick()],
    )
    (name,) = registry.names()
    with Journal(folder / "run") as journal:
        asked = {kind: journal.count(kind) for kind in ("gradients", "proposals")}
    return {
        "ticks": session.ticks,
        "calls": result.spend.total.calls,
        "same": {
            "asked": asked,
            "decisions": [
                [each.gate, str(each.update.site), each.update.new.text, each.accepted, each.reason, each.step]
                for each in result.decisions
            ],
            "texts": {str(site): update.new.text for site, update in result.texts.items()},
            "test": repr(result.test),
            "validation": repr(result.validation),
            "reason": result.reason,
            "versions": [[version.version, version.template.text] for version in registry.history(name)],
            "labels": registry.labels(name),
        },
    }


def child(folder, end, concurrency, number, ticks=0):
    """Fork a session; its log, and what it came to, or None where it was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    log, result = folder / f"log-{number}", folder / f"result-{number}"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            try:
                found = run(folder, Session(log, end, ticks), concurrency)
            except JournalError as error:
                found = {"error": str(error), "notes": getattr(error, "__notes__", [])}
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            result.write_text(json.dumps(found, sort_keys=True))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    said = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return said, None
    if status:
        sys.exit(f"the session in {log} failed with status {status}")
    return said, json.loads(result.read_text())


def load():
    """Import all that a session needs, so that each runs the same code, and starts at once."""
    for module in pkgutil.walk_packages(textgrad_lg.__path__, "textgrad_lg."):
        importlib.import_module(module.name)
    for name in ("genai_prices", "scipy.stats", "textgrad_lg_tracing"):
        importlib.import_module(name)


def drawn(ends, concurrency, killed):
    """The ENDs one by one; of `random:25` as many as it takes."""
    for end in ends:
        what, _, number = end.partition(":")
        if what != "random":
            yield end
            continue
        draw = random.Random(concurrency)
        while killed() < int(number):
            yield f"{draw.uniform(0, SHARE):.4f}"


def main(folder, concurrency, *ends):
    load()
    concurrency, killed = int(concurrency), 0
    todo = drawn(ends, concurrency, lambda: killed)
    end = next(todo, None)
    said, whole = child(Path(folder) / "whole", None, concurrency, 0)
    runs = [{"sessions": [said], "ends": [whole]}]
    while end is not None:
        at, sessions = Path(folder) / f"run-{len(runs)}", []
        came_to: list[Any] = [None]
        while "same" not in (came_to[-1] or {}):
            said, result = child(at, end, concurrency, len(sessions), whole["ticks"])
            sessions.append(said)
            came_to.append(result)
            killed += result is None
            end = next(todo, None)
        runs.append({"sessions": sessions, "ends": came_to[1:]})
    sys.stdout.write(json.dumps(runs))


if __name__ == "__main__":
    main(*sys.argv[1:])
