"""What a call costs, from the list in the installed release and from what the user says."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from textgrad_lg.errors import BudgetError
from textgrad_lg.run.prices import Price, Prices


def test_listed_models_have_a_price():
    price = Prices().of("openai", "gpt-4o-mini")
    assert price is not None
    assert (price.input, price.output) == pytest.approx((0.15, 0.6))
    assert Prices().cost("openai", "gpt-4o-mini", 2_000, 500) == pytest.approx(2_000 * 0.15e-6 + 500 * 0.6e-6)


@pytest.mark.parametrize("provider", ["anthropic", "", "google_genai", "azure", "amazon_bedrock", "mistralai"])
def test_langchains_names_of_providers_are_understood(provider):
    names = {
        "anthropic": "claude-sonnet-4-5",
        "": "gpt-4o-mini",
        "google_genai": "models/gemini-2.5-flash",
        "azure": "gpt-4o",
        "amazon_bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "mistralai": "mistral-large-latest",
    }
    price = Prices().of(provider, names[provider])
    assert price is not None
    assert 0 < price.input < price.output


def test_a_long_call_is_counted_at_its_dearer_tier():
    prices = Prices()
    short, long = (prices.cost("google", "gemini-2.5-pro", tokens, 0) for tokens in (200_000, 200_001))
    assert short is not None
    assert long is not None
    assert long > 1.9 * short
    price = prices.of("google", "gemini-2.5-pro")
    assert price is not None
    assert price.cost(200_000, 0) == pytest.approx(short)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "SmolLM2-135M-Instruct"),  # a local server speaks OpenAI's protocol
        ("", "SmolLM2-135M-Instruct"),
        ("ollama", "llama3"),
        ("openai", ""),
        ("", ""),
        ("github-copilot", "gpt-4.1"),  # listed, without any price
        ("azure", "ada"),  # listed, with a price for input alone
    ],
)
def test_what_is_not_known_is_none_and_not_free(provider, model):
    assert Prices().of(provider, model) is None
    assert Prices().cost(provider, model, 1000, 1000) is None


def test_the_users_price_goes_first_and_that_of_the_provider_before_it():
    prices = Prices({"gpt-4o-mini": Price(1, 2), "azure:gpt-4o-mini": Price(3, 4), "mine": Price(0, 0)})
    assert prices.of("openai", "gpt-4o-mini") == Price(1, 2)
    assert prices.of("azure", "gpt-4o-mini") == Price(3, 4)
    assert prices.cost("azure", "gpt-4o-mini", 1_000_000, 500_000) == pytest.approx(5.0)
    assert prices.cost("", "mine", 10**9, 10**9) == 0.0


def test_prices_are_not_changed_through_the_mapping_that_was_given():
    given = {"m": Price(1, 2)}
    prices = Prices(given)
    given.clear()
    assert prices.of("", "m") == Price(1, 2)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_a_price_is_a_finite_number_from_0_up(bad):
    for arguments in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(BudgetError, match="not a price"):
            Price(*arguments)


def test_looking_a_price_up_starts_nothing_in_the_background():
    before = threading.enumerate()
    Prices().of("openai", "gpt-5")
    assert threading.enumerate() == before


def test_a_model_that_is_not_listed_is_looked_up_once(monkeypatch: pytest.MonkeyPatch):
    import genai_prices

    asked: list[str] = []
    calc_price = genai_prices.calc_price

    def counting(usage: Any, model: str, **options: Any) -> Any:
        asked.append(model)
        return calc_price(usage, model, **options)

    monkeypatch.setattr(genai_prices, "calc_price", counting)
    prices = Prices()
    assert [prices.cost("openai", "SmolLM2-135M-Instruct", tokens, 1) for tokens in (1, 10, 300_000)] == [None] * 3
    assert asked == ["SmolLM2-135M-Instruct"]
    # Of one with tiers the length decides, so each call is looked up.
    assert prices.cost("google", "gemini-2.5-pro", 1, 0) != prices.cost("google", "gemini-2.5-pro", 300_000, 0)
    assert len(asked) == 4
