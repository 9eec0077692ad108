"""GEPA on a LangGraph graph: gepa's search, with reflective datasets made from the credit of each prompt.

`optimize_with_gepa(graph, evals)` runs it inside a budget and returns the graph with the best texts. `GraphAdapter` is the
`GEPAAdapter` behind it, for those who call `gepa.optimize` themselves. Needs the extra `gepa`.
"""

from textgrad_lg_integrations.gepa.adapter import GraphAdapter
from textgrad_lg_integrations.gepa.optimize import GepaOutcome, optimize_with_gepa
from textgrad_lg_integrations.gepa.runs import Trajectory

__all__ = ["GepaOutcome", "GraphAdapter", "Trajectory", "optimize_with_gepa"]
