"""The optimisation run: from a graph and its evals to a result."""

from typing import TYPE_CHECKING

from textgrad_lg.lazy import lazy

# Not lazy, because they have their modules' names. What they need is imported when they are called.
from textgrad_lg.run.diagnose import adiagnose, diagnose
from textgrad_lg.run.optimize import aoptimize, optimize

if TYPE_CHECKING:
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.deploy import from_registry
    from textgrad_lg.run.diagnosis import Diagnosis, DiagnosisPlan
    from textgrad_lg.run.follow import Attachment, Follower, attach
    from textgrad_lg.run.plan import Plan
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.spend import Spend
    from textgrad_lg.run.stats import Comparison
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "budget": "Budget",
            "deploy": "from_registry",
            "diagnosis": "Diagnosis DiagnosisPlan",
            "follow": "Attachment Follower attach",
            "plan": "Plan",
            "prices": "Price",
            "result": "OptimizeResult",
            "settings": "Settings",
            "spend": "Spend",
            "stats": "Comparison",
        },
    )

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
