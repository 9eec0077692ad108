"""Opening a run: its journal, its budget, and all that its rollouts need, whatever is to be done with them."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textgrad_lg.llm import model_name
from textgrad_lg.overlay import overlay
from textgrad_lg.record import static_models
from textgrad_lg.redact import redacting
from textgrad_lg.run.emit import Emitter, installed_callbacks
from textgrad_lg.run.home import home
from textgrad_lg.run.journal import Journal
from textgrad_lg.run.ledger import Ledger, check_price
from textgrad_lg.run.memos import Memos
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.own_model import OwnModel
from textgrad_lg.run.patience import Patience
from textgrad_lg.run.receipts import Receipts
from textgrad_lg.run.rollout import candidate_hash, spend_adapter
from textgrad_lg.run.rollouts import Rollouts
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.run.target import LocalGraph
from textgrad_lg.threads import carry_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals
    from textgrad_lg.events import Callback
    from textgrad_lg.example import Example
    from textgrad_lg.overlay import Texts
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.rollouts import Judge
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.target import Target
    from textgrad_lg.types import JSON


class Opened(NamedTuple):
    """A run that is open.

    Attributes:
        rollouts: Runs the graph, and holds the rest.
        folder: Where its journal is.
    """

    rollouts: Rollouts
    folder: Path


@contextmanager
def opened(
    target: Target,
    judge: Callable[[Journal], Judge],
    *,
    identity: Mapping[str, JSON],
    run_dir: str | Path | None,
    budget: Budget,
    prices: Prices,
    settings: Settings,
    critic: BaseChatModel | None,
    judges: Sequence[BaseChatModel | None],
    config: Mapping[str, Any] | None,
    callbacks: Sequence[Callback],
) -> Generator[Opened]:
    """Open a run, or go on with the one in `run_dir`; what earlier sessions of it spent counts against the budget.

    Args:
        target: What is run.
        judge: Gives what judges, for the run's journal.
        identity: What makes it the same run; see `identity_of`.
        run_dir: Where the journal is. None: a new folder under `.textgrad-lg/runs`.
        budget: The hard limit over everything.
        prices: What model calls cost.
        settings: Of the run.
        critic: Writes gradients and proposals; None for the model that the graph calls most.
        judges: A model for each evaluator that asks one; None for the critic.
        config: What each run of the graph needs.
        callbacks: Observers of the run's events, beside those that are installed.

    Raises:
        JournalError: `run_dir` is in use, damaged, or of a run with another identity.
        UnknownPrice: Money is limited, and a price is not known: of the critic, of a judge, or of a model that the graph's
            code holds. Nothing was spent.
    """
    if budget.usd is not None:
        held = static_models(target.graph) if isinstance(target, LocalGraph) else ()
        for model in (critic, *judges, *(model for _, model in held)):
            if model is not None:
                check_price(budget, prices, *model_name(model))
    run = uuid.uuid4().hex[:12]
    folder = Path(run_dir or home() / "runs" / run)
    with (
        Journal(folder, settings=identity) as journal,
        Schedule(settings.concurrency, settings.calls_in_flight, share=settings.replay) as schedule,
    ):
        run = str(journal.get("run", "id") or run)
        journal.put("run", "id", run)
        spent = journal.get("run", "spend")
        with journal.reading("run"):
            earlier = None if spent is None else spend_adapter().validate_python(spent)
        ledger = Ledger(budget, prices, spent=earlier)
        receipts = Receipts(journal, lambda: spend_adapter().dump_python(ledger.spend, mode="json"))
        rollouts = Rollouts(
            target,
            judge(journal),
            Metering(ledger, prices),
            journal,
            schedule,
            Emitter(run, (*callbacks, *installed_callbacks(callbacks)), time.time),
            run,
            config or {},
            OwnModel(journal, critic),
            Memos(receipts, settings),
            patience=Patience(settings.timeout),
        )
        # Open for the whole run: a node's thread that outlives a cancelled rollout must still be metered.
        context = carry_context() if settings.carry_context else nullcontext()
        with context, overlay({}, limits=schedule.limits), redacting(settings.redactor):
            yield Opened(rollouts, folder)


def identity_of(
    target: Target,
    start: Texts,
    evals: Evals,
    examples: Sequence[Example],
    *,
    only: Sequence[str] | None,
    settings: Settings,
) -> dict[str, JSON]:
    """What makes a run the same run: with another of these, what its journal holds would answer another question."""
    content = json.dumps(
        [[example.id, example.inputs, example.reference_outputs, example.metadata] for example in examples],
        sort_keys=True,
        default=str,
    )
    # How many calls go on at once decides nothing.
    how = {key: value for key, value in settings.to_json().items() if key not in {"concurrency", "calls_in_flight"}}
    return {
        **how,
        "graph": target.name,
        "texts at the start": candidate_hash(start),
        "examples": f"{len(examples)} with hash {hashlib.sha256(content.encode()).hexdigest()[:12]}",
        "evaluators": list(evals.names),
        "goal": evals.goal,
        "pass_at": evals.pass_at,
        "optimize_only": None if only is None else list(only),
        **({"deployed": target.state} if target.state else {}),
    }
