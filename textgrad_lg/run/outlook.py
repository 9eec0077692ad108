"""Outlook: what a run decides and predicts once the graph as it is was run: its optimizer, and what it will spend.

Both are kept in the journal, because a later session of the run has spent more by then, or has another budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.events import Forecast, OptimizerChosen
from textgrad_lg.optim import choose
from textgrad_lg.run.plan import forecast
from textgrad_lg.run.rollout import failing, spend_adapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.run.rollout import Rollout
    from textgrad_lg.run.session import Session
    from textgrad_lg.types import JSON


def choose_optimizer(session: Session, rollouts: Sequence[Rollout]) -> None:
    """Choose an optimizer by the headroom and the budget, where none was given; once in all sessions of a run.

    Args:
        session: The run.
        rollouts: Of the graph as it is.
    """
    if session.optimizer is not None:
        return
    journal, own = session.rollouts.journal, session.rollouts.own_model
    known = journal.get("run", "headroom")
    if known is None:
        judged = [rollout for rollout in rollouts if rollout.score is not None]
        known = cast("dict[str, JSON]", {}) | {
            "failing": len(failing(judged, session.evals.pass_at)) / len(judged),
            "parameters": max(1, len(session.discovery.trainable)),
            "critic": own.model is not None or own.wanted is not None,
            "calls": session.reserve.calls_left(),
            "batch": min(session.settings.batch, len(session.splits.train)),
            "calls_a_run": session.reserve.run.calls,
        }
        journal.put("run", "headroom", known)
    choice = choose(**cast("dict[str, Any]", known))
    session.optimizer, session.chosen = choice.optimizer, choice.reason
    session.rollouts.emit(OptimizerChosen, optimizer=type(choice.optimizer).__name__, reason=choice.reason)


def predict_again(session: Session, runs: int) -> None:
    """Predict by what so many `runs` of the graph as it is have cost; once in all sessions of a run."""
    rollouts, adapter = session.rollouts, spend_adapter()
    kept = rollouts.journal.get("run", "forecast")
    if kept is None:
        assert session.optimizer is not None
        metering = rollouts.metering
        found = forecast(
            metering.ledger.spend,
            runs,
            session.discovery,
            session.settings,
            sizes=session.reserve.sizes,
            proposals=session.optimizer.proposals,
            prices=metering.prices,
            critic=rollouts.own_model.model,
        )
        kept = adapter.dump_python(found, mode="json")
        rollouts.journal.put("run", "forecast", kept)
    session.forecast = adapter.validate_python(kept)
    rollouts.emit(Forecast, phases=session.forecast.phases)
