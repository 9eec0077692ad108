"""The overlay: texts laid over a graph as it runs, and graphs with their texts built in."""

from textgrad_lg.overlay.bound import bind, unbind
from textgrad_lg.overlay.context import overlay
from textgrad_lg.overlay.door import Given, through_doors
from textgrad_lg.overlay.rewrite import Replacement, Texts, merge, rewrite
from textgrad_lg.overlay.settings import Watch

__all__ = ["Given", "Replacement", "Texts", "Watch", "bind", "merge", "overlay", "rewrite", "through_doors", "unbind"]
