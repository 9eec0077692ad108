"""What a run must be able to pay for before it begins, and what it keeps back for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg.errors import BudgetTooSmall
from textgrad_lg.types import Phase, Usage

if TYPE_CHECKING:
    from textgrad_lg.evals import Splits
    from textgrad_lg.run.budget import Ledger


def check_budget(ledger: Ledger, splits: Splits, batch: int, calls_a_run: int) -> None:
    """Refuse a budget that cannot pay for one evaluation: a minibatch, the validation set, and the test set twice.

    Raises:
        BudgetTooSmall: With the number of calls that would do.
    """
    runs = min(batch, len(splits.train)) + len(splits.validation) + 2 * len(splits.test)
    need, limit = runs * calls_a_run, ledger.budget.calls
    if limit is not None and limit < need:
        raise BudgetTooSmall(
            f"a budget of {limit} calls cannot pay for one evaluation: a minibatch, the validation set and the test set "
            f"twice are {runs} runs of {calls_a_run} calls; raise it to well above {need}, or use fewer examples"
        )


def hold_test(ledger: Ledger, splits: Splits, calls_a_run: int) -> None:
    """Keep back what the test set will cost, going by the calls made so far, so that the steps cannot spend it."""
    spent = ledger.spend.total
    calls = 2 * len(splits.test) * calls_a_run
    made = max(1, spent.calls)
    ledger.hold(
        Phase.TEST,
        Usage(calls, calls * spent.input_tokens // made, calls * spent.output_tokens // made, calls * spent.usd / made),
    )


def calls_a_run(ledger: Ledger, runs: int) -> int:
    """Model calls that one run of the graph makes, rounded up, going by the `runs` made so far."""
    return max(1, -(-ledger.spend.total.calls // max(1, runs)))
