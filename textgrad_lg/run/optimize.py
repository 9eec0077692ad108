"""`optimize`: from a graph and its evals to a better graph, and the proof.

train minibatch -> forward -> evaluate -> backward -> propose -> minibatch gate -> validation gate -> commit -> ...
-> test set, read once -> publish
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

from textgrad_lg.evals import Evals, split
from textgrad_lg.llm import model_name, resolve_model
from textgrad_lg.optim import TGD
from textgrad_lg.overlay import overlay
from textgrad_lg.run.budget import Budget, Ledger
from textgrad_lg.run.deploy import default_registry
from textgrad_lg.run.emit import Emitter, installed_callbacks
from textgrad_lg.run.home import home
from textgrad_lg.run.journal import Journal
from textgrad_lg.run.memos import Memos
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.own_model import OwnModel
from textgrad_lg.run.plan import Plan, plan
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.rollout import SPEND, Rollouts, candidate_hash
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.run.session import Session
from textgrad_lg.run.settings import Settings
from textgrad_lg.run.sync import run_sync
from textgrad_lg.run.target import as_target
from textgrad_lg.threads import carry_context

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.events import Callback
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.types import JSON

G = TypeVar("G")


class Options(TypedDict, total=False):
    """What `optimize` and `aoptimize` take besides the graph and its evals; the docstring of `optimize` says what it means."""

    model: str | BaseChatModel | None
    budget: Budget | str | None
    optimize_only: Sequence[str] | None
    optimizer: Optimizer | None
    config: Mapping[str, Any] | None
    registry: PromptRegistry | None
    run_dir: str | Path | None
    prices: Mapping[str, Price] | None
    callbacks: Sequence[Callback]
    settings: Settings | None


@overload
async def aoptimize(graph: object, evals: Any, *, dry_run: Literal[True], **options: Unpack[Options]) -> Plan: ...


@overload
async def aoptimize(
    graph: G, evals: Any, *, dry_run: Literal[False] = False, **options: Unpack[Options]
) -> OptimizeResult[G]: ...


async def aoptimize(
    graph: Any, evals: Any, *, dry_run: bool = False, **options: Unpack[Options]
) -> OptimizeResult[Any] | Plan:
    """Make a graph's prompts better, and prove it. See `optimize`, which takes the same arguments."""
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"optimize() has no option {unknown[0]!r}; it has {', '.join(Options.__annotations__)} and dry_run"
        )
    target, start = as_target(graph)
    settings = options.get("settings") or Settings()
    evals = Evals.of(evals)
    splits = split(evals.examples, seed=settings.seed, fractions=settings.fractions)
    critic = resolve_model(options.get("model"))
    optimizer = options.get("optimizer") or TGD()
    only = options.get("optimize_only")
    sizes = (len(splits.train), len(splits.validation), len(splits.test))
    price_list = Prices(options.get("prices") or {})
    if dry_run:
        found = target.discover((), only)
        price = price_list.of(*model_name(critic)) if critic is not None else None
        return plan(found, settings, sizes, optimizer.proposals, price)

    limits = Budget.parse(options.get("budget"))
    registry = options.get("registry")
    run = uuid.uuid4().hex[:12]
    folder = Path(options.get("run_dir") or home() / "runs" / run)
    name = target.name
    identity = _identity(name=name, start=start, evals=evals, only=only, optimizer=optimizer, settings=settings)
    identity |= {"deployed": target.state} if target.state else {}
    with (
        Journal(folder, settings=identity) as journal,
        Schedule(settings.concurrency) as schedule,
    ):
        run = str(journal.get("run", "id") or run)
        journal.put("run", "id", run)
        spent = journal.get("run", "spend")
        ledger = Ledger(limits, price_list, spent=None if spent is None else SPEND.validate_python(spent))
        emit = Emitter(run, (*options.get("callbacks", ()), *installed_callbacks()), time.time)
        rollouts = Rollouts(
            target,
            evals,
            Metering(ledger, price_list),
            journal,
            schedule,
            emit,
            run,
            options.get("config") or {},
            OwnModel(journal, critic),
            Memos(journal, settings),
        )
        session = Session(
            start=start,
            name=name,
            evals=evals,
            splits=splits,
            settings=settings,
            optimizer=optimizer,
            only=only,
            registry=registry if registry is not None else default_registry(),
            rollouts=rollouts,
            folder=folder,
        )
        # Open for the whole run: a node's thread that outlives a cancelled rollout must still be metered.
        with carry_context() if settings.carry_context else nullcontext(), overlay({}):
            return await session.run()


@overload
def optimize(graph: object, evals: Any, *, dry_run: Literal[True], **options: Unpack[Options]) -> Plan: ...


@overload
def optimize(
    graph: G, evals: Any, *, dry_run: Literal[False] = False, **options: Unpack[Options]
) -> OptimizeResult[G]: ...


def optimize(graph: Any, evals: Any, **options: Any) -> OptimizeResult[Any] | Plan:
    """Make a graph's prompts better, and prove it.

    The graph is run as it is, not one line of it changed, and the object given is not touched. Accepted texts are
    written to a prompt registry; `result.graph` is a graph of the same class that runs with them.

    Args:
        graph: A compiled LangGraph graph: what `.compile()` or `create_agent()` returned. Or one that is deployed:
            `textgrad_lg_integrations.langgraph_server.Assistant`.
        evals: `Evals(data, evaluators)`, or the pair `(data, evaluators)`.
        **options: All optional.
            model: Writes gradients and proposals, and judges where an evaluator asks for a model. A chat model, or a
                name that `init_chat_model` knows, as in "openai:gpt-4o-mini". Default: the model that the graph calls
                most, as seen in the recording.
            budget: The hard limit over everything: `Budget(usd=, calls=, tokens=, seconds=)`, or "$2", or "500 calls".
                Default: 1,000 model calls.
            optimize_only: The Parameters that may change: printed Sites, node names, or patterns such as "desk/*".
                Default: all prompts that are found. Descriptions of tools and output schemas change only if they are
                named: "tools:*", "tools:search", "schemas:Answer/args/label".
            optimizer: Turns gradients into proposals. Default: `TGD()`.
            config: What each run of the graph needs, in the shape of a `RunnableConfig`; its key "context" goes to the
                graph's runtime context. Each run gets a thread id of its own where the graph has a checkpointer.
            registry: Where accepted texts go. Default: SQLite in `.textgrad-lg`.
            run_dir: Where the run's journal is. Given again after a stop, nothing in it is paid for twice. Default: a
                new folder under `.textgrad-lg/runs`.
            prices: `Price(input, output)` in US dollars per million tokens by model name, where the built-in list does
                not know the model or is wrong.
            callbacks: Observers of the run's events.
            settings: Steps, batch, gates, strategy, seed: see `Settings`.
            dry_run: Return a `Plan` instead: what was found and what a run would cost at most. Calls no model.

    Returns:
        An `OptimizeResult`, or a `Plan` where `dry_run` was set.

    Raises:
        GraphError: `graph` is not a compiled graph, or is deployed and cannot be reached.
        DataError: The examples cannot be used: none, duplicate ids, a split without examples.
        NoPromptFound: The graph's runs showed no prompt; the message says where it looked.
        UnknownParameter: `optimize_only` names what the graph does not have.
        BudgetTooSmall: The budget cannot pay for one evaluation; nothing was spent.
        UnknownPrice: A money limit was set for a model whose price is not known.
        JournalError: `run_dir` is in use, damaged, or of a run with other settings, examples or texts.
        KeyboardInterrupt: Ctrl-C. The run stops without waiting for the models' replies, keeps what it has, and prints
            how to go on.
    """
    return run_sync(cast("Coroutine[Any, Any, OptimizeResult[Any] | Plan]", aoptimize(graph, evals, **options)))


def _identity(
    *, name: str, start: Texts, evals: Evals, only: Sequence[str] | None, optimizer: Optimizer, settings: Settings
) -> dict[str, JSON]:
    """What makes a run the same run: with another of these, what its journal holds would answer another question."""
    examples = json.dumps(
        [[example.id, example.inputs, example.reference_outputs, example.metadata] for example in evals.examples],
        sort_keys=True,
        default=str,
    )
    # How many calls go on at once decides nothing.
    how = {key: value for key, value in settings.to_json().items() if key != "concurrency"}
    return {
        **how,
        "graph": name,
        "texts at the start": candidate_hash(start),
        "examples": f"{len(evals.examples)} with hash {hashlib.sha256(examples.encode()).hexdigest()[:12]}",
        "evaluators": list(evals.names),
        "goal": evals.goal,
        "pass_at": evals.pass_at,
        "optimize_only": None if only is None else list(only),
        "optimizer": type(optimizer).__name__,
    }
