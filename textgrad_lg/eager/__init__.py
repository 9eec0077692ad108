"""The eager API: TextGrad's names, on this library's reverse pass.

    import textgrad_lg.eager as tg     # instead of: import textgrad as tg

An operation records itself as it is called. `loss.backward()` makes Traces of what led to the loss, and gives them to
`textgrad_lg.autograd.backward`; `TGD.step()` has its new texts checked by `textgrad_lg.optim`. There is no second engine.
"""

from textgrad_lg.eager import autograd, config, engine, loss, model, optimizer, tasks
from textgrad_lg.eager.autograd import aggregate, sum  # noqa: A004  TextGrad's name
from textgrad_lg.eager.autograd.llm_ops import FormattedLLMCall, LLMCall, LLMCall_with_in_context_examples
from textgrad_lg.eager.autograd.multimodal_ops import MultimodalLLMCall, OrderedFieldsMultimodalLLMCall
from textgrad_lg.eager.autograd.string_based_ops import StringBasedFunction
from textgrad_lg.eager.config import SingletonBackwardEngine, set_backward_engine
from textgrad_lg.eager.engine import EngineLM, get_engine
from textgrad_lg.eager.errors import EngineSet, NoDataset, NoEngine, NoFeedback, StepRefused, UnknownEngine
from textgrad_lg.eager.function import Function, Module
from textgrad_lg.eager.loss import (
    ImageQALoss,
    MultiChoiceTestTime,
    MultiFieldEvaluation,
    MultiFieldTokenParsedEvaluation,
    TextLoss,
)
from textgrad_lg.eager.model import BlackboxLLM
from textgrad_lg.eager.optimizer import TGD, Optimizer, TextualGradientDescent, TextualGradientDescentwithMomentum
from textgrad_lg.eager.variable import Feedback, Variable
from textgrad_lg.eager.vote import majority_vote

__all__ = [
    "TGD",
    "BlackboxLLM",
    "EngineLM",
    "EngineSet",
    "Feedback",
    "FormattedLLMCall",
    "Function",
    "ImageQALoss",
    "LLMCall",
    "LLMCall_with_in_context_examples",
    "Module",
    "MultiChoiceTestTime",
    "MultiFieldEvaluation",
    "MultiFieldTokenParsedEvaluation",
    "MultimodalLLMCall",
    "NoDataset",
    "NoEngine",
    "NoFeedback",
    "Optimizer",
    "OrderedFieldsMultimodalLLMCall",
    "SingletonBackwardEngine",
    "StepRefused",
    "StringBasedFunction",
    "TextLoss",
    "TextualGradientDescent",
    "TextualGradientDescentwithMomentum",
    "UnknownEngine",
    "Variable",
    "aggregate",
    "autograd",
    "config",
    "engine",
    "get_engine",
    "loss",
    "majority_vote",
    "model",
    "optimizer",
    "set_backward_engine",
    "sum",
    "tasks",
]
