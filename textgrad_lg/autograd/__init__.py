"""The reverse pass: feedback on a run's output becomes feedback on the Parameters that had a part in it."""

from textgrad_lg.autograd.backward import backward
from textgrad_lg.autograd.graph import relevant, seed
from textgrad_lg.autograd.reduce import distinct, reduce

__all__ = ["backward", "distinct", "reduce", "relevant", "seed"]
