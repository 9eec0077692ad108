"""What a model call costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from textgrad_lg.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genai_prices.types import PriceCalculation

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model, in US dollars per million tokens. `Price(0, 0)` is a model that costs nothing.

    Attributes:
        input: For tokens sent.
        output: For tokens received.

    Raises:
        BudgetError: One of them is negative or not a finite number.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        for value in (self.input, self.output):
            if not (math.isfinite(value) and value >= 0):
                raise BudgetError(f"{self} is not a price; give US dollars per million tokens, 0 or more")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """The price of one call in US dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION


class Prices:
    """The prices of models: those given here, else the list that the installed `genai-prices` release carries.

    Nothing is fetched from the network. Discounts that a provider gives for cached input or for batches are not known
    before a call, so they are left out, and a price errs upwards.

    Args:
        overrides: Prices by model name ("my-model") or by provider and model name ("openai:my-model", which goes first).
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self.overrides: Mapping[str, Price] = MappingProxyType(dict(overrides or {}))
        # What `_flat` says, by provider and model name.
        self._flat: dict[tuple[str, str], tuple[Decimal, Decimal] | bool] = {}

    def of(self, provider: str, model: str) -> Price | None:
        """The price of a model's short calls, or None where it is not known.

        Args:
            provider: LangChain's `ls_provider`; empty where it is not known.
            model: The model's name.
        """
        price = self._override(provider, model)
        if price is not None:
            return price
        # One token each way stays below every tier that starts at a length.
        sent, received = _listed(provider, model, 1, 0), _listed(provider, model, 0, 1)
        return None if sent is None or received is None else Price(sent * _MILLION, received * _MILLION)

    def cost(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """The price of one call in US dollars, or None where it is not known. Dearer tiers of long calls are counted."""
        price = self._override(provider, model)
        if price is not None:
            return price.cost(input_tokens, output_tokens)
        # Looking a model up takes half as long as the library may take for a whole call, and this is asked for each.
        name = provider, model
        if name not in self._flat:
            self._flat[name] = _flat(provider, model)
        flat = self._flat[name]
        if isinstance(flat, bool):
            return _listed(provider, model, input_tokens, output_tokens) if flat else None
        return float((input_tokens * flat[0] + output_tokens * flat[1]) / _MILLION)

    def _override(self, provider: str, model: str) -> Price | None:
        return self.overrides.get(f"{provider}:{model}", self.overrides.get(model))


def _flat(provider: str, model: str) -> tuple[Decimal, Decimal] | bool:
    """What a model's tokens cost in US dollars a million, sent and received.

    True where that is not all there is to it, and each call has to be looked up; False where the model is not listed.
    """
    listed = _looked_up(provider, model, 0, 0)
    if listed is None:
        return False
    price = listed.model_price
    # Prices by length are tiers, prices by the hour or date are a list, and some models cost something for each request.
    flat = isinstance(price.input_mtok, Decimal) and isinstance(price.output_mtok, Decimal)
    if not flat or isinstance(listed.model.prices, list) or listed.total_price:
        return True
    return cast("Decimal", price.input_mtok), cast("Decimal", price.output_mtok)


def _listed(provider: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
    found = _looked_up(provider, model, input_tokens, output_tokens)
    # Some models are listed without a price, or without one for tokens; that is not the same as free of charge.
    if found is None or found.model_price.input_mtok is None or found.model_price.output_mtok is None:
        return None
    return float(found.total_price)


def _looked_up(provider: str, model: str, input_tokens: int, output_tokens: int) -> PriceCalculation | None:
    """What the list says of a call; None where the model is not in it."""
    if not model:
        return None
    # Imported here: it costs a third of a second, and only runs that call a model need it.
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        return calc_price(usage, model.removeprefix("models/"), provider_id=provider or None)
    except LookupError:
        return None
