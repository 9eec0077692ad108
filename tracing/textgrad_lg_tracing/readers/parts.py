"""Parts: the runs that one trace holds, each with the spans that tell of it.

Most traces hold one run, and are passed on as they are. Several are in one where runs have a span around them that is not
theirs: our `textgrad example`, a request that asks two graphs, or a parent that never came.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.attributes import SCHEMA
from textgrad_lg_tracing.readers.build import trace_id
from textgrad_lg_tracing.readers.dialects.table import dialect_of
from textgrad_lg_tracing.readers.dialects.told import ABSENT
from textgrad_lg_tracing.readers.own import forwards
from textgrad_lg_tracing.readers.runs import DEPTH, NAMESPACE

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.dialects.told import Dialect, Told
    from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace

_NO_RUN = ("", "eval")
_CONTENT = (at.INPUT, at.OUTPUT, at.GEN_AI_INPUT, at.GEN_AI_OUTPUT)
_HALF = 16
"""Of the digits of an id."""
Top = tuple["SourceSpan", "Told"]
"""A span that stands for a run and is in no other such span, and what it says."""
_Inside = Mapping[str | None, Sequence["SourceSpan"]]
"""Spans by their parents."""


class Part(NamedTuple):
    """One run, and the spans that tell of it.

    Attributes:
        id: The id that its Trace has.
        source: The trace, with only those of its spans that the run is read from.
        dialect: Who wrote them; None where we did.
        tops: The outermost of the runs in them; none where we wrote them.
        rollout: Our own `forward` span, where the run is one that we have made.
        judged: The spans by which judgements of the run are found.
    """

    id: str
    source: SourceTrace
    dialect: Dialect | None
    tops: Sequence[Top]
    rollout: SourceSpan | None
    judged: Sequence[SourceSpan]


def parts(source: SourceTrace) -> Iterator[Part]:
    """The runs of a trace by their beginning; none where no span of it is a graph's, a model's or a tool's.

    Of our own traces these are the rollouts: each `forward` span is one, whatever the texts it was run with. A rollout is
    read from our spans; where those were written without content, from those that another tracer has put below them.

    In all other traces a run is one of its own if it is a graph's, with its nodes, and is in no other run. So a run whose
    nodes have lost their parent does not fall apart.
    """
    if any(SCHEMA in span.attributes for span in source.spans):
        yield from sorted(_with_ours(source), key=lambda part: ((part.rollout or part.tops[0][0]).start, part.id))
    else:
        yield from _theirs(source)


def _with_ours(source: SourceTrace) -> Iterator[Part]:
    inside, known = _inside(source.spans), {span.span_id: span for span in source.spans}
    heads = {span.span_id: span for span in forwards(source.spans)}
    below = {name: [head, *_below(inside, name, heads)] for name, head in heads.items()}
    about: dict[str, list[SourceSpan]] = {}
    for span in source.spans:
        if at.FORWARD_SPAN in span.attributes:
            about.setdefault(str(span.attributes[at.FORWARD_SPAN]), []).append(span)
    gone = {span.span_id for found in below.values() for span in found}
    left = [span for span in source.spans if span.span_id not in gone and SCHEMA not in span.attributes]
    alone = len(heads) == 1 and not left
    met: set[str] = set()
    for name, head in heads.items():
        around = _above(known, head)
        judged = source.spans if alone else _ordered([*around, *below[name], *about.get(name, ())])
        own = str(head.attributes.get(at.TRACE) or "")
        own = own if own and own not in met else _apart(source, head)
        met.add(own)
        found = _rollout(source, head, around, below[name])
        if found is not None:
            yield found._replace(id=own, rollout=head, judged=judged)
    for part in _theirs(source._replace(spans=tuple(left)), alone=not heads):
        # The `forward` around it is missing, but not what was said of that.
        said = [span for top, _ in part.tops for span in about.get(top.parent_id or "", ())]
        yield part._replace(judged=_ordered([*part.judged, *said]))


def _rollout(
    source: SourceTrace, head: SourceSpan, around: Sequence[SourceSpan], below: Sequence[SourceSpan]
) -> Part | None:
    """A rollout of ours, read from our spans, or from those of others below them; None where neither tell of it."""
    ours = [span for span in below if at.SPAN in span.attributes or span is head]
    if all(span is head or span.attributes.keys().isdisjoint(_CONTENT) for span in ours):
        theirs = tuple(_ordered(span for span in below if SCHEMA not in span.attributes))
        tries = [part for part in _theirs(source._replace(spans=theirs)) if _has_content(part)]
        if tries:
            return _last(tries)
    if at.TRACE not in head.attributes:
        return None
    spans = tuple(_ordered([*around, *ours]))
    return Part("", source._replace(spans=spans), None, (), head, ())


def _last(tries: Sequence[Part]) -> Part:
    """The last run of a rollout, which was made again if there are several. One inside another's time is no such try."""
    found = tries[0]
    for part in tries[1:]:
        if part.tops[0][0].start >= found.tops[0][0].end:
            found = part
    assert found.dialect is not None
    why = (
        "textgrad_lg's spans hold nothing of what its nodes were given and made; "
        f"it is read from those that {found.dialect.name} put below them"
    )
    again = ["the rollout was made again: of its runs the last one is read"] if found is not tries[0] else []
    return found._replace(source=found.source._replace(problems=(*found.source.problems, why, *again)))


def _has_content(part: Part) -> bool:
    dialect = part.dialect
    assert dialect is not None
    for span in part.source.spans:
        if dialect.speaks(span):
            told = dialect.read(span)
            if any(value is not ABSENT and value is not None for value in (told.inputs, told.outputs, told.messages)):
                return True
    return False


def _theirs(source: SourceTrace, *, alone: bool = True) -> Iterator[Part]:
    """The runs of a trace that holds no span of ours.

    Args:
        source: The trace.
        alone: Whether these are all the runs of it: then a single one has the trace's own id.
    """
    spans = source.spans
    dialect = dialect_of(spans)
    tops = list(_tops(spans, dialect)) if dialect is not None else []
    if dialect is None or not tops:
        return
    if len(tops) > 1:
        inside = _inside(spans)
        graphs = [top for top in tops if _is_graph(top, inside, dialect)]
        if len(graphs) > 1:
            yield from _several(source, dialect, tops, graphs, inside)
            return
    name = trace_id(source.id) if alone else _apart(source, tops[0][0])
    yield Part(name, source, dialect, tops, None, spans)


def _several(
    source: SourceTrace, dialect: Dialect, tops: Sequence[Top], graphs: Sequence[Top], inside: _Inside
) -> Iterator[Part]:
    """Each of several graphs' runs, and what has lost its parent with the one that it must have been in."""
    known = {span.span_id: span for span in source.spans}
    roots = [span for span, _ in graphs]
    found = {root.span_id: [root, *_below(inside, root.span_id)] for root in roots}
    strays = [top for top in tops if top[0].span_id not in found]
    lost = 0
    if strays:
        homes = _homes(found, dialect)
        ends = list(accumulate((root.end for root in roots), max))
        for span, told in strays:
            own = [span, *_below(inside, span.span_id)]
            home = _during(roots, ends, span) or homes.get(_task(told))
            if home:
                found[home] += own
            else:
                lost += len(own)
    said = f"{lost} of its spans belong to none of the trace's {len(roots)} runs for certain; they were left out"
    problems = (*source.problems, said) if lost else source.problems
    for top in graphs:
        root = top[0]
        spans = tuple(_ordered(found[root.span_id]))
        judged = [*_above(known, root), *spans]
        yield Part(_apart(source, root), source._replace(spans=spans, problems=problems), dialect, [top], None, judged)


def _is_graph(top: Top, inside: _Inside, dialect: Dialect) -> bool:
    """Whether a run is a graph's that is in no task, and of which a task is there."""
    span, told = top
    if told.kind != "chain" or _task(told):
        return False
    below = _below(inside, span.span_id)
    return any(_task(dialect.read(one)) for one in below if dialect.speaks(one))


def _homes(found: Mapping[str, Sequence[SourceSpan]], dialect: Dialect) -> dict[str, str]:
    """Each task's run, where it is in one alone."""
    homes: dict[str, str] = {}
    for home, spans in found.items():
        for span in spans:
            task = _task(dialect.read(span)) if dialect.speaks(span) else ""
            if task and homes.setdefault(task, home) != home:
                homes[task] = ""
    return homes


def _task(told: Told) -> str:
    """The outermost task that a run is in; empty where it is in none, or that is not told."""
    return str(told.metadata.get(NAMESPACE) or "").partition("|")[0]


def _during(roots: Sequence[SourceSpan], ends: Sequence[int], span: SourceSpan) -> str:
    """The one run in whose time a span began; empty where there are none or several.

    Args:
        roots: The runs by their start.
        ends: Of each of them the latest end of it and those before it.
        span: The span.
    """
    last = bisect_right(roots, span.start, key=lambda root: root.start) - 1
    if last < 0 or roots[last].end < span.start or (last > 0 and ends[last - 1] >= span.start):
        return ""
    return roots[last].span_id


def _tops(spans: Sequence[SourceSpan], dialect: Dialect) -> Iterator[Top]:
    ids = {span.span_id for span in spans}
    todo = [span for span in reversed(spans) if span.parent_id not in ids]
    inside: _Inside = {}
    while todo:
        span = todo.pop()
        told = dialect.read(span) if dialect.speaks(span) else None
        if told is not None and told.kind not in _NO_RUN:
            yield span, told
            continue
        inside = inside or _inside(spans)
        todo += reversed(inside.get(span.span_id, ()))


def _inside(spans: Sequence[SourceSpan]) -> dict[str | None, list[SourceSpan]]:
    found: dict[str | None, list[SourceSpan]] = {}
    for span in spans:
        found.setdefault(span.parent_id, []).append(span)
    return found


def _below(inside: _Inside, name: str, stop: Mapping[str, SourceSpan] | None = None) -> list[SourceSpan]:
    """All spans below one, save those in `stop` and what is below these."""
    found: list[SourceSpan] = []
    todo = [name]
    while todo:
        for span in inside.get(todo.pop(), ()):
            if stop is None or span.span_id not in stop:
                found.append(span)
                todo.append(span.span_id)
    return found


def _above(known: Mapping[str, SourceSpan], span: SourceSpan) -> list[SourceSpan]:
    """The spans around one, as many as runs may nest."""
    found: list[SourceSpan] = []
    around = known.get(span.parent_id or "")
    while around is not None and len(found) < DEPTH:
        found.append(around)
        around = known.get(around.parent_id or "")
    return found


def _ordered(spans: Iterable[SourceSpan]) -> list[SourceSpan]:
    return sorted({span.span_id: span for span in spans}.values(), key=lambda span: (span.start, span.span_id))


def _apart(source: SourceTrace, span: SourceSpan) -> str:
    """The id of one run of several in a trace: half of the trace's, and the span's, or where that is longer a digest of it."""
    own = span.span_id
    if len(own) > _HALF:
        own = hashlib.sha256(own.encode(errors="surrogatepass")).hexdigest()[:_HALF]
    return trace_id(source.id)[:_HALF] + trace_id(own)[-_HALF:]
