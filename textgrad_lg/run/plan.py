"""Plan: what a run would look at and spend, before anything is spent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import UnknownPrice
from textgrad_lg.llm import model_name
from textgrad_lg.record import static_models
from textgrad_lg.run.budget import check_price
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
"""Tokens that the estimate takes a model call to send and receive, where nothing was measured."""
_CHARS_A_TOKEN = 3
"""As calls are admitted: it errs upwards for English."""
_FUSED = 8_000
"""Tokens of a run up to which the reverse pass asks about all of it at once; see `autograd.backward`."""
_REQUESTS = 2
"""Requests for proposals in a step at most, of the optimizers that come with the library."""
_UNKNOWN = "the model that the graph calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would look at and spend at most. Printing it gives a page for people.

    Attributes:
        parameters: The prompts found without running anything, by Site.
        sources: Where each of them is held.
        tools: Names of the tools found.
        examples: Examples for train, validation and test.
        used: Of these, the validation and test examples that would be run: fewer, where the budget does not pay for all.
        predicted: What would be spent by phase: rollouts and calls at most, if each prompt found is used once a run;
            tokens from the texts found, the examples' inputs and `TOKENS_OUT` a reply. Models whose price is not known
            are in `unpriced`.
        budget: The hard limit, which may end the run before all this is spent; None where none was given to the plan.
        warnings: What could not be reached, and what the estimate does not know.
    """

    parameters: Mapping[Site, Template]
    sources: Mapping[Site, str]
    tools: tuple[str, ...]
    examples: tuple[int, int, int]
    used: tuple[int, int]
    predicted: Spend
    budget: Budget | None = None
    warnings: tuple[str, ...] = ()

    @property
    def calls(self) -> dict[Phase, int]:
        """Model calls by phase, at most."""
        return {phase: usage.calls for phase, usage in self.predicted.phases.items()}

    @property
    def usd(self) -> float | None:
        """What all calls would cost in US dollars; None where a price is not known."""
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
        price = f"about ${self.usd:.2f}" if self.usd is not None else "no price known"
        lines.append(f"at most about {self.predicted.total.calls} model calls, {price}:")
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
        usd = None if model is None else self.prices.cost(*name, sent, received)
        if usd is None:
            self.unpriced.setdefault(_UNKNOWN if model is None else name[1] or "(a model without a name)")
        return Usage(1, sent, received, usd or 0.0)


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
    texts = _texts(found)
    examples = (*splits.train, *splits.validation, *splits.test)
    given = sum(_tokens(json.dumps(example.inputs, default=str)) for example in examples) // len(examples)
    own = models[0][1] if models else None
    at = dict(reversed(models))
    # What a call is sent: its texts, the example's inputs, and what an earlier call has replied.
    calls = [pricer.call(at.get(path, own or critic), text + given + TOKENS_OUT, TOKENS_OUT) for path, text in texts]
    run = replace(sum(calls, Usage()), rollouts=1)
    asked = critic or own
    judged = sum((pricer.call(judge or asked, given + 3 * TOKENS_OUT, TOKENS_OUT) for judge in judges), Usage())

    batch = min(settings.batch, len(splits.train))
    whole = Sizes(batch, len(splits.validation), len(splits.test), settings.repeats)
    sizes = whole if budget is None else whole.within(budget, run + judged)
    tried = settings.steps * batch * (1 + proposals)
    validated = sizes.validation * (1 + settings.steps * settings.validate) * settings.repeats
    tested = 2 * sizes.test * settings.repeats
    # Both end up with the instructions of the request, and what is shown of the failure.
    write = sum(text for _, text in texts) + TOKENS_IN + batch * TOKENS_OUT
    gradient = _gradient(settings.strategy, run, len(texts))
    phases = {
        Phase.ROLLOUT: _times(run, tried),
        Phase.JUDGE: _times(judged, tried + validated),
        Phase.GRADIENT: _times(_summed(pricer, asked, gradient), settings.steps * batch),
        Phase.PROPOSAL: _times(pricer.call(asked, write, proposals * TOKENS_OUT), settings.steps * _REQUESTS),
        Phase.VALIDATION: _times(run, validated),
        Phase.TEST: _times(run + judged, tested),
    }
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
        predicted=Spend({phase: used for phase, used in phases.items() if used.calls}, unpriced=tuple(pricer.unpriced)),
        budget=budget,
        warnings=tuple(warnings),
    )


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


def _gradient(strategy: Strategy, run: Usage, calls: int) -> list[int]:
    """The tokens sent by each request of the reverse pass over one run."""
    tokens = run.input_tokens + run.output_tokens
    if strategy is Strategy.STRUCTURAL:
        return []
    if strategy is Strategy.CHAIN or (strategy is Strategy.AUTO and tokens > _FUSED):
        return [tokens // calls + TOKENS_IN] * calls
    return [min(tokens, _FUSED) + TOKENS_IN]


def _summed(pricer: _Pricer, model: BaseChatModel | None, requests: Sequence[int]) -> Usage:
    return sum((pricer.call(model, sent, TOKENS_OUT) for sent in requests), Usage())


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


def _times(usage: Usage, times: int) -> Usage:
    return Usage(
        usage.calls * times,
        usage.input_tokens * times,
        usage.output_tokens * times,
        usage.usd * times,
        usage.rollouts * times,
    )


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARS_A_TOKEN)
