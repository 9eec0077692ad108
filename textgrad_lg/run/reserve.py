"""What a run must be able to pay for before it begins, and what it keeps back for its end."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall
from textgrad_lg.types import Phase, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg.evals import Splits
    from textgrad_lg.example import Example
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.metering import Metering
    from textgrad_lg.run.rollout import Rollout

LEAST = 30
"""Examples of the validation set, and of the test set, below which a Budget that is too small is refused, not made do with."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many examples of each set are run.

    Attributes:
        batch: Train examples a step.
        validation: Of the validation set.
        test: Of the test set.
        repeats: How often each validation and test example is run.
    """

    batch: int
    validation: int
    test: int
    repeats: int = 1

    @property
    def runs(self) -> int:
        """Runs of the graph for one evaluation: a minibatch, the validation set, and the test set twice."""
        return self.batch + (self.validation + 2 * self.test) * self.repeats

    def within(self, budget: Budget, run: Usage) -> Sizes:
        """Sizes that a Budget pays for: these, or smaller ones that leave it half for the steps, `LEAST` examples or more.

        Args:
            budget: The limits.
            run: What one run of the graph costs.
        """
        pays = min((limit / each for _, limit, each in _limits(budget, run) if each), default=float("inf"))
        if self.runs <= pays:
            return self
        share = max(0.0, pays / 2 - self.batch) / (self.runs - self.batch)
        every = self.validation, self.test
        fewest, some = ([min(own, max(LEAST, int(own * part))) for own in every] for part in (0.0, share))
        validation, test = some
        smaller = replace(self, validation=validation, test=test)
        # A set that is small as it is takes more than its share.
        return smaller if smaller.runs <= pays else replace(self, validation=fewest[0], test=fewest[1])


@dataclass
class Reserve:
    """Checks that a Budget pays for one evaluation, and keeps back what the test set will cost.

    Attributes:
        splits: The examples.
        batch: Train examples a step.
        metering: What was spent.
        journal: Keeps what was measured for later sessions of the run: their spend says nothing about one run.
        run: What one run of the graph costs, once it was measured.
        makes_do: Whether a Budget that does not pay for all validation and test examples is made do with: some of each
            are then left out, drawn with `seed`, as `splits` and `left_out` say once a run was measured.
        seed: All chance comes from it.
        repeats: How often each validation and test example is run.
        before: What was spent before the first run of the graph.
        left_out: What was left out, and why, in words; empty where nothing was.
    """

    splits: Splits
    batch: int
    metering: Metering
    journal: Journal
    makes_do: bool = False
    seed: int = 0
    repeats: int = 1
    before: Usage = field(default_factory=Usage)
    run: Usage = field(init=False)
    left_out: str = field(init=False, default="")
    _tokens: int = field(init=False, default=0)

    def check(self, run: Usage) -> None:
        """Refuse a budget that cannot pay for one evaluation: a minibatch, the validation set, and the test set twice.

        Args:
            run: What one run of the graph costs.

        Raises:
            BudgetTooSmall: With what would do.
        """
        budget, own = self.metering.ledger.budget, self.sizes
        sizes = own.within(budget, run) if self.makes_do else own
        for form, limit, each in _limits(budget, run):
            if limit < sizes.runs * each:
                what = "a minibatch, the validation set and the test set twice"
                if sizes != own:
                    what = (
                        f"a minibatch, {sizes.validation} of {own.validation} validation examples and {sizes.test} of "
                        f"{own.test} test examples twice"
                    )
                raise BudgetTooSmall(
                    f"a budget of {form.format(limit)} cannot pay for one evaluation: {what} are {sizes.runs} runs of "
                    f"{form.format(each)}; raise it to well above {form.format(sizes.runs * each)}, or use fewer examples"
                )

    def measure(self, runs: int) -> None:
        """Check again, and keep back the cost of the test set, going by what the first `runs` runs have cost.

        Where the budget is made do with, `splits` are smaller from here on.

        Raises:
            BudgetTooSmall: The budget cannot pay for one evaluation.
            BudgetExhausted: What is left of it cannot.
        """
        kept = self.journal.get("run", "cost")
        if kept is None:
            spend, runs = self.metering.ledger.spend, max(1, runs)
            # A judgement of the run as well, but for those of traces that were made elsewhere: they came before any run.
            spent = spend.total - self.before
            tokens = (-(-spent.input_tokens // runs), -(-spent.output_tokens // runs))
            each = Usage(max(1, -(-spent.calls // runs)), *tokens, spent.usd / runs, 1)
            self.journal.put("run", "cost", _usages_adapter().dump_python((each, self.metering.largest), mode="json"))
        else:
            each, self.metering.largest = _usages_adapter().validate_python(kept)
        each = replace(each, rollouts=1)  # journals of earlier releases do not count them
        self.check(each)
        if self.makes_do:
            self._leave_out(each)
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
            self.run = Usage(run.calls, *grown, 1)
            # Where that much is not left, what is held already stands, and may yet do.
            with suppress(BudgetExhausted):
                self._hold()
        self._tokens = tokens

    def calls_left(self) -> int | None:
        """About how many model calls the Budget still pays for beside the test set; None where it limits none."""
        ledger, run, runs = self.metering.ledger, self.run, self._tests
        calls = max(1, run.calls)
        spent = dict(zip(_FORMS, _amounts(ledger.spend.total), strict=True))
        shares = [
            (limit - spent[form] - runs * each) * calls / each
            for form, limit, each in _limits(ledger.budget, run)
            if each
        ]
        return max(0, int(min(shares))) if shares else None

    @property
    def sizes(self) -> Sizes:
        """How many examples of each set are run."""
        splits = self.splits
        batch = min(self.batch, len(splits.train))
        return Sizes(batch, len(splits.validation), len(splits.test), self.repeats)

    @property
    def _tests(self) -> int:
        """Runs of the graph on the test set, before and after."""
        return 2 * len(self.splits.test) * self.repeats

    def _leave_out(self, run: Usage) -> None:
        """Take smaller sets where the budget does not pay for all; the same in all sessions, whatever their budgets."""
        budget, own, journal = self.metering.ledger.budget, self.sizes, self.journal
        kept = journal.get("run", "sizes")
        if kept is None:
            smaller = own.within(budget, run)
            kept = [smaller.validation, smaller.test, str(budget)]
            journal.put("run", "sizes", [*kept])
        validation, test, why = _sizes_adapter().validate_python(kept)
        if (validation, test) == (own.validation, own.test):
            return
        self.splits = replace(
            self.splits,
            validation=_drawn(self.splits.validation, validation, f"{self.seed}/validation"),
            test=_drawn(self.splits.test, test, f"{self.seed}/test"),
        )
        enough = " or ".join(form.format(own.runs * each) for form, _, each in _limits(budget, run))
        self.left_out = (
            f"the budget of {why} does not pay for all examples: {validation} of {own.validation} validation and {test} "
            f"of {own.test} test examples were used, drawn by the seed. For all of them, begin a new run with a budget "
            f"well above {enough}"
        )

    def _hold(self) -> None:
        ledger, run, largest = self.metering.ledger, self.run, self.metering.largest
        # What an earlier session of the run has already spent on it is not kept back again.
        spent = ledger.spend.phases.get(Phase.TEST, Usage())
        runs = self._tests
        calls = runs * run.calls - spent.calls
        if calls > 0:
            # A call is admitted at its worst case, so there must be room for one beyond what runs cost on average.
            tokens_in = max(0, runs * run.input_tokens - spent.input_tokens) + largest.input_tokens
            tokens_out = max(0, runs * run.output_tokens - spent.output_tokens) + largest.output_tokens
            usd = max(0.0, runs * run.usd - spent.usd) + largest.usd
            rollouts = max(0, runs - spent.rollouts)
            ledger.hold(Phase.TEST, Usage(calls, tokens_in, tokens_out, usd, rollouts))


_FORMS: tuple[str, ...] = ("{:,} calls", "{:,} tokens", "${:.4g}", "{:,} rollouts")


def _amounts(usage: Usage) -> tuple[float, float, float, float]:
    """What is limited of a Usage, in the order of `_FORMS`."""
    return usage.calls, usage.input_tokens + usage.output_tokens, usage.usd, usage.rollouts


def _limits(budget: Budget, run: Usage) -> list[tuple[str, float, float]]:
    """The limits that a Budget has: how each is written, what it is, and what one run takes of it."""
    given = (budget.calls, budget.tokens, budget.usd, budget.rollouts)
    every = zip(_FORMS, given, _amounts(run), strict=True)
    return [(form, limit, each) for form, limit, each in every if limit is not None]


def _drawn(examples: Sequence[Example], count: int, seed: str) -> tuple[Example, ...]:
    """Some of the examples, in their order."""
    chance = random.Random(seed)  # noqa: S311  repeatable on purpose
    return tuple(examples[at] for at in sorted(chance.sample(range(len(examples)), count)))


def _tokens(rollout: Rollout) -> int:
    spans = rollout.trace.spans if rollout.trace else ()
    found = [span.attributes.get(name) for span in spans for name in ("input_tokens", "output_tokens")]
    return sum(tokens for tokens in found if isinstance(tokens, int))


@cache
def _sizes_adapter() -> TypeAdapter[tuple[int, int, str]]:
    # Of the validation and the test set, and the budget that they were chosen for.
    return TypeAdapter(tuple[int, int, str])


@cache
def _usages_adapter() -> TypeAdapter[tuple[Usage, Usage]]:
    # Of one run, and the worst case of its largest call.
    return TypeAdapter(tuple[Usage, Usage])
