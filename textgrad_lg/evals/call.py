"""Calling an evaluator: which arguments it asks for, and whether it is awaited or runs in a thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args, runtime_checkable

from textgrad_lg.errors import EvaluatorError
from textgrad_lg.evals.interop import as_example, as_run
from textgrad_lg.evals.reads import NotedReads, unshared
from textgrad_lg.example import Example

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.trace import Trace


@runtime_checkable
class RunEvaluator(Protocol):
    """What LangSmith calls a RunEvaluator."""

    def evaluate_run(self, run: Any, example: Any = None) -> Any:
        """Judge a run."""
        ...


Evaluator = Callable[..., Any] | RunEvaluator
"""Judges one run: see `Evals` for what it may ask for and return."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that an evaluator may ask for.

    Attributes:
        example: What was run.
        outputs: The output; notes what is read from it.
        reference_outputs: What was wanted; notes what is read from it. None where nothing is known.
        trace: The recorded run, if there is one.
        model: The run's critic, if there is one.
    """

    example: Example
    outputs: NotedReads
    reference_outputs: NotedReads | None
    trace: Trace | None
    model: BaseChatModel | None


_ARGUMENTS: Mapping[str, Callable[[Case], Any]] = {
    "inputs": lambda case: unshared(case.example.inputs),
    "outputs": lambda case: case.outputs,
    "reference_outputs": lambda case: case.reference_outputs,
    "example": lambda case: as_example(case.example),
    "run": lambda case: as_run(case.example, case.outputs, case.trace),
    "model": lambda case: case.model,
    "trace": lambda case: case.trace,
}
_OURS = {"model", "trace"}
"""Names that LangSmith does not know. An evaluator that has a default for one, other than None, means something else by it."""
_OPEN = ("inputs", "outputs", "reference_outputs")
"""What an evaluator that takes any keyword, and names none, is given."""


class Limit(Protocol):
    """How evaluators are called, where they may not take as long as they like."""

    async def within(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What `call` gives.

        Raises:
            TimeoutError: It took too long.
        """
        ...

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What blocking code gives, run in a thread and in this context."""
        ...


_LIMIT: ContextVar[Limit | None] = ContextVar("textgrad_lg_evaluators", default=None)


@contextmanager
def limited(limit: Limit | None) -> Generator[None]:
    """Have evaluators called by a Limit inside the block; None for as long as they take."""
    token = _LIMIT.set(limit)
    try:
        yield
    finally:
        _LIMIT.reset(token)


class BoundEvaluator:
    """An evaluator whose arguments are known.

    Attributes:
        name: The evaluator's own name: its `key`, its function's name or its class's.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        """Look at an evaluator without calling it.

        Raises:
            EvaluatorError: It cannot be called, or requires an argument that nobody can give it.
        """
        self.name = _name(evaluator)
        self._positional: list[Callable[[Case], Any]] = []
        self._keywords: dict[str, Callable[[Case], Any]] = {}
        if isinstance(evaluator, RunEvaluator) and not inspect.isclass(evaluator):
            self._call = _run_method(evaluator)
            self._positional = [_ARGUMENTS["run"], _ARGUMENTS["example"]]
        elif inspect.isclass(evaluator):
            raise EvaluatorError(f"{self.name} is a class; give an instance of it, as in {self.name}(...)")
        elif callable(evaluator):
            self._call = evaluator
            self._bind()
        else:
            raise EvaluatorError(
                f"{evaluator!r} is not an evaluator; an evaluator is a function such as "
                "`def right(outputs, reference_outputs): return outputs == reference_outputs`"
            )

    async def __call__(self, case: Case) -> Any:
        """Call the evaluator. What it raises is raised; one that is not async runs in a thread, in this context."""
        limit = _LIMIT.get()
        if limit is None:
            return await self._made(case, asyncio.to_thread)
        return await limit.within(lambda: self._made(case, limit.in_thread))

    async def _made(self, case: Case, in_thread: Callable[..., Awaitable[Any]]) -> Any:
        positional = [make(case) for make in self._positional]
        keywords = {name: make(case) for name, make in self._keywords.items()}
        if inspect.iscoroutinefunction(self._call):
            return await self._call(*positional, **keywords)
        # An object whose `__call__` is async comes this way too: it returns what is awaited here.
        returned = await in_thread(_in_thread, self._call, positional, keywords)
        return await returned if inspect.isawaitable(returned) else returned

    @property
    def takes_model(self) -> bool:
        """Whether it asks for the run's critic."""
        return _ARGUMENTS["model"] in (*self._positional, *self._keywords.values())

    @property
    def model(self) -> BaseChatModel | None:
        """The model of its own that it asks instead, as a `TextLoss` may have.

        Raises:
            ModelError: No model could be made of the name that it was given.
        """
        from langchain_core.language_models import BaseChatModel

        own = getattr(self._call, "model", None)
        return own if isinstance(own, BaseChatModel) else None

    @property
    def instruction(self) -> str:
        """What it judges by, in the user's words, where it says so as a `TextLoss` does; else empty."""
        own = getattr(self._call, "instruction", None)
        return own if isinstance(own, str) else ""

    def _bind(self) -> None:
        bound = _bound(self._call)
        parameters = [each for each in _signature(self._call, self.name) if each.name not in bound]
        skipped = False
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            make = _source(parameter)
            if make is None and parameter.default is parameter.empty:
                raise EvaluatorError(
                    f"the evaluator {self.name!r} requires the argument {parameter.name!r}, which is not known; "
                    f"known are {_known()}. Give it a default, or bind it with functools.partial"
                )
            if parameter.kind is not parameter.POSITIONAL_ONLY:
                self._keywords.update({parameter.name: make} if make else {})
            elif make and not skipped:
                self._positional.append(make)
            else:
                skipped = True  # what stands behind a positional-only default can no longer be reached
        if self._positional or self._keywords:
            return
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            raise EvaluatorError(
                f"the evaluator {self.name!r} takes none of {_known()}, so it has nothing to judge. If {self.name!r} "
                f"makes an evaluator, call it: {self.name}(...)"
            )
        self._keywords = {name: _ARGUMENTS[name] for name in _OPEN}


def evaluators_of(evaluators: Evaluator | Sequence[Evaluator]) -> tuple[BoundEvaluator, ...]:
    """Bind one evaluator or several; a second one of the same name gets `_2` behind it.

    Raises:
        EvaluatorError: There is none, or one cannot be used.
    """
    several = isinstance(evaluators, Sequence) and not isinstance(evaluators, str)
    bound = tuple(map(BoundEvaluator, cast("Sequence[Evaluator]", evaluators if several else [evaluators])))
    if not bound:
        raise EvaluatorError("there is no evaluator; at least one is needed to tell a better prompt from a worse one")
    seen: dict[str, int] = {}
    for each in bound:
        count = seen[each.name] = seen.get(each.name, 0) + 1
        if count > 1:
            each.name = f"{each.name}_{count}"
    return bound


def _name(evaluator: object) -> str:
    if isinstance(evaluator, functools.partial):
        return _name(evaluator.func)
    for name in (getattr(evaluator, "key", None), getattr(evaluator, "__name__", None)):
        if isinstance(name, str) and name:
            return "lambda" if name == "<lambda>" else name
    return type(evaluator).__name__


def _bound(call: object) -> Mapping[str, Any]:
    """What `functools.partial` bound by name: it stays in the signature, and is not ours to give."""
    return cast("functools.partial[Any]", call).keywords if isinstance(call, functools.partial) else {}


def _signature(call: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(call, eval_str=True).parameters.values())
    except Exception:  # noqa: BLE001  to read an annotation is to run it; one that fails says nothing, and does not matter
        try:
            return list(inspect.signature(call).parameters.values())
        except (ValueError, TypeError) as error:
            raise EvaluatorError(
                f"the arguments of the evaluator {name!r} cannot be read; wrap it in a function"
            ) from error


def _source(parameter: inspect.Parameter) -> Callable[[Case], Any] | None:
    """What to pass for a parameter: known by its name, or by LangSmith's type where an older evaluator chose its own names."""
    from langsmith import schemas

    hints = get_args(parameter.annotation) or (parameter.annotation,)
    if Example in hints:
        return lambda case: case.example
    name = parameter.name
    if name not in _ARGUMENTS:
        name = "run" if schemas.Run in hints else "example" if schemas.Example in hints else ""
    if name in _OURS and parameter.default not in (parameter.empty, None):
        return None
    return _ARGUMENTS.get(name)


def _run_method(evaluator: RunEvaluator) -> Callable[..., Any]:
    """The async method where it does the work. LangSmith's own default for it starts a thread without the context."""
    method = getattr(type(evaluator), "aevaluate_run", None)
    own = getattr(method, "__module__", "langsmith.evaluation.evaluator") != "langsmith.evaluation.evaluator"
    return getattr(evaluator, "aevaluate_run" if getattr(evaluator, "is_async", own) else "evaluate_run")


def _in_thread(call: Callable[..., Any], positional: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    try:
        return call(*positional, **keywords)
    except StopIteration as error:
        # No future can carry it: in Python 3.11 whoever waits for the thread would wait for ever.
        raise RuntimeError("StopIteration: next() found nothing") from error


def _known() -> str:
    return ", ".join(_ARGUMENTS)
