"""Runs the peers in the simulated world, one at a time, and says what each needed.

    python -m benchmarks.peers.drive [--peers gepa,textgrad] [--seeds 5] [--latency 0.2] [--salt] [--out FILE]

Each peer runs in a virtual environment of its own (`make bench-peers` makes them). Seeds are paired: a seed is the same task
for every peer. Calls, tokens and times are counted by the world's server, final texts are scored by it without any call.
Every run is a JSON line in the file; the table has the mean, and the least and the most, over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.world.server import Client, running

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / ".venv-peers"
LONGEST = 900
"""Seconds that one run may take."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its environment, its script, and which way of using it, if not the default."""

    environment: str
    script: str
    variant: str = ""


PEERS = {
    "gepa": Peer("gepa", "peer_gepa.py"),
    "textgrad": Peer("textgrad", "peer_textgrad.py"),
    "dspy-gepa": Peer("dspy", "peer_dspy.py"),
    "trace-opt": Peer("trace", "peer_trace.py"),
    "langmem": Peer("langmem", "peer_langmem.py"),
    "adalflow": Peer("adalflow", "peer_adalflow.py"),
    "gepa (all at once)": Peer("gepa", "peer_gepa.py", "all"),
    "dspy-gepa (all at once)": Peer("dspy", "peer_dspy.py", "all"),
    "dspy-mipro": Peer("dspy", "peer_dspy.py", "mipro"),
}


def run(name: str, client: Client, seed: int) -> dict[str, Any]:
    """Run one peer once.

    Raises:
        RuntimeError: The peer's script failed; the message has the end of what it wrote.
    """
    peer = PEERS[name]
    python = ENVIRONMENTS / peer.environment / "bin" / "python"
    command = [str(python), str(HERE / peer.script), "--url", client.base, "--seed", str(seed)]
    command += ["--variant", peer.variant] if peer.variant else []
    # The environment says nothing of the user's: no key, no proxy, no cache folder.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT)}
    before = os.getloadavg()[0]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST, check=False, env=environment, cwd=ROOT
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise RuntimeError(f"{name} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return {**json.loads(lines[-1]), "load": [before, os.getloadavg()[0]]}


def measure(name: str, client: Client, seed: int, latency: float, *, salt: bool) -> dict[str, Any]:
    """Run one peer once in a new world, with what the server counted and the score of the final texts."""
    client.reset(seed=seed, latency=latency, salt=salt)
    result = run(name, client, seed)
    report = client.report()
    return {**result, "peer": name, "salt": salt, "report": report, "test": client.score(result["texts"])}


def _tokens(result: dict[str, Any], what: str) -> float:
    return sum(model[what] for model in result["report"]["tokens"].values()) / 1000


def _new_texts(result: dict[str, Any]) -> int:
    return result["report"]["calls"]["by_kind"].get("proposal", 0)


Column = Callable[[dict[str, Any]], float | None]
COLUMNS: dict[str, tuple[Column, ...]] = {
    "score": (lambda it: it["test"]["score"],),
    "calls": (lambda it: it["report"]["calls"]["total"],),
    "nodes / feedback / new texts": (
        lambda it: it["report"]["calls"]["worker"],
        lambda it: it["report"]["calls"]["critic"] - _new_texts(it),
        _new_texts,
    ),
    "k tokens sent": (lambda it: _tokens(it, "sent"),),
    "k forms": (lambda it: _tokens(it, "forms"),),
    "to solve: calls": (lambda it: it["report"]["solved"]["calls"],),
    "seconds": (lambda it: it["report"]["solved"]["seconds"],),
    "rounds": (lambda it: it["report"]["rounds"],),
    "wall s": (lambda it: it["report"]["wall"],),
    "wall / critical": (lambda it: it["report"]["wall"] / it["report"]["critical"],),
}
SALTED = ("score", "calls", "k tokens sent", "to solve: calls", "rounds", "wall s")
"""The columns for runs in which no two of the critic's replies are alike."""


def cell(values: Sequence[float | None], *, spread: bool = True) -> str:
    """The mean with the least and the most; how many runs have no value, if some have none."""
    found = [it for it in values if it is not None]
    if not found:
        return "never"
    digits = 0 if max(found) >= 100 else 1 if max(found) >= 10 else 2
    least, mean, most = (f"{it:.{digits}f}" for it in (min(found), sum(found) / len(found), max(found)))
    text = f"{mean} ({least}-{most})" if spread and least != most else mean
    return text if len(found) == len(values) else f"{text}, {len(values) - len(found)} of {len(values)} never"


def table(results: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown, one line for each peer."""
    names = SALTED if all(it["salt"] for it in results) else tuple(COLUMNS)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for peer in dict.fromkeys(it["peer"] for it in results):
        runs = [it for it in results if it["peer"] == peer]
        cells = [
            " / ".join(cell([part(it) for it in runs], spread=len(COLUMNS[name]) == 1) for part in COLUMNS[name])
            for name in names
        ]
        lines.append(f"| {peer} {runs[0]['version']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(PEERS), help="names, with commas between them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds that every call takes")
    parser.add_argument("--salt", action="store_true", help="no two replies of the critic are alike: twelve live steps")
    parser.add_argument("--out", type=Path, default=ROOT / ".textgrad-lg" / "peers.jsonl")
    given = parser.parse_args()
    names = [name for name in given.peers.split(",") if name]
    if unknown := set(names) - set(PEERS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with running() as client, given.out.open("a") as out:
        for seed in range(given.seeds):
            for name in names:
                try:
                    result = measure(name, client, seed, given.latency, salt=given.salt)
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                    print(f"{name}, seed {seed}: {error}")
                    continue
                results.append(result)
                out.write(json.dumps({**result, "at": time.time()}, ensure_ascii=False) + "\n")
                out.flush()
    print(table(results))


if __name__ == "__main__":
    main()
