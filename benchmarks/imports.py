"""What `import textgrad_lg` costs beside `import langgraph.graph`, which every user of it has paid for already.

    python -m benchmarks.imports [RUNS]

Each figure is a fresh interpreter, the two imports in turn so that both meet the same machine. Printed: median and range
of the wall time, the ratio, and the third-party modules that the one brings and the other does not.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

OURS, THEIRS = "import textgrad_lg", "import langgraph.graph"
LIMIT = 1.25


def seconds(statement: str) -> float:
    """Wall time of a fresh interpreter that runs `statement`, less that of one that does nothing."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return once(statement) - once("pass")


def modules(statement: str) -> set[str]:
    """Top-level third-party packages that `statement` brings in."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return set(found) - set(sys.stdlib_module_names)


def main() -> None:
    """Print the comparison; exit with 1 where the limit is broken."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds(OURS)  # fills the file cache, and byte-compiles what is not compiled yet
    pairs = [(seconds(OURS), seconds(THEIRS)) for _ in range(runs)]
    for name, column in ((OURS, [ours for ours, _ in pairs]), (THEIRS, [theirs for _, theirs in pairs])):
        print(
            f"{name:24} median {statistics.median(column):.3f} s, {min(column):.3f} to {max(column):.3f} s, n = {runs}"
        )
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    extra = modules(OURS) - modules(THEIRS) - {"textgrad_lg"}
    print(f"ratio (median of pairs)  {ratio:.3f}, limit {LIMIT}")
    print(f"third-party packages that only textgrad_lg brings: {', '.join(sorted(extra)) or 'none'}")
    sys.exit(ratio > LIMIT or bool(extra))


if __name__ == "__main__":
    main()
