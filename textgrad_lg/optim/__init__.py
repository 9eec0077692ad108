"""Optimizers: from Gradients to Updates."""

from textgrad_lg.optim.base import Attempt, Optimizer, Proposals, Proposer, StepContext
from textgrad_lg.optim.baselines import JustRewrite, Paraphrase
from textgrad_lg.optim.checks import Check, Language, Matches, MaxLines, ValidJSON
from textgrad_lg.optim.choose import Choice, choose
from textgrad_lg.optim.copied import Copied
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits, check
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.joint import Joint
from textgrad_lg.optim.leakage import Leakage
from textgrad_lg.optim.momentum import Carry, Momentum
from textgrad_lg.optim.pareto import Member, Merge
from textgrad_lg.optim.patch import Patch
from textgrad_lg.optim.planted import Kind
from textgrad_lg.optim.pooled import Pareto, PoolOptimizer
from textgrad_lg.optim.rewrite import Rewrite
from textgrad_lg.optim.tgd import TGD, rank
from textgrad_lg.optim.tune import Tune, Value

__all__ = [
    "TGD",
    "Attempt",
    "Carry",
    "Check",
    "Choice",
    "Copied",
    "Demos",
    "EditLimits",
    "Insert",
    "Joint",
    "JustRewrite",
    "Kind",
    "Language",
    "Leakage",
    "Matches",
    "MaxLines",
    "Member",
    "Merge",
    "Momentum",
    "Optimizer",
    "Paraphrase",
    "Pareto",
    "Patch",
    "PoolOptimizer",
    "Proposals",
    "Proposer",
    "Rewrite",
    "StepContext",
    "Tune",
    "ValidJSON",
    "Value",
    "check",
    "choose",
    "rank",
]
