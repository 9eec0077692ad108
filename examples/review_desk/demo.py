"""Optimise the review desk, prove it, publish it, roll it back. Run it with `make demo`.

`make demo` takes the embedded model: no key, no network, no cost. `make demo MODEL=openai:gpt-4o-mini` takes that model,
under a hard cap of $0.50. `OTLP=FILE` or `OTLP=http://localhost:4318` says where the spans go.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING

from examples.review_desk.evals import build_evals
from examples.review_desk.graph import build_graph
from textgrad_lg import TGD, Budget, OptimizeResult, Settings, Strategy, optimize
from textgrad_lg.cli.progress import Progress
from textgrad_lg.llm import resolve_model
from textgrad_lg.optim import Demos, Insert, Rewrite
from textgrad_lg.overlay import overlay
from textgrad_lg_integrations.local import embedded_model
from textgrad_lg_tracing import configure

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.graph.state import CompiledStateGraph

    from textgrad_lg.events import Callback

CAP = 0.50
SPANS = ".textgrad-lg/demo-spans.jsonl"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="any init_chat_model name; default: the embedded model")
    parser.add_argument("--otlp", default=SPANS, help="a file for OTLP JSON lines, or the address of a collector")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        spans = stack.enter_context(configure(options.otlp))
        if options.model:
            model = critic = _chat_model(options.model)
        else:
            model = stack.enter_context(embedded_model(max_tokens=12))
            critic = model.model_copy(update={"max_tokens": 120})
        _demo(build_graph(model), critic, spans.callback, embedded=not options.model)
    print(f"\nSpans of every forward, backward and step: {options.otlp}")
    print("Each line is OTLP JSON. Send them to any collector, or run the demo with --otlp http://localhost:4318")


def _demo(graph: CompiledStateGraph, critic: BaseChatModel, spans: Callback, *, embedded: bool) -> None:
    evals = build_evals()
    strategy = Strategy.STRUCTURAL if embedded else Strategy.AUTO
    settings = Settings(steps=2, batch=8, strategy=strategy, concurrency=4)
    budget = Budget(calls=4000) if embedded else Budget(usd=CAP)
    # One rewrite at a time: more of them do not fit into what the small model can write in one reply.
    optimizer = TGD(proposers=[Rewrite(alternatives=1), Insert(), Demos()]) if embedded else TGD()
    say("What would be looked at, and what it could cost (nothing has been run yet)")
    print(optimize(graph, evals, model=critic, budget=budget, settings=settings, optimizer=optimizer, dry_run=True))
    if not embedded:
        print(f"The hard cap of this run is ${CAP:.2f}.")

    say("Optimising")
    result = optimize(
        graph,
        evals,
        model=critic,
        budget=budget,
        settings=settings,
        optimizer=optimizer,
        callbacks=[Progress(sys.stdout), spans],
    )

    say("Result")
    print(result.summary())
    print(result.diff() or "No text was changed.")
    _in_force(graph, result)
    _who_did_what(result, embedded=embedded)


def _in_force(graph: CompiledStateGraph, result: OptimizeResult[CompiledStateGraph]) -> None:
    """Show that the accepted texts are in force, and that rolling back takes them out again."""
    review = {"review": "A warm and very funny evening, I clapped at the end."}
    say("One review, never seen in the run")
    print(f"the graph as it was given                  label = {graph.invoke(review)['label']!r}")
    with overlay(result.texts):
        print(f"the same object, accepted texts laid over  label = {graph.invoke(review)['label']!r}")
    if not result.improved:
        return
    print(f"result.graph, texts from the registry      label = {result.graph.invoke(review)['label']!r}")
    result.rollback()
    print(f"result.graph, after result.rollback()      label = {result.graph.invoke(review)['label']!r}")
    print(f"the graph as it was given, untouched       label = {graph.invoke(review)['label']!r}")


def _who_did_what(result: OptimizeResult[CompiledStateGraph], *, embedded: bool) -> None:
    """Say in plain words which part was a model and which was not."""
    say("What was a model here, and what was not")
    tried = Counter(gated.update.proposer for gated in result.decisions if gated.gate in ("edit", "minibatch"))
    won = Counter(gated.update.proposer for gated in result.decisions if gated.gate == "validation" and gated.accepted)
    for proposer, count in tried.items():
        print(f"proposals by {proposer}: {count}, of which {won[proposer]} passed both gates")
    if embedded:
        print(
            "A real model (SmolLM2, 135 million parameters, on this machine) ran every node of the graph, and wrote the\n"
            "'rewrite' proposals. It is too small to criticise, so the backward pass was structural: the evaluator's own\n"
            "comment travelled back along the recorded edges to the prompts behind the field it judged. 'insert' placed\n"
            "that comment and 'demos' chose examples; neither asks a model. The gates and the test set measured the rest.\n"
            "Most of the gain is format: the model learns to answer in one word, not to judge films better.\n"
            "A real critic model (make demo MODEL=openai:gpt-4o-mini) adds feedback that says why an answer was wrong,\n"
            "for each node on its way, and rewrites that use it."
        )
    else:
        print("The model you named ran every node of the graph, criticised its runs and wrote the 'rewrite' proposals.")


def say(title: str) -> None:
    """Print a heading."""
    print(f"\n== {title} ==")


def _chat_model(name: str) -> BaseChatModel:
    model = resolve_model(name)
    assert model is not None
    return model.model_copy(update={"temperature": 0.0, "max_tokens": 400})


if __name__ == "__main__":
    main()
