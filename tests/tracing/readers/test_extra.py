"""What parses spans is an extra: it is imported when something is read, and where it is missing that is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import ingest
from tests.tracing.readers.support import DATA, FILES
from textgrad_lg.errors import TextgradError
from textgrad_lg_tracing.readers import read_traces
from textgrad_lg_tracing.readers.dialects import told

CHECK = """
import sys
import langgraph.graph
before = set(sys.modules)
for name in ("pyarrow", "google", "google.protobuf", "opentelemetry.proto", "sklearn"):
    assert name not in sys.modules, name
import textgrad_lg_tracing.readers
print(sorted(name for name in set(sys.modules) - before
             if name.partition(".")[0] in ("orjson", "pyarrow", "google", "sklearn") or "opentelemetry.proto" in name))
"""


def test_importing_the_readers_loads_none_of_their_parsers():
    # LangGraph itself brings orjson along; nothing of ours does.
    told = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "name", "what"),
    [
        ("orjson", "a.jsonl", "reading JSON needs orjson"),
        ("opentelemetry.proto.trace.v1.trace_pb2", "a.pb", "reading protobuf needs opentelemetry.proto"),
        ("pyarrow", "a.parquet", "reading Parquet needs pyarrow"),
    ],
)
def test_a_missing_parser_is_named_with_its_cure(module, name, what, tmp_path, monkeypatch):
    path = tmp_path / name
    if name.endswith(".parquet"):
        path.write_bytes(b"PAR1 and so on")
    elif name.endswith(".pb"):
        ingest.write_proto(path, 1)
    else:
        ingest.write_json(path, 1)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TextgradError) as error:
        list(read_traces(path))
    assert what in str(error.value)
    assert 'pip install "textgrad-lg[readers]"' in str(error.value)


def test_what_a_client_has_returned_is_read_without_the_extra(monkeypatch):
    import json

    runs = json.loads((DATA / FILES["langsmith"]).read_text("utf-8"))
    expected = [found.trace for found in read_traces(runs)]
    monkeypatch.setitem(sys.modules, "orjson", None)
    told._fast.cache_clear()
    try:
        assert [found.trace for found in read_traces(runs)] == expected
        assert told.parsed('{"a": 1}') == {"a": 1}
    finally:
        told._fast.cache_clear()


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": "\\ud800"}', "[" * 2_000, '{"a": 1', '"quoted"', "plain", ""])
def test_the_fast_parser_gives_what_pythons_own_gives(text, monkeypatch):
    fast = repr(told.parsed(text))
    monkeypatch.setattr(told, "_fast", lambda: None)
    assert repr(told.parsed(text)) == fast
    assert told.parsed(told.Coded("12")) == "12"
