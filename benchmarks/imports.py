"""What importing the library costs beside `import langgraph.graph`, which every user of it has paid for already.

    python -m benchmarks.imports [RUNS]

Each figure is a fresh interpreter, all of them in turn so that each meets the same machine. Printed: median and range of
the wall time, the ratio to `import langgraph.graph` alone, and the third-party packages that the one brings and the other
does not. Names are imported when they are first used, so the lines below the limit say what is paid later: by all public
names at once, and by the first call, a plan of a graph of one node.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BASE = "import langgraph.graph"
LIMITED = ("import textgrad_lg", "from textgrad_lg import Evals, optimize")
"""What users write at the top of a file."""
GRAPH = """
from typing import TypedDict
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
node = ChatPromptTemplate([("system", "Repeat it.")]) | FakeListChatModel(responses=["a"]) | (lambda reply: {"x": reply.text})
State = TypedDict("State", {"x": str})
graph = langgraph.graph.StateGraph(State).add_node("n", node).add_edge("__start__", "n").compile()
"""
EVERYTHING = "from textgrad_lg import *"
FIRST_CALL = """
from textgrad_lg import Evals, exact, optimize
data = [{"id": str(n), "inputs": {"x": str(n)}, "outputs": {"x": "a"}} for n in range(10)]
optimize(graph, Evals(data, [exact("x")]), dry_run=True)
"""
LIMIT = 1.25


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs `code`, less that of one that does nothing."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return once(code) - once("pass")


def packages(code: str) -> set[str]:
    """Top-level third-party packages that `code` brings in."""
    code = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return set(found) - set(sys.stdlib_module_names)


def main() -> None:
    """Print the comparison; exit with 1 where the limit is broken."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    # The graph comes first, as in a program that has one to optimise: beside nothing, ours would seem to cost next to nothing.
    lines = {line: f"{BASE}\n{line}" for line in LIMITED}
    later = {
        EVERYTHING: f"{BASE}\n{EVERYTHING}",
        "a graph, without textgrad_lg": BASE + GRAPH,
        "and a first plan of it": BASE + GRAPH + FIRST_CALL,
    }
    codes = {BASE: BASE, **lines, **later}
    for code in codes.values():
        seconds(code)  # fills the file cache, and byte-compiles what is not compiled yet
    rounds = [{name: seconds(code) for name, code in codes.items()} for _ in range(runs)]
    print(f"in fresh interpreters, n = {runs}; limit {LIMIT} of the time of {BASE}")
    broken = False
    for name in codes:
        took = [found[name] for found in rounds]
        ratio = statistics.median(found[name] / found[BASE] for found in rounds)
        broken |= name in lines and ratio > LIMIT
        figures = f"median {statistics.median(took):.3f} s, {min(took):.3f} to {max(took):.3f} s, ratio {ratio:.3f}"
        print(f"{name:40} {figures}{', no limit: paid when it is used' if name in later else ''}")
    extra = packages(later[EVERYTHING]) - packages(BASE) - {"textgrad_lg"}
    print(f"third-party packages that only textgrad_lg brings: {', '.join(sorted(extra)) or 'none'}")
    sys.exit(broken or bool(extra))


if __name__ == "__main__":
    main()
