"""How fast spans of files become spans and Traces here, and what it takes to learn from many traces.

    python -m benchmarks.ingest [--full]

Spans as OpenInference's LangChain instrumentation makes them (`benchmarks.desk`), 20 a trace, about 2.7 kB each as JSON, in
batches of 512, so that some traces lie in two batches. Rows, each holding what the row before does: `decode`, from a file's
bytes to spans; `read`, to whole traces, for which a file is gone through twice; `lazy`, to an `ImportedTrace`, which knows what
a trace is chosen by; `Trace`, to Traces of the library, all of them made, which is what the limits are for. Each is the best of
five, in CPU time of one core.

Many: 5,000 traces in one file, and with --full 100,000 (2 million spans, a file of 5 GB that is written to the temporary
directory first, and some minutes). They are indexed; those that failed, and as many others, are loaded and read; `learn`'s own
draw, and its clusters of the failures, are made of them; no model is asked. A process of its own does it, and the most memory
that it takes is held against 1 GB.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks import desk
from benchmarks.measure import verdict
from textgrad_lg.run.failing import MOST, Intake, Seen, distinct, kinds
from textgrad_lg.run.production import Known
from textgrad_lg_tracing.readers import decode, files, read_traces
from textgrad_lg_tracing.readers.index import index
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Problems
from textgrad_lg_tracing.readers.read import read

SPANS, BATCH, ROUNDS = desk.SPANS, 512, 5
LIMIT = {"protobuf": 100_000, "JSON lines": 60_000}
"""Spans a second, at least."""
MEMORY = 1 << 30
"""Bytes of a process that learns from 100,000 traces, at most."""
FULL, SMALL, SOME = 100_000, 5_000, 500
"""Traces: of which is learnt, with --full and without, and of the files whose spans are counted by the second."""


def batches(traces: int) -> Iterator[dict[str, Any]]:
    """Export requests, each with as many spans as an SDK's batch has."""
    spans = itertools.chain.from_iterable(desk.spans(number) for number in range(traces))
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "desk"}}]}
    scope = {"name": "openinference.instrumentation.langchain"}
    while batch := list(itertools.islice(spans, BATCH)):
        yield {"resourceSpans": [{"resource": service, "scopeSpans": [{"scope": scope, "spans": batch}]}]}


def write_json(path: Path, traces: int) -> None:
    """The traces as lines of OTLP JSON."""
    with path.open("wb") as file:
        file.writelines(orjson.dumps(batch) + b"\n" for batch in batches(traces))


def write_proto(path: Path, traces: int) -> None:
    """The traces as protobuf messages with their length in four bytes before each, as a collector writes them."""
    from google.protobuf import json_format
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    with path.open("wb") as file:
        for batch in batches(traces):
            message = json_format.ParseDict(batch, TracesData())
            for span in message.resource_spans[0].scope_spans[0].spans:
                # The JSON mapping took the hexadecimal digits for base64.
                span.trace_id, span.span_id = _hex(span.trace_id), _hex(span.span_id)
                span.parent_span_id = _hex(span.parent_span_id)
            data = message.SerializeToString()
            file.write(len(data).to_bytes(4, "big") + data)


def _hex(taken: bytes) -> bytes:
    return bytes.fromhex(base64.b64encode(taken).decode())


def decoded(path: Path) -> int:
    """Make spans of a file, and keep none; how many there were."""
    limits = Limits()
    problems = Problems(limits, _refuse)
    return sum(
        len(decode.spans(record.form, record.data, files.place(path, record.form, record.number, limits, problems)))
        for record in files.records(path, limits, problems)
    )


def read_whole(path: Path) -> int:
    """Read whole traces of a file, and keep none; how many spans there were."""
    return sum(len(found.spans) for found in read(path, report=_refuse))


def _refuse(problem: str) -> None:
    raise AssertionError(problem)


def rate(run: Callable[[], int]) -> float:
    """Spans a second at best."""
    took: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        spans = run()
        took.append((time.process_time() - began) / spans)
    return 1 / min(took)


def lazy(path: Path) -> int:
    """Read what traces are chosen by, and make none; how many spans there were."""
    return SPANS * sum(1 for found in read_traces(path, report=_refuse) if found.whole)


def made(path: Path) -> int:
    """Make Traces of a file's spans, and keep none; how many spans there were."""
    return SPANS * sum(1 for found in read_traces(path, report=_refuse) if found.trace.outputs)


ROWS: dict[str, Callable[[Path], int]] = {"decode": decoded, "read": read_whole, "lazy": lazy, "Trace": made}


class Stage(NamedTuple):
    """A part of what is done with many traces: its name, its CPU seconds, what came of it, and the most memory so far."""

    name: str
    seconds: float
    came: str
    memory: int


def learnt(path: Path) -> list[Stage]:
    """What `learn` does with the traces of a file up to the clusters of the failures, in this process."""
    stages: list[Stage] = [Stage("start", 0.0, "", _memory())]
    began = time.process_time()

    def done(name: str, came: str) -> None:
        nonlocal began
        now = time.process_time()
        stages.append(Stage(name, now - began, came, _memory()))
        began = now

    found = index(path, report=_refuse)
    done("index", f"{len(found):,} traces")
    failed = [entry.id for entry in found if entry.error or (entry.score is not None and entry.score < 1)]
    others = [entry.id for entry in found if not entry.error]
    chosen = [*failed, *others[: len(failed)]]
    done("choose", f"{len(failed):,} failing, {len(chosen) - len(failed):,} others")
    intake = Intake(Known(), 1.0, MOST, 0)
    for one in read_traces(found.load(chosen), report=_refuse):
        intake.add(one)
    done("load", f"{intake.count:,} taken in")
    drawn = intake.drawn
    done("make", f"{len(drawn):,} drawn and made")
    seen, behind = distinct(
        Seen(one, example, (), failed=one.fails(1.0), by="error" if one.error else "") for one, example in drawn
    )
    groups, _ = kinds([one for one in seen if one.failed], behind, 0)
    done("cluster", f"{len(groups)} kinds of {sum(group.size for group in groups)} failures")
    return stages


def _memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Measure, and say whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="100,000 traces")
    traces = FULL if parser.parse_args().full else SMALL
    held = True
    with tempfile.TemporaryDirectory() as folder:
        some = {"protobuf": Path(folder, "some.pb"), "JSON lines": Path(folder, "some.jsonl")}
        write_proto(some["protobuf"], SOME)
        write_json(some["JSON lines"], SOME)
        for name, path in some.items():
            rates = {row: rate(lambda run=run, path=path: run(path)) for row, run in ROWS.items()}
            for row, found in rates.items():
                print(f"{name:10} {row:7}{found:10,.0f} spans a second")
            print(f"{name:10} limit  {LIMIT[name]:10,.0f} for Trace: {verdict(LIMIT[name], rates['Trace'])}")
            held &= rates["Trace"] >= LIMIT[name]
        many = Path(folder, "many.jsonl")
        write_json(many, traces)
        # In a process of its own, whose memory holds nothing else.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            stages = pool.submit(learnt, many).result()
    print(f"many       {traces:,} traces, {traces * SPANS:,} spans")
    for stage in stages:
        print(f"many       {stage.name:8}{stage.seconds:8.1f} s, {stage.memory / 2**20:6.0f} MB at most  {stage.came}")
    took, most = sum(stage.seconds for stage in stages), stages[-1].memory
    print(f"many       in all  {took:8.1f} s; limit {MEMORY / 2**20:.0f} MB: {verdict(most, MEMORY)}")
    return 0 if held and most <= MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
