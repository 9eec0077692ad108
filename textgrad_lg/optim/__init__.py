"""Optimizers: from Gradients to Updates."""

from textgrad_lg.optim.base import Attempt, Optimizer, Proposals, Proposer, StepContext
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits, check
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.rewrite import Rewrite
from textgrad_lg.optim.tgd import TGD, rank

__all__ = [
    "TGD",
    "Attempt",
    "Demos",
    "EditLimits",
    "Insert",
    "Optimizer",
    "Proposals",
    "Proposer",
    "Rewrite",
    "StepContext",
    "check",
    "rank",
]
