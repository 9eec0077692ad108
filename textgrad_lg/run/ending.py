"""The end of a run: the test set is read, what holds is published, and the result is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import BudgetExhausted, GraphError, VersionConflict
from textgrad_lg.events import RolledBack
from textgrad_lg.run.deploy import PRODUCTION
from textgrad_lg.run.result import OptimizeResult
from textgrad_lg.run.rollout import candidate_hash, scores_by_id
from textgrad_lg.run.stats import Comparison, compare, tags_of
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.run.rollout import Candidate
    from textgrad_lg.run.session import Session


async def finish(session: Session, reason: str) -> OptimizeResult[Any]:
    """End a run that took its steps.

    Args:
        session: The run.
        reason: Why its steps ended.
    """
    test: Comparison | None = None
    validation: Comparison | None = None
    improved, published = False, dict[str, int]()
    if session.accepted == session.start:
        reason = f"{reason}; no edit passed the gates, so the test set was not read; graph unchanged"
    else:
        before, now = (session.pool.entries[number].scores for number in (0, session.pool.current))
        validation = compare(before, now, seed=session.settings.seed)
        try:
            with session.rollouts.held_out.reading(*map(candidate_hash, (session.start, session.accepted))):
                before = await _tested(session, session.start)
                after = await _tested(session, session.accepted)
        except BudgetExhausted as error:
            reason = f"{reason}; the test set could not be paid for ({error}); graph unchanged"
        else:
            test = compare(before, after, seed=session.settings.seed, tags=tags_of(session.splits.test))
            reason, improved, published = _publish(session, reason, test)
    rollouts = session.rollouts
    rollouts.keep_spend()

    def rolled_back(versions: Mapping[str, int | None]) -> None:
        try:
            rollouts.target.published(session.registry)
        except (VersionConflict, GraphError):
            # What is deployed still runs with the published texts, and the registry must not say otherwise.
            session.registry.move(PRODUCTION, published, expect=versions)
            raise
        rollouts.emit(RolledBack, label=PRODUCTION, versions=versions, before=published)

    return OptimizeResult(
        graph=rollouts.target.improved(session.registry),
        improved=improved,
        published=published,
        reason=reason,
        texts={site: to for site, to in session.accepted.items() if to != session.start.get(site)},
        start=session.start,
        parameters=session.parameters,
        validation=validation,
        test=test,
        decisions=tuple(session.decisions.made),
        chosen=session.chosen,
        front=session.pool.front(),
        candidates=tuple(entry.texts for entry in session.pool.entries),
        spend=rollouts.metering.ledger.spend,
        predicted=session.predicted,
        forecast=session.forecast,
        errors=dict(rollouts.errors),
        raised=dict(session.raised),
        unjudged=dict(session.unjudged),
        warnings=session.warnings.lines(),
        run=rollouts.run,
        run_dir=session.folder,
        seed=session.settings.seed,
        registry=session.registry,
        on_rollback=rolled_back,
    )


async def _tested(session: Session, candidate: Candidate) -> Mapping[str, float | None]:
    try:
        rollouts = await session.evaluate(session.splits.test, Phase.TEST, candidate)
    except BudgetExhausted:
        # Calls side by side each reserve their worst case. What was kept back holds one at a time; what was run is kept.
        rollouts = await session.evaluate(session.splits.test, Phase.TEST, candidate, one_by_one=True)
    return scores_by_id(rollouts)


def _publish(session: Session, reason: str, test: Comparison) -> tuple[str, bool, dict[str, int]]:
    """Publish where the test set says so; returns why or why not, whether it says so, and the versions now in force."""
    if test.difference is None or test.p_value is None:
        return f"{reason}; no example of the test set could be judged; graph unchanged", False, {}
    if test.difference <= 0 or test.p_value > session.settings.significance:
        return f"{reason}; no significant improvement; graph unchanged", False, {}
    target = session.rollouts.target
    try:
        target.check()
        versions = session.publication.publish()
        try:
            target.published(session.registry)
        except (VersionConflict, GraphError):
            session.registry.rollback(PRODUCTION, list(versions), expect=versions)
            raise
    except GraphError as error:
        lost = (
            f"{reason}; improved, but not published ({error}). Nothing is lost: the texts are in `result.texts`; to publish "
            f"them, call optimize again with run_dir={str(session.folder)!r}, which pays for nothing twice"
        )
        return lost, True, {}
    except VersionConflict as error:
        lost = (
            f"{reason}; improved, but not published, because another writer was faster ({error}). Nothing is lost: the "
            f"texts are in `result.texts`; to publish them over the other writer's, call optimize again with "
            f"run_dir={str(session.folder)!r}, which pays for nothing twice"
        )
        return lost, True, {}
    return f"{reason}; improved and published", True, versions
