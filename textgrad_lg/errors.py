"""The exceptions of textgrad_lg.

Every one says what was wrong and what to do about it. The user's own exceptions, from nodes, tools and evaluators, are
never wrapped: they reach the user as they were raised.

    TextgradError
    ├── GraphError            the thing given as a graph cannot be run or bound
    ├── DiscoveryError
    │   ├── NoPromptFound     no Parameter was found in the graph
    │   └── UnknownParameter  a Parameter was named that the graph does not have
    ├── DataError             the examples cannot be used as they are
    ├── EvaluatorError        an evaluator cannot be called, or was given nothing that it can judge
    ├── TemplateError         a text lost or invented a slot, or does not fit its Parameter
    ├── DomainError           a setting's domain is none, or a value is not in it
    ├── TraceError            a Trace is not a DAG of the Spans and Variables it names, or its JSON is not a Trace
    ├── ModelError            a model call failed for good, after its retries
    │   └── UnusableReply     the model answered, and the answer could not be read
    ├── BudgetError
    │   ├── BudgetTooSmall    refused before anything was spent
    │   ├── BudgetExhausted   a call was refused, because it could have gone over the Budget
    │   └── UnknownPrice      a money limit was set for a model whose price is not known
    ├── ReplayError           a replayed graph called a tool as no recorded run had called it, or the memo is none
    ├── RegistryError
    │   ├── UnknownVersion    a prompt, version or label that the registry does not hold
    │   └── VersionConflict   another writer was faster; nothing was changed
    └── JournalError          a run directory is damaged, in use, or of another version
"""

from __future__ import annotations


class TextgradError(Exception):
    """Base of all exceptions raised by textgrad_lg."""


class GraphError(TextgradError):
    """The thing given as a graph cannot be run or bound."""


class DiscoveryError(TextgradError):
    """The graph's Parameters are not what was asked for."""


class NoPromptFound(DiscoveryError):  # noqa: N818  reads as the condition it names
    """No Parameter was found in the graph."""


class UnknownParameter(DiscoveryError):  # noqa: N818
    """A Parameter was named that the graph does not have."""


class DataError(TextgradError):
    """The examples cannot be used as they are."""


class EvaluatorError(TextgradError):
    """An evaluator cannot be called, or was given nothing that it can judge."""


class TemplateError(TextgradError):
    """A text lost or invented a slot, or does not fit its Parameter."""


class DomainError(TextgradError, ValueError):
    """A setting's domain is none, or a value is not in it."""


class TraceError(TextgradError):
    """A Trace does not hold together, or its JSON is not a Trace."""


class ModelError(TextgradError):
    """A model call failed for good, after its retries."""


class UnusableReply(ModelError):  # noqa: N818
    """The model answered, and the answer could not be read."""


class BudgetError(TextgradError):
    """Something about what may be spent."""


class BudgetTooSmall(BudgetError):  # noqa: N818
    """The Budget cannot pay for even one evaluation; refused before anything was spent."""


class BudgetExhausted(BudgetError):  # noqa: N818
    """A call was refused, because it could have gone over the Budget."""


class UnknownPrice(BudgetError):  # noqa: N818
    """A money limit was set for a model whose price is not known."""


class ReplayError(TextgradError):
    """A replayed graph called a tool as no recorded run had called it, or what was given is not a memo."""


class RegistryError(TextgradError):
    """The prompt registry could not do what was asked."""


class UnknownVersion(RegistryError):  # noqa: N818
    """A prompt, version or label that the registry does not hold."""


class VersionConflict(RegistryError):  # noqa: N818
    """Another writer was faster; nothing was changed."""


class JournalError(TextgradError):
    """A run directory is damaged, in use, or of another version."""
