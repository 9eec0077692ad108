"""OpenInference's spans below ours, in Phoenix: one trace of each Example, and read back as the runs that they are."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.backends.conftest import show
from tests.backends.nesting import openinference
from textgrad_lg.variable import without_ids
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import Completeness, read_traces

pytest.importorskip("openinference.instrumentation.langchain", reason="needs openinference-instrumentation-langchain")
pytestmark = [pytest.mark.loopback, pytest.mark.timeout(600)]

NODES = {"extract", "judge", "publish"}


@pytest.fixture(scope="module")
def nested(phoenix, tmp_path_factory):
    """A run without content, while OpenInference shows what the graph was given and made."""
    return show(phoenix, tmp_path_factory.mktemp("run"), beside=openinference)


def ours(span):
    return at.SCHEMA in span.attributes


def test_their_tree_is_below_our_forward_span_and_the_reverse_pass_beside_it(nested):
    by_id = {span.span: span for span in nested.spans}
    sent = {f"{span.context.span_id:016x}": span for span in nested.sent.spans}
    assert by_id.keys() == sent.keys()
    assert all(not span.parent or by_id[span.parent].trace == span.trace for span in nested.spans)
    roots = Counter(span.name for span in nested.spans if not span.parent)
    assert roots == {"textgrad example": len(nested.sent.traces), "textgrad step 1": 1, "textgrad run": 1}
    forwards = [span for span in nested.spans if span.name == "forward"]
    assert len(forwards) > len(nested.sent.traces)
    for forward in forwards:
        (theirs,) = [span for span in nested.spans if span.parent == forward.span and not ours(span)]
        assert theirs.name == "pages"
        tree = [span for span in nested.spans if span.parent == theirs.span]
        # A review that cannot be read ends the run in its first node.
        assert {span.name for span in tree} == ({"extract"} if theirs.failed else NODES)
        assert not any(map(ours, tree))
    for root in (span for span in nested.spans if span.name == "textgrad example"):
        assert {"forward", "backward"} <= {span.name for span in nested.spans if span.parent == root.span}
    # Nothing of theirs is below any other span of ours.
    above = {by_id[span.parent].name for span in nested.spans if not ours(span) and ours(by_id[span.parent])}
    assert above == {"forward"}


def test_each_rollout_reads_back_from_theirs_with_our_id_example_and_scores(nested):
    (found,) = nested.backend.forms(nested.sent.run).values()
    read = {it.id: it for it in read_traces(found, report=lambda _: None)}
    forwards = {span.attributes[at.TRACE]: span for span in nested.spans if span.name == "forward"}
    assert read.keys() == forwards.keys()
    for name, back in read.items():
        assert (back.trace.id, back.provenance.producer) == (name, "openinference")
        assert back.provenance.rollout[at.CANDIDATE] == forwards[name].attributes[at.CANDIDATE]
        assert "openinference put below them" in "".join(back.reasons)
        assert back.trace.example == forwards[name].attributes[at.EXAMPLE]
        assert back.session == nested.sent.run
        assert [score.key for score in back.feedback] == ["right_page"]
    for name, recorded in nested.sent.traces.items():
        back = read[name]
        # What failed at its first node has made no state; a failed one is known by its error all the same.
        failed = any(span.error for span in recorded.spans)
        assert (back.error is not None) is failed
        assert failed or back.completeness is Completeness.FULL
        verdicts = {span.id for span in recorded.spans if span.kind.value == "eval"}
        expected = [(it.id, it.kind, it.name, it.path) for it in recorded.spans if it.id not in verdicts]
        assert [(it.id, it.kind, it.name, it.path) for it in back.trace.spans] == expected
        replies = {v.id: v.value for v in recorded.variables if v.id.endswith(".out") and v.span not in verdicts}
        assert {v.id: without_ids(v.value) for v in back.trace.variables if v.id in replies} == {
            name: without_ids(value) for name, value in replies.items()
        }
