"""Names that every layer uses: plain JSON values and the closed sets of words of the library."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

JSON = JsonValue
"""A value that JSON can hold."""


class SpanKind(StrEnum):
    """What a Span recorded."""

    GRAPH = "graph"
    NODE = "node"
    LLM = "llm"
    TOOL = "tool"
    RETRIEVER = "retriever"
    FUNCTION = "function"
    EVAL = "eval"


class Phase(StrEnum):
    """What a model call was made for; Spend is split by it."""

    ROLLOUT = "rollout"
    JUDGE = "judge"
    GRADIENT = "gradient"
    PROPOSAL = "proposal"
    VALIDATION = "validation"
    TEST = "test"


class Strategy(StrEnum):
    """How the reverse pass makes its gradients."""

    CHAIN = "chain"
    """One model call a span, from the output back to the Parameters."""
    FUSED = "fused"
    """One model call for the whole pruned Trace."""
    STRUCTURAL = "structural"
    """No model call: the evaluator's comment travels along confirmed edges."""
    AUTO = "auto"
    """`FUSED` while the Trace fits its token cap, else `CHAIN`; `STRUCTURAL` where there is no model."""


class Tools(StrEnum):
    """What becomes of tool calls in a replay."""

    RUN = "run"
    """They run, each time, and nothing is remembered of them."""
    RECORD = "record"
    """Those that are remembered are answered from memory; the others run, and are remembered."""
    REPLAY = "replay"
    """Those that are remembered are answered from memory; the others are refused, unless the tool is marked pure."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more model calls used.

    Attributes:
        calls: Model calls, retries included.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
        usd: Their price in US dollars; 0 for a model that costs nothing.
        rollouts: Runs of the graph that were begun, in which the calls were made.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    rollouts: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
            self.rollouts + other.rollouts,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.calls - other.calls,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
            self.usd - other.usd,
            self.rollouts - other.rollouts,
        )


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call that is about to leave the process.

    Attributes:
        provider: LangChain's `ls_provider`, as in "openai"; empty where the model does not say.
        model: The model's name, as in "gpt-4o-mini"; empty where the model does not say.
        input_tokens: Estimated from the text sent, at 3 characters a token, which errs upwards for English.
        max_output_tokens: The limit that the call carries, or None where it carries none.
    """

    provider: str
    model: str
    input_tokens: int
    max_output_tokens: int | None


class Ticket(Protocol):
    """The admission of one model call. `settle` is called exactly once, when the call has ended."""

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Report what the call really used; None where the model did not say (the estimate then stands)."""
        ...


class Meter(Protocol):
    """Admits model calls against a limit. Both methods may be called from any thread."""

    def admit(self, call: ModelCall) -> Ticket:
        """Reserve the worst case of `call`.

        Raises:
            BudgetExhausted: The call could go over the limit; it must not be made.
        """
        ...


@runtime_checkable
class Withdrawable(Ticket, Protocol):
    """The admission of a call that may yet turn out not to be made, as where a whole run is admitted in advance."""

    def withdraw(self) -> None:
        """Give back what was reserved: the call was not made, or is counted otherwise. Does nothing once it is settled."""
        ...


@runtime_checkable
class Lendable(Ticket, Protocol):
    """The admission of a stream, which goes on only as its reader wants: nobody may wait for its end meanwhile."""

    def lend(self) -> None:
        """It is in its reader's hands."""
        ...

    def take_back(self) -> None:
        """It is read on."""
        ...


class Asked(Protocol):
    """The wish to have calls admitted. Its turn is kept from the first `take` on, until it has come or `leave` is called."""

    def take(self) -> Sequence[Ticket] | Future[None]:
        """The tickets; or a Future, where there may be room once others have ended: when it is done, call this again.

        Raises:
            BudgetExhausted: There is no room, and there will be none once others have ended.
        """
        ...

    def leave(self) -> None:
        """Nobody wants the calls to be made any longer, or they are admitted."""
        ...


@runtime_checkable
class Waits(Meter, Protocol):
    """A Meter that admits a call as soon as there is room for it, instead of refusing it beside the calls under way."""

    def ask(self, calls: Sequence[ModelCall]) -> Asked:
        """Ask for the admission of calls that leave together, all of them or none. Nothing is reserved by it."""
        ...


@runtime_checkable
class Counter(Protocol):
    """A Meter that can be told afterwards of a call that was made elsewhere."""

    def count(self, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count a call that was made, within the limit or not; it cannot be refused any more."""
        ...
