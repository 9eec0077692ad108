"""Plan: what a run would look at and spend, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import UnknownPrice
from textgrad_lg.llm import model_name, output_limit
from textgrad_lg.record import static_models
from textgrad_lg.run.ledger import check_price
from textgrad_lg.run.reserve import Sizes
from textgrad_lg.run.spend import Spend
from textgrad_lg.run.target import LocalGraph
from textgrad_lg.types import Phase, Strategy, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals, Splits
    from textgrad_lg.prompt import Template
    from textgrad_lg.record import Discovery
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.target import Target
    from textgrad_lg.site import Site

TOKENS_IN, TOKENS_OUT = 600, 200
"""Tokens that the estimate takes a model call to send and receive, where nothing is known of it."""
_CHARS_A_TOKEN = 4
"""Of English. Calls are admitted at 3, which errs upwards."""
_SHORT = 15
"""Tokens of a reply at least: what nodes tell each other is often longer than the reference outputs."""
_INSTRUCTIONS, _FEEDBACK = 1_000, 100
"""Tokens of what a critic is told besides the run and the texts, its form included; and of one gradient. As measured."""
_JUDGED, _JUDGEMENT = 400, 60
"""The same of a judge."""
_WHY = 40
"""Tokens that a proposal has besides its text."""
_FUSED = 8_000
"""Tokens of a run up to which the reverse pass asks about all of it at once; see `autograd.backward`."""
_REQUESTS = 2
"""Requests for proposals in a step at most, of the optimizers that come with the library."""
_UNKNOWN = "the model that the graph calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would look at and spend. Printing it gives a page for people.

    How many calls a run makes shows only as it goes: it ends when nothing is left to be won, a candidate that cannot win is
    given up, and a replay spares calls. So their number is a bound. Tokens and dollars are an estimate of what that many
    calls cost.

    Attributes:
        parameters: The prompts found without running anything, by Site.
        sources: Where each of them is held.
        tools: Names of the tools found.
        examples: Examples for train, validation and test.
        used: Of these, the validation and test examples that would be run: fewer, where the budget does not pay for all.
        predicted: What would be spent by phase at most: every step is taken, every proposal is run and validated, and each
            prompt found is used once a run. Models whose price is not known are in `unpriced`.
        least: What is spent in any case: the graph as it is, run on a minibatch and on the validation set.
        reply: Tokens that a reply of the graph's models is taken to have: as many as the reference outputs, but not fewer
            than 15; 200 where there are none. A model's own limit, where it is lower, goes first.
        budget: The hard limit, which may end the run before all this is spent; None where none was given to the plan.
        warnings: What could not be reached, and what the estimate does not know.
    """

    parameters: Mapping[Site, Template]
    sources: Mapping[Site, str]
    tools: tuple[str, ...]
    examples: tuple[int, int, int]
    used: tuple[int, int]
    predicted: Spend
    least: Usage
    reply: int
    budget: Budget | None = None
    warnings: tuple[str, ...] = ()

    @property
    def calls(self) -> dict[Phase, int]:
        """Model calls by phase, at most."""
        return {phase: usage.calls for phase, usage in self.predicted.phases.items()}

    @property
    def usd(self) -> float | None:
        """What all calls would cost in US dollars at most; None where a price is not known."""
        return None if self.predicted.unpriced else self.predicted.total.usd

    def __str__(self) -> str:
        prompts = {site: template for site, template in self.parameters.items() if not is_description(site)}
        named = [str(site) for site in self.parameters if is_description(site)]
        lines = [f"{len(prompts)} prompts found without running anything:"]
        for site, template in prompts.items():
            first = template.text.strip().splitlines()[0] if template.text.strip() else ""
            lines.append(f"  {site}  {self.sources.get(site, '')}\n      {first[:90]}")
        lines.append(f"{len(self.tools)} tools: {', '.join(self.tools) or 'none'}")
        if named:
            lines.append(f"changed only if named in optimize_only: {', '.join(named)}")
        lines.append("examples: {} train, {} validation, {} test".format(*self.examples))
        if self.used != self.examples[1:]:
            lines.append(
                "the budget does not pay for all: {} validation and {} test examples would be run".format(*self.used)
            )
        least, most = self.least, self.predicted.total
        price = f"about ${least.usd:.2f} to ${self.usd:.2f}" if self.usd is not None else "no price known"
        lines.append(f"about {least.calls:,} to {most.calls:,} model calls, {price}:")
        lines.append("from the graph as it is on a minibatch and the validation set, to every step with every proposal")
        lines.append(f"at most, by phase, with replies of {self.reply} tokens:")
        lines += [f"  {line}" for line in self.predicted.table().splitlines()]
        lines += [f"the budget is {self.budget}; nothing is spent beyond it"] if self.budget is not None else []
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


@dataclass(slots=True)
class _Pricer:
    """Prices calls, and notes the models whose price is not known."""

    prices: Prices
    unpriced: dict[str, None]

    def call(self, model: BaseChatModel | None, sent: int, received: int) -> Usage:
        name = ("", "") if model is None else model_name(model)
        limit = None if model is None else output_limit(model)
        received = received if limit is None else min(received, limit)
        usd = None if model is None else self.prices.cost(*name, sent, received)
        if usd is None:
            self.unpriced.setdefault(_UNKNOWN if model is None else name[1] or "(a model without a name)")
        return Usage(1, sent, received, usd or 0.0)


@dataclass(frozen=True, slots=True)
class _Each:
    """What runs of the graph cost.

    Attributes:
        run: Their own calls.
        judging: Those of the evaluators that judge them.
        runs: How many they are.
    """

    run: Usage
    judging: Usage
    runs: int = 1

    @property
    def whole(self) -> Usage:
        return _times(self.run + self.judging, 1, self.runs)


def predict(
    target: Target,
    evals: Evals,
    splits: Splits,
    *,
    settings: Settings,
    only: Sequence[str] | None,
    proposals: int,
    critic: BaseChatModel | None,
    prices: Prices,
    budget: Budget,
) -> Plan:
    """The plan of a run; see `plan` and `optimize`."""
    return plan(
        target.discover((), only),
        settings,
        splits,
        proposals,
        prices=prices,
        critic=critic,
        models=static_models(target.graph) if isinstance(target, LocalGraph) else (),
        judges=evals.judges,
        budget=budget,
    )


def plan(
    found: Discovery,
    settings: Settings,
    splits: Splits,
    proposals: int,
    *,
    prices: Prices,
    critic: BaseChatModel | None = None,
    models: Sequence[tuple[tuple[str, ...], BaseChatModel]] = (),
    judges: Sequence[BaseChatModel | None] = (),
    budget: Budget | None = None,
) -> Plan:
    """What a run would look at and spend at most: every step proposes, every proposal is run, every edit is validated.

    Args:
        found: The Parameters and tools, found without running anything.
        settings: Of the run.
        splits: The examples.
        proposals: Proposals that the optimizer draws a step.
        prices: What calls cost.
        critic: Writes gradients and proposals; None for the model that the graph calls.
        models: The models found in the graph's code, each with the path of its node.
        judges: A model for each evaluator that asks one; None for the critic.
        budget: The hard limit.
    """
    pricer = _Pricer(prices, {})
    own = models[0][1] if models else None
    asked = critic or own
    given, reply = _typical(splits)
    at = dict(reversed(models))
    # What a call is sent: its texts, the example's inputs, and what an earlier call has replied, if there was one.
    calls = [
        pricer.call(at.get(path, own or critic), text + given + (reply if number else 0), reply)
        for number, (path, text) in enumerate(_texts(found))
    ]
    judging = [pricer.call(judge or asked, given + 2 * reply + _JUDGED, _JUDGEMENT) for judge in judges]
    each = _Each(replace(sum(calls, Usage()), rollouts=1), sum(judging, Usage()))
    whole = Sizes(min(settings.batch, len(splits.train)), len(splits.validation), len(splits.test), settings.repeats)
    sizes = whole if budget is None else whole.within(budget, each.whole)
    warnings = list(found.warnings)
    if found.tools:
        warnings.append(
            "an agent that calls tools makes a model call more for each turn, which the estimate does not know"
        )
    if budget is not None:
        warnings += _refused(budget, prices, [asked, *(model for _, model in models), *judges])
    return Plan(
        parameters=found.parameters,
        sources=found.sources,
        tools=tuple(dict.fromkeys(tool.name for tool in found.tools)),
        examples=(len(splits.train), len(splits.validation), len(splits.test)),
        used=(sizes.validation, sizes.test),
        predicted=_at_most(each, found, settings, sizes=sizes, proposals=proposals, pricer=pricer, critic=asked),
        least=_times(each.whole, sizes.batch + sizes.validation * sizes.repeats),
        reply=reply,
        budget=budget,
        warnings=tuple(warnings),
    )


def forecast(
    spent: Spend,
    runs: int,
    found: Discovery,
    settings: Settings,
    *,
    sizes: Sizes,
    proposals: int,
    prices: Prices,
    critic: BaseChatModel | None,
) -> Spend:
    """What a run will spend at most, by what the graph as it is has cost.

    Args:
        spent: By runs of the graph as it is, and by nothing else.
        runs: How many they were.
        found: The Parameters.
        settings: Of the run.
        sizes: How many examples are run.
        proposals: Proposals that the optimizer draws a step.
        prices: What calls cost.
        critic: Writes gradients and proposals; None where there is none.
    """
    phases = spent.phases
    run = phases.get(Phase.ROLLOUT, Usage()) + phases.get(Phase.VALIDATION, Usage())
    each = _Each(replace(run, rollouts=runs), phases.get(Phase.JUDGE, Usage()), runs)
    most = _at_most(
        each,
        found,
        settings,
        sizes=sizes,
        proposals=proposals,
        pricer=_Pricer(prices, dict.fromkeys(spent.unpriced)),
        critic=critic,
    )
    if critic is not None:
        return most
    # Nobody is there to be asked.
    asked = (Phase.GRADIENT, Phase.PROPOSAL)
    return Spend({phase: used for phase, used in most.phases.items() if phase not in asked}, unpriced=spent.unpriced)


def _at_most(
    each: _Each,
    found: Discovery,
    settings: Settings,
    *,
    sizes: Sizes,
    proposals: int,
    pricer: _Pricer,
    critic: BaseChatModel | None,
) -> Spend:
    """What a run spends by phase, if no step and no proposal is spared."""
    texts = _texts(found)
    tried = settings.steps * sizes.batch * (1 + proposals)
    validated = sizes.validation * (1 + settings.steps * settings.validate) * sizes.repeats
    tested = 2 * sizes.test * sizes.repeats
    length = sum(text for _, text in texts)
    write = length + _INSTRUCTIONS + sizes.batch * _FEEDBACK
    written = -(-proposals * (length // len(texts) + _WHY) // _REQUESTS)
    asked = [pricer.call(critic, sent, _FEEDBACK) for sent in _gradient(settings.strategy, each.whole, len(texts))]
    phases = {
        Phase.ROLLOUT: _times(each.run, tried, each.runs),
        Phase.JUDGE: _times(each.judging, tried + validated, each.runs),
        Phase.GRADIENT: _times(sum(asked, Usage()), settings.steps * sizes.batch),
        Phase.PROPOSAL: _times(pricer.call(critic, write, written), settings.steps * _REQUESTS),
        Phase.VALIDATION: _times(each.run, validated, each.runs),
        Phase.TEST: _times(each.run + each.judging, tested, each.runs),
    }
    return Spend({phase: used for phase, used in phases.items() if used.calls}, unpriced=tuple(pricer.unpriced))


def calls_a_run(found: Discovery) -> int:
    """Model calls of one run at most, if each prompt that was found is used once.

    A router takes one of several branches, so a run makes at most this many unless it loops.
    """
    return len(_texts(found))


def _texts(found: Discovery) -> list[tuple[tuple[str, ...], int]]:
    """The calls of a run: the path of each, and the tokens of its texts."""
    calls: dict[tuple[tuple[str, ...], str | None], int] = {}
    for site, template in found.parameters.items():
        if not is_description(site):
            place = (site.path, site.agent)
            calls[place] = calls.get(place, 0) + _tokens(template.text)
    return [(path, tokens) for (path, _), tokens in calls.items()] or [((), TOKENS_IN)]


def _typical(splits: Splits) -> tuple[int, int]:
    """The tokens of an example's inputs on average, and those that a reply is taken to have."""
    examples = (*splits.train, *splits.validation, *splits.test)
    given = sum(_size(example.inputs) for example in examples) // len(examples)
    wanted = [_size(example.reference_outputs) for example in examples if example.reference_outputs]
    return given, max(_SHORT, sum(wanted) // len(wanted)) if wanted else TOKENS_OUT


def _size(value: object) -> int:
    """The tokens of the texts in a value; names of fields are seldom sent to a model."""
    return _tokens("\n".join(_leaves(value)))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(cast("Mapping[str, object]", value).values())
    if isinstance(value, (list, tuple)):
        for each in cast("Sequence[object]", value):
            yield from _leaves(each)
    else:
        yield str(value)


def _gradient(strategy: Strategy, run: Usage, calls: int) -> list[int]:
    """The tokens sent by each request of the reverse pass over one run."""
    tokens = run.input_tokens + run.output_tokens
    if strategy is Strategy.STRUCTURAL:
        return []
    if strategy is Strategy.CHAIN or (strategy is Strategy.AUTO and tokens > _FUSED):
        return [tokens // calls + _INSTRUCTIONS] * calls
    return [min(tokens, _FUSED) + _INSTRUCTIONS]


def _refused(budget: Budget, prices: Prices, models: Sequence[BaseChatModel | None]) -> list[str]:
    """Why a run with this budget would be refused, of the models that are known."""
    refused: dict[str, None] = {}
    for model in models:
        try:
            if model is not None:
                check_price(budget, prices, *model_name(model))
        except UnknownPrice as error:
            refused.setdefault(str(error))
    return list(refused)


def _times(usage: Usage, times: int, runs: int = 1) -> Usage:
    """What so many runs cost, if `runs` of them cost `usage`."""
    return Usage(
        -(-usage.calls * times // runs),
        -(-usage.input_tokens * times // runs),
        -(-usage.output_tokens * times // runs),
        usage.usd * times / runs,
        -(-usage.rollouts * times // runs),
    )


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARS_A_TOKEN)
