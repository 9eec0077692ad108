"""What every peer's script shares: the task as the world's server gives it, the three-node pipeline, and one line of result.

It imports the standard library and `openai` only, because each script runs in a virtual environment of its own. The driver
(`python -m benchmarks.peers.drive`) starts the scripts, counts their calls at the server, and scores their final texts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

STEPS, BATCH, THREADS = 12, 3, 8
"""The setting of all peers: 12 steps of 3 examples, and up to 8 calls in flight where the peer can do that."""
KEY = "not-needed"
"""Stands in the place of an API key; the server is on this machine and asks for none."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pipeline: a system prompt, and the first line of each of its human messages."""

    name: str
    prompt: str
    marker: str

    def message(self, text: str) -> str:
        """The human message with which the node is called."""
        return f"{self.marker}\n{text}"


@dataclass(frozen=True, slots=True)
class Row:
    """An example."""

    id: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One node's call in one run."""

    node: str
    message: str
    reply: str


@dataclass(frozen=True)
class Setting:
    """One run of one peer.

    Attributes:
        root: The server's URL, without `/v1`.
        seed: The seed of the task and of the peer.
        nodes: In the order in which they run.
        train: The train set.
        validation: The validation set.
        variant: Which way to use the peer, where there are several; empty for its default.
        started: When the optimiser's work began, by the performance counter.
    """

    root: str
    seed: int
    nodes: tuple[Node, ...]
    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    variant: str = ""
    started: list[float] = field(default_factory=list[float])

    @property
    def base(self) -> str:
        """The base URL for an OpenAI client."""
        return f"{self.root}/v1"

    @property
    def texts(self) -> dict[str, str]:
        """The prompts to start with."""
        return {node.name: node.prompt for node in self.nodes}

    def batches(self) -> list[list[Row]]:
        """Twelve batches of three: the shuffled train set once."""
        rows = list(self.train)
        random.Random(self.seed).shuffle(rows)
        return [rows[at * BATCH : (at + 1) * BATCH] for at in range(STEPS)]

    def pipeline(self, call: Callable[[str, str], str], texts: Mapping[str, str], question: str) -> list[Visit]:
        """Run the nodes one after the other; each gets the reply of the one before."""
        visits: list[Visit] = []
        text = question
        for node in self.nodes:
            message = node.message(text)
            text = call(texts[node.name], message)
            visits.append(Visit(node.name, message, text))
        return visits

    def worker(self) -> Callable[[str, str], str]:
        """A node's model, by the OpenAI client, for peers that leave the program to their user."""
        from openai import OpenAI

        client = OpenAI(base_url=self.base, api_key=KEY, max_retries=0)

        def call(system: str, message: str) -> str:
            reply = client.chat.completions.create(
                model="worker", messages=[{"role": "system", "content": system}, {"role": "user", "content": message}]
            )
            return reply.choices[0].message.content or ""

        return call

    def begin(self) -> None:
        """Start the clock: imports and set-up are over."""
        self.started.append(time.perf_counter())

    def finish(self, peer: str, package: str, texts: Mapping[str, str], **notes: Any) -> None:
        """Write the result as the last line of standard output."""
        took = time.perf_counter() - self.started[0]
        line = {"peer": peer, "version": version(package), "seed": self.seed, "texts": dict(texts), "seconds": took}
        sys.stdout.write(f"\n{json.dumps({**line, 'notes': notes}, ensure_ascii=False)}\n")
        sys.stdout.flush()


def right(output: str, answer: str) -> bool:
    """Whether an output is the right answer."""
    return output.strip() == answer


def comment(output: str, answer: str) -> str:
    """What the evaluator says of an output; the same words for every library."""
    return "right" if right(output, answer) else f"expected {answer}, got {output}"


def each(do: Callable[[T], R], items: Sequence[T], threads: int = THREADS) -> list[R]:
    """Do the same for all items, up to `threads` at once, in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(do, items))


def load() -> Setting:
    """The setting that the driver asked for on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="the server's URL, without /v1")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--variant", default="", help="another way to use the peer; its script says which there are")
    given = parser.parse_args()
    root = given.url.rstrip("/").removesuffix("/v1")
    with urllib.request.urlopen(f"{root}/control/task", timeout=30) as reply:
        task = json.load(reply)
    nodes = tuple(Node(it["name"], it["prompt"], it["marker"]) for it in task["nodes"])
    sets = {
        name: tuple(Row(it["id"], it["question"], it["answer"]) for it in task[name])
        for name in ("train", "validation")
    }
    return Setting(root, given.seed, nodes, sets["train"], sets["validation"], given.variant)
