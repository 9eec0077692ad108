"""Optimizers of the eager API."""

from textgrad_lg.eager.optimizer.momentum import TextualGradientDescentwithMomentum
from textgrad_lg.eager.optimizer.optimizer import TGD, Optimizer, TextualGradientDescent

__all__ = ["TGD", "Optimizer", "TextualGradientDescent", "TextualGradientDescentwithMomentum"]
