"""`diagnose`: what can be known of a graph before it is optimised, and what that costs.

baseline -> the same again, judged again -> each Parameter's text taken away -> each said otherwise -> a page
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from textgrad_lg.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.events import Callback
    from textgrad_lg.record import Discovery
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.diagnosis import Diagnosis, DiagnosisPlan
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.settings import Settings

_ATTEMPTS = 3
"""Model calls at most for one paraphrase, retries included."""


class Options(TypedDict, total=False):
    """What `diagnose` and `adiagnose` take besides the graph and its evals; the docstring of `diagnose` says what it means."""

    model: str | BaseChatModel | None
    budget: Budget | str | None
    examples: int
    repeats: int
    config: Mapping[str, Any] | None
    optimize_only: Sequence[str] | None
    run_dir: str | Path | None
    prices: Mapping[str, Price] | None
    callbacks: Sequence[Callback]
    settings: Settings | None


@overload
async def adiagnose(
    graph: object, evals: Any, *, dry_run: Literal[True], **options: Unpack[Options]
) -> DiagnosisPlan: ...


@overload
async def adiagnose(
    graph: object, evals: Any, *, dry_run: Literal[False] = False, **options: Unpack[Options]
) -> Diagnosis: ...


async def adiagnose(
    graph: object, evals: Any, *, dry_run: bool = False, **options: Unpack[Options]
) -> Diagnosis | DiagnosisPlan:
    """Say what can be known of a graph before it is optimised. See `diagnose`, which takes the same arguments."""
    # Here, so that whoever imports the library pays for a diagnosis only when there is one.
    from textgrad_lg.evals import Evals, split
    from textgrad_lg.llm import model_name, resolve_model
    from textgrad_lg.run.batches import minibatches
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.diagnosing import Diagnosing, JudgedAgain
    from textgrad_lg.run.opening import identity_of, opened
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.target import as_target
    from textgrad_lg.transport import fast

    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"diagnose() has no option {unknown[0]!r}; it has {', '.join(Options.__annotations__)} and dry_run"
        )
    target, start = as_target(graph)
    settings = options.get("settings") or Settings()
    evals = Evals.of(evals)
    splits = split(evals.examples, seed=settings.seed, fractions=settings.fractions)
    count, repeats = options.get("examples", 12), options.get("repeats", 3)
    for name, value in (("examples", count), ("repeats", repeats)):
        if value < 1:
            raise DataError(f"diagnose({name}={value}): it has to be 1 or more")
    # Of train and validation: the test set is read once, by `optimize`, and not before.
    drawn = next(minibatches((*splits.train, *splits.validation), count, settings.seed))
    critic = resolve_model(options.get("model"))
    only = options.get("optimize_only")
    prices = Prices(options.get("prices") or {})
    if dry_run:
        price = prices.of(*model_name(critic)) if critic is not None else None
        return _plan(target.discover((), only), len(drawn), repeats, settings, price)

    identity = identity_of(target, start, evals, drawn, only=only, settings=settings)
    with opened(
        target,
        lambda journal: JudgedAgain(evals, repeats, journal),
        identity={"kind": "diagnosis", **identity, "repeats": repeats},
        run_dir=options.get("run_dir"),
        budget=Budget.parse(options.get("budget")),
        prices=prices,
        settings=settings,
        critic=critic,
        judges=evals.judges,
        config=options.get("config"),
        callbacks=options.get("callbacks", ()),
    ) as (rollouts, folder):
        diagnosing = Diagnosing(
            start=start,
            evals=evals,
            splits=splits,
            examples=drawn,
            repeats=repeats,
            settings=settings,
            only=only,
            rollouts=rollouts,
            folder=folder,
        )
        async with fast(critic, *evals.judges):
            return await diagnosing.run()


@overload
def diagnose(graph: object, evals: Any, *, dry_run: Literal[True], **options: Unpack[Options]) -> DiagnosisPlan: ...


@overload
def diagnose(
    graph: object, evals: Any, *, dry_run: Literal[False] = False, **options: Unpack[Options]
) -> Diagnosis: ...


def diagnose(graph: object, evals: Any, **options: Any) -> Diagnosis | DiagnosisPlan:
    """Say what can be known of a graph before it is optimised: headroom, which Parameters matter, noise, and numbers.

    The graph is run as it is on examples of the train and validation sets that `optimize` would use; its test set is not
    read. Nothing is published. Then each trainable Parameter's text is replaced, first by one that says nothing (its slots
    and what is frozen stay) and then by the same in other words, and the scores are compared on the same examples.

    Args:
        graph: As for `optimize`.
        evals: As for `optimize`.
        **options: All optional.
            model: Paraphrases, and judges where an evaluator asks for a model. Default: the model that the graph calls
                most. Where it gives no usable paraphrase, code puts the parts of the text in another order.
            budget: The hard limit over everything, as for `optimize`. Where it ends early, what was measured is returned.
            examples: Examples to run, at most. Default: 12.
            repeats: How often each is run, without replay, and how often each first output is judged, to see how much
                scores vary. 1 measures no noise. Default: 3.
            config: What each run of the graph needs; as for `optimize`.
            optimize_only: The Parameters to look at. Default: all prompts that are found.
            run_dir: Where the journal is. Given again after a stop, nothing in it is paid for twice. Default: a new folder
                under `.textgrad-lg/runs`.
            prices: As for `optimize`.
            callbacks: Observers of the run's events.
            settings: Seed, fractions, concurrency, replay, tools, significance: see `Settings`. Where tools are not to
                run again, the runs are not repeated.
            dry_run: Return a `DiagnosisPlan` instead: what it would cost at most. Calls no model.

    Returns:
        A `Diagnosis`, which prints as a page, or a `DiagnosisPlan` where `dry_run` was set.

    Raises:
        GraphError: `graph` is not a compiled graph, or is deployed and cannot be reached.
        DataError: The examples cannot be used, or a number is too small.
        NoPromptFound: The graph's runs showed no prompt.
        UnknownParameter: `optimize_only` names what the graph does not have.
        BudgetTooSmall: The budget cannot pay for one run of each example.
        UnknownPrice: A money limit was set for a model whose price is not known.
        JournalError: `run_dir` is in use, damaged, or of a run with other settings, examples or texts.
    """
    from textgrad_lg.sync import run_sync

    return run_sync(cast("Coroutine[Any, Any, Diagnosis | DiagnosisPlan]", adiagnose(graph, evals, **options)))


def _plan(found: Discovery, count: int, repeats: int, settings: Settings, price: Price | None) -> DiagnosisPlan:
    from textgrad_lg.run.diagnosis import DiagnosisPlan
    from textgrad_lg.run.plan import TOKENS_IN, TOKENS_OUT, calls_a_run
    from textgrad_lg.types import Tools

    each, trained = calls_a_run(found), len(found.trainable)
    again = repeats - 1 if settings.tools is Tools.RUN else 0
    calls = {
        "baseline": count * each,
        "repeats": count * again * each,
        "ablate": trained * count * each,
        "perturb": trained * count * each,
        "paraphrase": trained * _ATTEMPTS,
    }
    return DiagnosisPlan(
        parameters={site: found.parameters[site] for site in found.trainable},
        examples=count,
        calls=calls,
        judgings=count * (repeats + again + 2 * trained),
        usd=price and sum(calls.values()) * (TOKENS_IN * price.input + TOKENS_OUT * price.output) / 1_000_000,
        warnings=found.warnings,
    )
