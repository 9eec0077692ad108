"""Examples, and the evaluators that judge what a graph makes of them."""

from textgrad_lg.evals.base import Evals, example_score, failed
from textgrad_lg.evals.call import Evaluator
from textgrad_lg.evals.data import Data, load
from textgrad_lg.evals.judge import TextLoss
from textgrad_lg.evals.metric import exact, numeric, regex
from textgrad_lg.evals.splits import Splits, split

__all__ = [
    "Data",
    "Evals",
    "Evaluator",
    "Splits",
    "TextLoss",
    "exact",
    "example_score",
    "failed",
    "load",
    "numeric",
    "regex",
    "split",
]
