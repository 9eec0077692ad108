"""The optimisation run: from a graph and its evals to a result."""

from textgrad_lg.run.attach import Attachment, Follower, attach
from textgrad_lg.run.budget import Budget, Spend
from textgrad_lg.run.deploy import from_registry
from textgrad_lg.run.diagnose import adiagnose, diagnose
from textgrad_lg.run.diagnosis import Diagnosis, DiagnosisPlan
from textgrad_lg.run.optimize import aoptimize, optimize
from textgrad_lg.run.plan import Plan
from textgrad_lg.run.prices import Price
from textgrad_lg.run.result import OptimizeResult
from textgrad_lg.run.settings import Settings
from textgrad_lg.run.stats import Comparison

__all__ = [
    "Attachment",
    "Budget",
    "Comparison",
    "Diagnosis",
    "DiagnosisPlan",
    "Follower",
    "OptimizeResult",
    "Plan",
    "Price",
    "Settings",
    "Spend",
    "adiagnose",
    "aoptimize",
    "attach",
    "diagnose",
    "from_registry",
    "optimize",
]
