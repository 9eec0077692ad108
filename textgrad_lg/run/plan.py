"""Plan: what a run would look at and spend, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.prompt import Template
    from textgrad_lg.record import Discovery
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.site import Site

TOKENS_IN, TOKENS_OUT = 600, 200
"""Tokens that the estimate takes a model call to send and receive, where nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would look at and spend at most. Printing it gives a page for people.

    Attributes:
        parameters: The prompts found without running anything, by Site.
        sources: Where each of them is held.
        tools: Names of the tools found.
        examples: Examples for train, validation and test.
        calls: Model calls by phase, at most, if each prompt found is used once a run.
        usd: Their price at `TOKENS_IN` and `TOKENS_OUT` a call; None where no price is known.
        warnings: What could not be reached, and what the estimate does not know.
    """

    parameters: Mapping[Site, Template]
    sources: Mapping[Site, str]
    tools: tuple[str, ...]
    examples: tuple[int, int, int]
    calls: Mapping[Phase, int]
    usd: float | None
    warnings: tuple[str, ...] = ()

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
        price = f"about ${self.usd:.2f}" if self.usd is not None else "no price known"
        lines.append(f"at most about {sum(self.calls.values())} model calls, {price}:")
        lines += [f"  {phase.value}: {calls}" for phase, calls in self.calls.items()]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def plan(
    found: Discovery, settings: Settings, examples: tuple[int, int, int], proposals: int, price: Price | None
) -> Plan:
    """What a run would look at and spend at most: every step proposes, every proposal is run, every edit is validated.

    Args:
        found: The Parameters and tools, found without running anything.
        settings: Of the run.
        examples: Examples for train, validation and test.
        proposals: Proposals that the optimizer draws a step.
        price: Of the model, or None where it is not known.
    """
    each = calls_a_run(found)
    train, validation, test = examples
    batch = min(settings.batch, train)
    calls = {
        Phase.ROLLOUT: settings.steps * batch * (1 + proposals) * each,
        Phase.GRADIENT: settings.steps * batch * each,
        Phase.PROPOSAL: settings.steps * 2,
        Phase.VALIDATION: validation * (1 + settings.steps * settings.validate) * each,
        Phase.TEST: 2 * test * each,
    }
    usd = price and sum(calls.values()) * (TOKENS_IN * price.input + TOKENS_OUT * price.output) / 1_000_000
    return Plan(
        parameters=found.parameters,
        sources=found.sources,
        tools=tuple(dict.fromkeys(tool.name for tool in found.tools)),
        examples=examples,
        calls=calls,
        usd=usd,
        warnings=found.warnings,
    )


def calls_a_run(found: Discovery) -> int:
    """Model calls of one run at most, if each prompt that was found is used once.

    A router takes one of several branches, so a run makes at most this many unless it loops.
    """
    return max(1, len({(site.path, site.agent) for site in found.parameters if not is_description(site)}))
