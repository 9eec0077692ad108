"""What a run must be able to pay for before it begins, and what it keeps back for its end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall
from textgrad_lg.types import Phase, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textgrad_lg.evals import Splits
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.metering import Metering
    from textgrad_lg.run.rollout import Rollout


@dataclass
class Reserve:
    """Checks that a Budget pays for one evaluation, and keeps back what the test set will cost.

    Attributes:
        splits: The examples.
        batch: Train examples a step.
        metering: What was spent.
        journal: Keeps what was measured for later sessions of the run: their spend says nothing about one run.
        run: What one run of the graph costs, once it was measured.
    """

    splits: Splits
    batch: int
    metering: Metering
    journal: Journal
    run: Usage = field(init=False)
    _tokens: int = field(init=False, default=0)

    def check(self, run: Usage) -> None:
        """Refuse a budget that cannot pay for one evaluation: a minibatch, the validation set, and the test set twice.

        Args:
            run: What one run of the graph costs.

        Raises:
            BudgetTooSmall: With what would do.
        """
        budget, splits = self.metering.ledger.budget, self.splits
        runs = min(self.batch, len(splits.train)) + len(splits.validation) + 2 * len(splits.test)
        for limit, each, form in (
            (budget.calls, run.calls, "{:,} calls"),
            (budget.tokens, run.input_tokens + run.output_tokens, "{:,} tokens"),
            (budget.usd, run.usd, "${:.4g}"),
        ):
            if limit is not None and limit < runs * each:
                raise BudgetTooSmall(
                    f"a budget of {form.format(limit)} cannot pay for one evaluation: a minibatch, the validation set "
                    f"and the test set twice are {runs} runs of {form.format(each)}; raise it to well above "
                    f"{form.format(runs * each)}, or use fewer examples"
                )

    def measure(self, runs: int) -> None:
        """Check again, and keep back the cost of the test set, going by what the first `runs` runs have cost.

        Raises:
            BudgetTooSmall: The budget cannot pay for one evaluation.
            BudgetExhausted: What is left of it cannot.
        """
        kept = self.journal.get("run", "cost")
        if kept is None:
            spent, runs = self.metering.ledger.spend.total, max(1, runs)
            tokens = (-(-spent.input_tokens // runs), -(-spent.output_tokens // runs))
            each = Usage(max(1, -(-spent.calls // runs)), *tokens, spent.usd / runs)
            self.journal.put("run", "cost", _usages_adapter().dump_python((each, self.metering.largest), mode="json"))
        else:
            each, self.metering.largest = _usages_adapter().validate_python(kept)
        self.check(each)
        self.run = each
        self._hold()

    def follow(self, rollouts: Iterable[Rollout]) -> None:
        """Keep more back where the runs have become longer, as they do when an edit makes a prompt longer.

        Args:
            rollouts: Of the validation set, with the texts that are in force now.
        """
        tokens = sum(_tokens(rollout) for rollout in rollouts)
        if tokens > self._tokens > 0:
            factor, run = tokens / self._tokens, self.run
            grown = (round(run.input_tokens * factor), round(run.output_tokens * factor), run.usd * factor)
            self.run = Usage(run.calls, *grown)
            # Where that much is not left, what is held already stands, and may yet do.
            with suppress(BudgetExhausted):
                self._hold()
        self._tokens = tokens

    def calls_left(self) -> int | None:
        """About how many model calls the Budget still pays for beside the test set; None where it limits none."""
        ledger, run = self.metering.ledger, self.run
        spent, runs, budget = ledger.spend.total, 2 * len(self.splits.test), ledger.budget
        calls = max(1, run.calls)
        shares = [
            (limit - used - runs * each) * calls / each
            for limit, used, each in (
                (budget.calls, spent.calls, run.calls),
                (budget.tokens, spent.input_tokens + spent.output_tokens, run.input_tokens + run.output_tokens),
                (budget.usd, spent.usd, run.usd),
            )
            if limit is not None and each
        ]
        return max(0, int(min(shares))) if shares else None

    def _hold(self) -> None:
        ledger, run, largest = self.metering.ledger, self.run, self.metering.largest
        # What an earlier session of the run has already spent on it is not kept back again.
        spent = ledger.spend.phases.get(Phase.TEST, Usage())
        runs = 2 * len(self.splits.test)
        calls = runs * run.calls - spent.calls
        if calls > 0:
            # A call is admitted at its worst case, so there must be room for one beyond what runs cost on average.
            tokens_in = max(0, runs * run.input_tokens - spent.input_tokens) + largest.input_tokens
            tokens_out = max(0, runs * run.output_tokens - spent.output_tokens) + largest.output_tokens
            usd = max(0.0, runs * run.usd - spent.usd) + largest.usd
            ledger.hold(Phase.TEST, Usage(calls, tokens_in, tokens_out, usd))


def _tokens(rollout: Rollout) -> int:
    spans = rollout.trace.spans if rollout.trace else ()
    found = [span.attributes.get(name) for span in spans for name in ("input_tokens", "output_tokens")]
    return sum(tokens for tokens in found if isinstance(tokens, int))


@cache
def _usages_adapter() -> TypeAdapter[tuple[Usage, Usage]]:
    # Of one run, and the worst case of its largest call.
    return TypeAdapter(tuple[Usage, Usage])
