"""How fast spans of files become spans and Traces here, and what an index of many traces takes.

    python -m benchmarks.ingest [--full]

Spans as OpenInference's LangChain instrumentation makes them, 20 a trace, about 2 kB each as JSON, in batches of 512, so that
most traces lie in two batches. Rows: `decode`, from a file's bytes to spans; `read`, to whole traces, for which a file is gone
through twice; `build`, to Traces of the library, which is what the limits are for. Each holds what the row before does, and is
the best of five, in CPU time of one core.

The index: the most memory that a process takes to index 5,000 traces, and with --full 100,000 (2 million spans, a file of 4 GB
that is written to the temporary directory first, and some minutes). The limit is 1 GB.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import verdict
from textgrad_lg_tracing.readers import decode, files
from textgrad_lg_tracing.readers.index import index
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Problems
from textgrad_lg_tracing.readers.read import read

SPANS, BATCH, ROUNDS = 20, 512, 5
LIMIT = {"protobuf": 100_000, "JSON lines": 60_000}
"""Spans a second, at least."""
MEMORY = 1 << 30
"""Bytes of a process that indexes 100,000 traces, at most."""
FULL, SMALL, SOME = 100_000, 5_000, 500
"""Traces: of the index, with --full and without, and of the files whose spans are counted by the second."""
NODES = ("plan", "research", "tools", "write", "check")
TEXT = "The customer asks for a refund of the order, which arrived late and was damaged on its way. " * 7


def trace(number: int) -> Iterator[dict[str, Any]]:
    """The spans of one trace, children first, as OTLP JSON has them."""
    trace_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    start = 1_790_000_000_000_000_000 + number * 1_000_000
    for at in reversed(range(SPANS)):
        node = NODES[at % len(NODES)]
        metadata = {
            "langgraph_step": at // 2,
            "langgraph_node": node,
            "langgraph_triggers": [f"branch:to:{node}"],
            "langgraph_path": ["__pregel_pull", node],
            "langgraph_checkpoint_ns": f"{node}:{trace_id[:8]}-{at:04}",
            "tenant": "acme",
        }
        texts = {
            "input.value": json.dumps({"question": f"{number} {TEXT[:560]}"}),
            "input.mime_type": "application/json",
            "output.value": json.dumps({"answer": f"{at} {TEXT[:560]}"}),
            "output.mime_type": "application/json",
            "metadata": json.dumps(metadata),
            "session.id": f"session-{number % 50}",
            "llm.model_name": "gpt-4o-mini",
            "openinference.span.kind": "LLM" if at % 2 else "CHAIN",
        }
        numbers = {"llm.token_count.prompt": 212, "llm.token_count.completion": 57}
        yield {
            "traceId": trace_id,
            "spanId": f"{number + 1:08x}{at + 1:08x}",
            "parentSpanId": f"{number + 1:08x}{(at - 1) // 2 + 1:08x}" if at else "",
            "name": node if at else "desk",
            "kind": 1,
            "startTimeUnixNano": str(start + at * 1_000),
            "endTimeUnixNano": str(start + at * 1_000 + 500_000),
            "attributes": [
                *({"key": key, "value": {"stringValue": text}} for key, text in texts.items()),
                *({"key": key, "value": {"intValue": str(count)}} for key, count in numbers.items()),
            ],
            "status": {"code": 2 if at == 0 and number % 10 == 0 else 1},
        }


def batches(traces: int) -> Iterator[dict[str, Any]]:
    """Export requests, each with as many spans as an SDK's batch has."""
    spans = itertools.chain.from_iterable(trace(number) for number in range(traces))
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


def built(path: Path) -> int:
    """Make Traces of a file's spans, and keep none; how many spans there were."""
    from textgrad_lg_tracing.readers.build import build

    spans = 0
    for found in read(path, report=_refuse):
        if build(found) is None:
            _refuse(f"no Trace of {found.id}")
        spans += len(found.spans)
    return spans


def indexed(path: Path) -> tuple[int, float, int]:
    """Index a file in this process: traces, CPU seconds, and the most memory that the process has had, in bytes."""
    began = time.process_time()
    found = index(path, report=_refuse)
    return len(found), time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


ROWS: dict[str, Callable[[Path], int]] = {"decode": decoded, "read": read_whole, "build": built}


def main() -> int:
    """Measure, and say whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="index 100,000 traces")
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
            print(f"{name:10} limit  {LIMIT[name]:10,.0f} for build: {verdict(LIMIT[name], rates['build'])}")
            held &= rates["build"] >= LIMIT[name]
        many = Path(folder, "many.jsonl")
        write_json(many, traces)
        # In a process of its own, whose memory holds nothing else.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            (base,) = pool.map(_memory, [0])
            count, took, most = pool.submit(indexed, many).result()
    held &= most <= MEMORY
    print(
        f"index      {count:,} traces, {count * SPANS:,} spans: {took:.1f} s, {count * SPANS / took:,.0f} spans a second"
    )
    print(
        f"index      {most / 2**20:.0f} MB at most, {base / 2**20:.0f} MB of it before; limit {MEMORY / 2**20:.0f} MB: {verdict(most, MEMORY)}"
    )
    return 0 if held else 1


def _memory(_: int) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
