"""What production traces do not hold, told once for all of them: what to see to where they are made."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textgrad_lg.trace import Trace

MOST = 3
"""Different sentences at most."""
_LENGTH = 300
_WHOLE = "of the run"
"""How what is said of a whole trace begins, and not of one of its spans."""
CAPTURED = (
    "what was sent, what came back and the nodes' state have to be in the spans: turn the capture of content on where the "
    "graph runs, and read the traces with the graph (docs/production.md, 'What a trace has to hold')"
)
"""What cures most of it."""


def lacking(traces: Iterable[Trace]) -> tuple[str, ...]:
    """What the traces say is missing of them: the most frequent first, each with how many traces say so."""
    found: Counter[str] = Counter()
    total = 0
    for trace in traces:
        total += 1
        found.update(dict.fromkeys(trace.warnings, 1))
    most = sorted(found, key=lambda text: (-found[text], not text.startswith(_WHOLE), text))[:MOST]
    return tuple(f"{found[text]} of {total} traces: {text[:_LENGTH]}" for text in most)
