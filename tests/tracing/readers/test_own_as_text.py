"""Our own spans out of a backend that keeps lists as JSON text, as Jaeger does, are the same rollout."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tracing.readers import desk
from tests.tracing.readers.support import build_one, edges, exported, live, values
from textgrad_lg.record import discover
from textgrad_lg_tracing.readers import read


def test_parameters_are_found_where_their_names_are_a_text_that_lists_them(tmp_path: Path):
    recorded = live()
    labelled = discover([recorded], desk.build()).label(recorded)
    (tmp_path / "spans.pb").write_bytes(exported(labelled))
    found = max(read(tmp_path / "spans.pb"), key=lambda trace: len(trace.spans))

    def as_text(span):
        told = {key: json.dumps(it) if isinstance(it, list) else it for key, it in span.attributes.items()}
        assert told != span.attributes or not any("param.names" in key for key in told)
        return span._replace(attributes=told)

    plain, texts = build_one(found), build_one(found._replace(spans=tuple(as_text(span) for span in found.spans)))
    assert plain is not None
    assert texts is not None
    assert [str(v.site) for v in texts.trace.parameters] == [str(v.site) for v in labelled.parameters]
    assert values(texts.trace) == values(plain.trace)
    assert edges(texts.trace) == edges(plain.trace)
