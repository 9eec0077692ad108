"""gepa 0.1.4 on the pipeline: `gepa.optimize` with an adapter of the user's, as its documentation asks for systems of prompts.

The adapter gives each component the records of its own calls, and the evaluator's comment; all else is gepa's default.
The variant `all` changes all components in each proposal, where the default takes them by turns.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.setting import BATCH, KEY, STEPS, Row, Setting, Visit, comment, each, load, right


class Adapter:
    """Runs candidates, and makes the records that gepa reflects on."""

    propose_new_texts = None

    def __init__(self, setting: Setting) -> None:
        self._setting, self._call = setting, setting.worker()

    def evaluate(self, batch: list[Row], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Run a candidate on a batch."""
        from gepa.core.adapter import EvaluationBatch

        runs = each(lambda row: self._setting.pipeline(self._call, candidate, row.question), batch)
        scores = [float(right(run[-1].reply, row.answer)) for run, row in zip(runs, batch, strict=True)]
        told = list(zip(runs, batch, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=[run[-1].reply for run in runs], scores=scores, trajectories=told)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Each component's own calls, with the comment on the run's output."""

        def record(visit: Visit, run: list[Visit], row: Row) -> dict[str, str]:
            told = comment(run[-1].reply, row.answer)
            return {"Inputs": visit.message, "Generated Outputs": visit.reply, "Feedback": told}

        return {
            name: [record(v, run, row) for run, row in eval_batch.trajectories for v in run if v.node == name]
            for name in components_to_update
        }


def main() -> None:
    setting = load()
    os.environ.update(OPENAI_API_KEY=KEY, OPENAI_API_BASE=setting.base, LITELLM_LOCAL_MODEL_COST_MAP="True")
    import litellm  # noqa: F401  gepa would import it in its first reflection, on the clock
    from gepa.api import optimize

    adapter: Any = Adapter(setting)
    stop: Any = lambda gepa_state: gepa_state.i + 1 >= STEPS  # noqa: E731  the protocol names its argument
    setting.begin()
    result: Any = optimize(
        seed_candidate=setting.texts,
        trainset=list(setting.train),
        valset=list(setting.validation),
        adapter=adapter,
        reflection_lm="openai/critic",
        reflection_minibatch_size=BATCH,
        stop_callbacks=stop,
        module_selector=setting.variant or "round_robin",
        seed=setting.seed,
    )
    setting.finish("gepa", "gepa", result.best_candidate, proposals=len(result.candidates) - 1)


if __name__ == "__main__":
    main()
