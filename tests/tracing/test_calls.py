"""The model calls that a run tells are those that its Spend counts, phase by phase."""

from __future__ import annotations

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.events import Committed, ModelsCalled
from textgrad_lg.optim import TGD
from textgrad_lg.types import Phase

from .support import by_name, memory


def test_every_call_is_told_once_and_the_proposers_are_drawn_in_their_step(tmp_path):
    callback, exporter = memory()
    heard = []

    def run():
        return optimize(
            worlds.three_nodes(worlds.review_model()),
            Evals(worlds.reviews(40), [worlds.right_page], goal="Publish the label of a review."),
            model=worlds.critic("I think this is", worlds.WANTED),
            optimizer=TGD(),
            registry=MemoryRegistry(),
            run_dir=tmp_path,
            callbacks=[callback, heard.append],
            settings=Settings(steps=2, batch=6, strategy=Strategy.CHAIN),
        )

    result = run()
    told = [call for event in heard if isinstance(event, ModelsCalled) for call in event.calls]
    counts = {phase: sum(call.phase is phase for call in told) for phase in Phase}
    spent = {phase: result.spend.phases[phase].calls if phase in result.spend.phases else 0 for phase in Phase}
    assert counts == spent
    assert counts[Phase.PROPOSAL] > 0
    assert all(call.start <= call.end for call in told)
    spans = exporter.get_finished_spans()
    propose = by_name(spans, "propose")
    asked = [span for span in spans if span.parent is not None and span.parent.span_id == propose.context.span_id]
    assert len(asked) == counts[Phase.PROPOSAL]
    committed = [event for event in heard if isinstance(event, Committed)]
    assert committed
    assert all(event.before == event.version - 1 for event in committed)
    # Gone on with, the run finds all in its journal, and no call is made.
    heard.clear()
    run()
    assert not [event for event in heard if isinstance(event, ModelsCalled)]
