"""`optimize`: from a graph and its evals to a better graph, and the proof.

train minibatch -> forward -> evaluate -> backward -> propose -> minibatch gate -> validation gate -> commit -> ...
-> test set, read once -> publish
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.domain import Domain
    from textgrad_lg.events import Callback
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.plan import Plan
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.run.settings import Settings

G = TypeVar("G")


class Options(TypedDict, total=False):
    """What `optimize` and `aoptimize` take besides the graph and its evals; the docstring of `optimize` says what it means."""

    model: str | BaseChatModel | None
    budget: Budget | str | None
    optimize_only: Sequence[str] | None
    domains: Mapping[str, Domain] | None
    optimizer: Optimizer | None
    feedback: Mapping[str, Sequence[object]] | None
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
    # Here, so that whoever imports `optimize` pays for a run only when there is one.
    from textgrad_lg.domain import told_of
    from textgrad_lg.errors import DiscoveryError
    from textgrad_lg.evals import Evals, split
    from textgrad_lg.llm import resolve_model
    from textgrad_lg.optim.choose import PROPOSALS
    from textgrad_lg.optim.described import described
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.deploy import default_registry
    from textgrad_lg.run.opening import identity_of, opened
    from textgrad_lg.run.people import People
    from textgrad_lg.run.plan import predict
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.session import Session
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.target import LocalGraph, as_target
    from textgrad_lg.transport import fast

    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"optimize() has no option {unknown[0]!r}; it has {', '.join(Options.__annotations__)} and dry_run"
        )
    domains = options.get("domains") or {}
    target, start = as_target(graph, domains)
    settings = options.get("settings") or Settings()
    evals = Evals.of(evals)
    splits = split(evals.examples, seed=settings.seed, fractions=settings.fractions)
    critic = resolve_model(options.get("model"))
    optimizer = options.get("optimizer")
    people = People.of(options.get("feedback") or {}, evals)
    only = options.get("optimize_only")
    limits = Budget.parse(options.get("budget"))
    price_list = Prices(options.get("prices") or {})
    planned = partial(
        predict,
        target,
        evals,
        splits,
        settings=settings,
        only=only,
        proposals=PROPOSALS if optimizer is None else optimizer.proposals,
        critic=critic,
        prices=price_list,
        budget=limits,
    )
    if dry_run:
        return planned()
    # Of a graph that is deployed elsewhere even what stands in it costs a round trip.
    predicted = None
    if isinstance(target, LocalGraph):
        with suppress(DiscoveryError):  # a prompt that only runs show
            predicted = planned().predicted

    registry = options.get("registry")
    identity = identity_of(target, start, evals, evals.examples, only=only, settings=settings)
    with opened(
        target,
        lambda _: evals,
        identity={**identity, "optimizer": described(optimizer), **people.identity(), **told_of(domains)},
        run_dir=options.get("run_dir"),
        budget=limits,
        prices=price_list,
        settings=settings,
        critic=critic,
        judges=evals.judges,
        config=options.get("config"),
        callbacks=options.get("callbacks", ()),
    ) as (rollouts, folder):
        session = Session(
            start=start,
            name=target.name,
            evals=evals,
            splits=splits,
            settings=settings,
            optimizer=optimizer,
            only=only,
            registry=registry if registry is not None else default_registry(),
            rollouts=rollouts,
            folder=folder,
            people=people,
            predicted=predicted,
        )
        async with fast(critic, *evals.judges):
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
            budget: The hard limit over everything: `Budget(usd=, calls=, tokens=, seconds=, rollouts=)`, or "$2", or
                "500 calls". Default: 1,000 model calls. Where it does not pay for all validation and test examples, some
                of each are drawn, not fewer than 30, and a warning says so.
            optimize_only: The Parameters that may change: printed Sites, node names, or patterns such as "desk/*".
                Default: all prompts that are found. Descriptions of tools and output schemas change only if they are
                named: "tools:*", "tools:search", "schemas:Answer/args/label".
            domains: The settings that may change besides, and which values each may take, as in
                {"settings:classify/temperature": Real(0, 1), "settings:retrieve/k": Whole(1, 10), "context:style":
                Choice(["short", "long"])}. Default: none but those that the code holds by `Setting`.
            optimizer: Turns gradients into proposals, as in `Pareto(Joint())`. Default: one is chosen by the share of
                examples that fail, the number of prompts and the budget; `result.chosen` says why.
            feedback: What people said of what the graph made of examples, by example id: texts, thumbs (True or False),
                or LangSmith's Feedback; see `scores_from_feedback`. It makes gradients, for as long as a run goes by the
                texts that those people saw at work; what is accepted is decided by the evaluators alone.
            config: What each run of the graph needs, in the shape of a `RunnableConfig`; its key "context" goes to the
                graph's runtime context. Each run gets a thread id of its own where the graph has a checkpointer.
            registry: Where accepted texts go. Default: SQLite in `.textgrad-lg`.
            run_dir: Where the run's journal is. Given again after a stop, nothing in it is paid for twice. Default: a
                new folder under `.textgrad-lg/runs`.
            prices: `Price(input, output)` in US dollars per million tokens by model name, where the built-in list does
                not know the model or is wrong.
            callbacks: Observers of the run's events.
            settings: Steps, batch, gates, strategy, seed: see `Settings`.
            dry_run: Return a `Plan` instead: what was found and what a run would spend at most, by phase. Calls no model.

    Returns:
        An `OptimizeResult`, or a `Plan` where `dry_run` was set.

    Raises:
        GraphError: `graph` is not a compiled graph, or is deployed and cannot be reached.
        DataError: The examples cannot be used: none, duplicate ids, a split without examples.
        NoPromptFound: The graph's runs showed no prompt; the message says where it looked.
        UnknownParameter: `optimize_only` or `domains` names what the graph does not have.
        DomainError: A setting has a value that is not in its domain.
        BudgetTooSmall: The budget cannot pay for one evaluation; nothing was spent.
        UnknownPrice: A money limit was set for a model whose price is not known. Of `model`, of judges and of models that
            the graph's code holds it is said before anything is spent.
        JournalError: `run_dir` is in use, damaged, or of a run with other settings, examples or texts.
        KeyboardInterrupt: Ctrl-C. The run stops without waiting for the models' replies, keeps what it has, and prints
            how to go on.
    """
    from textgrad_lg.sync import run_sync

    return run_sync(cast("Coroutine[Any, Any, OptimizeResult[Any] | Plan]", aoptimize(graph, evals, **options)))
