"""What operations and losses of one's own are built from."""

from textgrad_lg.eager.function import BackwardContext, Function, Module

__all__ = ["BackwardContext", "Function", "Module"]
