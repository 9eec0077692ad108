"""Place: where in a source a reader is, and what it found wrong there."""

from __future__ import annotations

from collections.abc import Callable, Container

from textgrad_lg_tracing.readers.limits import Limits


class Problems:
    """What was wrong, by the trace it was wrong with; bounded, and the rest counted."""

    def __init__(self, limits: Limits, report: Callable[[str], None]) -> None:
        self._limit = limits.problems
        self._report = report
        self._told = 0
        self._of: dict[str, list[str]] = {}

    def add(self, text: str, trace_id: str = "") -> None:
        """Note a problem with a trace, or report at once what belongs to none."""
        if trace_id:
            found = self._of.setdefault(trace_id, [])
            if len(found) <= self._limit:
                found.append(text if len(found) < self._limit else "there are more problems with this trace")
            return
        self._told += 1
        if self._told <= self._limit:
            self._report(text)

    def take(self, trace_id: str) -> list[str]:
        """The problems with a trace, which are then forgotten."""
        return self._of.pop(trace_id, [])

    def end_file(self, name: str) -> None:
        """Say how much was not said of the file that ends here."""
        if self._told > self._limit:
            self._report(f"{name}: {self._told - self._limit} more problems")
        self._told = 0

    def orphans(self) -> list[tuple[str, list[str]]]:
        """Problems with traces of which no span was good, which are then forgotten."""
        found = sorted(self._of.items())
        self._of.clear()
        return found


class Place:
    """A record of a source.

    Attributes:
        name: As in "spans.jsonl, line 7".
        limits: What may be taken in.
        only: The traces whose spans are wanted, where not all are. Formats in which a record holds many traces go by it;
            elsewhere the others' spans are read too.
    """

    __slots__ = ("_problems", "limits", "name", "only")

    def __init__(self, name: str, limits: Limits, problems: Problems, only: Container[str] | None = None) -> None:
        self.name = name
        self.limits = limits
        self.only = only
        self._problems = problems

    def problem(self, text: str, trace_id: str = "") -> None:
        """Note what is wrong here: with one trace, if its id could be read."""
        self._problems.add(f"{self.name}: {text}", trace_id)
