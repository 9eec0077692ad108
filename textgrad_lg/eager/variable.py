"""Variable: a value of the eager graph, with what made it and the feedback on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlparse
from urllib.request import urlopen

from textgrad_lg.eager.function import BackwardContext
from textgrad_lg.eager.images import block, mime_type, shown
from textgrad_lg.eager.operation import Operation, Use
from textgrad_lg.sync import run_sync
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import is_image

if TYPE_CHECKING:
    from textgrad_lg.eager.config import EngineLike
    from textgrad_lg.gradient import Gradient

_SECONDS = 30
"""How long fetching an image may take."""


class Variable:
    """A value of the eager graph: a text, an image, or anything else that JSON can hold.

    Example:
        >>> solution = Variable("x = 3 or x = 4", role_description="solution to the equation")
        >>> solution.requires_grad, solution.gradients
        (True, [])

    Args:
        value: Text; bytes of an image; or any JSON. A whole number becomes its text, as in TextGrad.
        image_path: A file to read an image from, or a URL to fetch one from, now.
        predecessors: What the value was made from, where no operation has recorded it. As a loss, such a Variable is feedback
            on its predecessors as it stands: a verdict of a person, say.
        requires_grad: Whether feedback on it is wanted.
        role_description: What the value is for, in words a model can use. It stands in every request about it.
        image_url: The URL of an image, which is not fetched here: the URL goes to the model, and its provider fetches it.

    Raises:
        ValueError: The value is given twice; it is none of the above; feedback on an image is asked for; or it does not
            require feedback and one of its predecessors does.
        TypeError: There is no `role_description`.
        OSError: The image could not be read.
    """

    def __init__(
        self,
        value: Any = "",
        image_path: str = "",
        predecessors: Sequence[Variable] | None = None,
        requires_grad: bool = True,
        *,
        role_description: str,
        image_url: str = "",
    ) -> None:
        given = [name for name in (image_path, image_url) if name]
        if len(given) + (value != "") > 1:
            raise ValueError("a Variable has one value: give value, image_path or image_url, and not two of them")
        if image_url:
            self._value: Any = {"type": "image", "url": image_url}
        else:
            self._value = _image(image_path) if image_path else _plain(value)
        self.role_description = role_description
        self.requires_grad = requires_grad
        if requires_grad and self.is_image:
            raise ValueError(
                f"the image {role_description!r} cannot be improved by feedback; create it with requires_grad=False"
            )
        wanting = [source.role_description for source in predecessors or () if source.requires_grad]
        if wanting and not requires_grad:
            raise ValueError(
                f"{role_description!r} does not require feedback, but {', '.join(wanting)} does, from which it was made; "
                "leave requires_grad=True"
            )
        self._version = 0
        self._gradients = Feedbacks()
        self._operation: Operation | None = None
        self.adopted = False
        """Whether an optimizer has taken it on."""
        self.reached = False
        """Whether a loss that it led to was differentiated since its feedback was last cleared."""
        if predecessors:
            inputs = tuple(source.use() for source in predecessors)
            self._operation = Operation(SpanKind.FUNCTION, "given", inputs, verdict=True)

    @classmethod
    def made(cls, value: Any, role_description: str, operation: Operation) -> Variable:
        """The Variable that an operation has made. It requires feedback where the operation can say what it is for."""
        wanted = not operation.combines or any(use.variable.requires_grad for use in operation.inputs)
        made = Variable(value, requires_grad=wanted, role_description=role_description)
        made._operation = operation
        return made

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self.set_value(value)

    @property
    def text(self) -> str:
        """The value as a person would read it; an image as its kind."""
        return shown(self._value)

    @property
    def is_image(self) -> bool:
        """Whether the value is an image."""
        return isinstance(self._value, bytes) or is_image(self._value)

    @property
    def json(self) -> JSON:
        """The value as JSON; an image as a content block."""
        return block(self._value) if isinstance(self._value, bytes) else self._value

    @property
    def predecessors(self) -> list[Variable]:
        """What the value was made from, in order, each once."""
        found = {id(use.variable): use.variable for use in (self._operation.inputs if self._operation else ())}
        return list(found.values())

    @property
    def gradients(self) -> Feedbacks:
        """The feedback, in the order in which `backward` put it there."""
        return self._gradients

    @gradients.setter
    def gradients(self, gradients: Iterable[Variable]) -> None:
        self._gradients = Feedbacks(gradients)

    @property
    def grad_fn(self) -> Operation | None:
        """What made the value; None where it was given."""
        return self._operation

    def use(self) -> Use:
        """The Variable as it is now, for an operation to record."""
        return Use(self, self._value, self._version, self._operation)

    def get_value(self) -> Any:
        """The value."""
        return self._value

    def set_value(self, value: Any) -> None:
        """Replace the value. What was computed from the old one keeps it, and is differentiated with it."""
        self._value = _plain(value)
        self._version += 1
        self._operation = None

    def get_role_description(self) -> str:
        """What the value is for."""
        return self.role_description

    def set_role_description(self, role_description: str) -> None:
        """Say what the value is for."""
        self.role_description = role_description

    def get_short_value(self, n_words_offset: int = 10) -> str:
        """The first and the last words, for showing. No request of this library uses it."""
        words = self.text.split(" ")
        if len(words) <= 2 * n_words_offset:
            return self.text
        return f"{' '.join(words[:n_words_offset])} (...) {' '.join(words[-n_words_offset:])}"

    def get_grad_fn(self) -> Operation | None:
        """What made the value; None where it was given."""
        return self._operation

    def set_grad_fn(self, grad_fn: BackwardContext | Operation | Any | None) -> None:
        """Say how the value was made, where no operation has recorded it.

        Args:
            grad_fn: An Operation; or a `BackwardContext` of `StringBasedFunction.backward_static`, which says what a function
                is for and what it was given.

        Raises:
            TypeError: It is anything else: how feedback becomes feedback on the inputs is the reverse pass's to say.
        """
        if isinstance(grad_fn, BackwardContext):
            self._operation = grad_fn.operation()
        elif grad_fn is None or isinstance(grad_fn, Operation):
            self._operation = grad_fn
        else:
            raise TypeError(
                f"{grad_fn!r} cannot be a gradient function: the reverse pass has one rule for each kind of operation. Make "
                "the value with StringBasedFunction, which says in words what a function is for, or name what it was made "
                "from as predecessors"
            )

    def get_gradient_text(self) -> str:
        """The feedback, line by line."""
        return "\n".join(feedback.text for feedback in self._gradients)

    def reset_gradients(self) -> None:
        """Clear the feedback, and forget that a loss has reached this Variable."""
        self._gradients = Feedbacks()
        self.reached = False

    def backward(self, engine: EngineLike | None = None, *, concurrency: int = 8, excerpt: int | None = None) -> None:
        """Put feedback on every Variable that had a part in this one, in a fixed order.

        Feedback from another loss is added to; feedback from an earlier pass over this one is replaced.

        Args:
            engine: Gives the feedback; the one of `set_backward_engine` if None.
            concurrency: Model calls at a time.
            excerpt: Tokens of each operation's inputs that are shown to the engine; what is longer loses its middle, where a
                mark says how much was cut. 2,400 of its trainable texts and 1,600 of the rest if None.

        Raises:
            NoEngine: There is none, and feedback has to be asked for.
            Exception: What the engine raised, unchanged. No feedback was put anywhere then.
        """
        run_sync(self.abackward(engine, concurrency=concurrency, excerpt=excerpt))

    async def abackward(
        self, engine: EngineLike | None = None, *, concurrency: int = 8, excerpt: int | None = None
    ) -> None:
        """See `backward`."""
        from textgrad_lg.eager.reverse import differentiate

        await differentiate(self, engine, concurrency=concurrency, excerpt=excerpt)

    def generate_graph(self, print_gradients: bool = False) -> Any:
        """The graph that led to this Variable, for looking at.

        Args:
            print_gradients: Whether to show the feedback too.

        Returns:
            A `graphviz.Source` where graphviz is installed, which notebooks draw; else an object whose `source` is the same
            text in the DOT language.
        """
        from textgrad_lg.eager.draw import draw

        return draw(self, print_gradients=print_gradients)

    def __add__(self, other: Any) -> Variable:
        return _joined(self, other) if isinstance(other, Variable | str) else NotImplemented

    def __radd__(self, other: Any) -> Variable:
        return _joined(other, self) if isinstance(other, str) else NotImplemented

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        grads = [feedback.text for feedback in self._gradients]
        return f"Variable(value={self.text}, role={self.role_description}, grads={grads})"


class Feedback(Variable):
    """Feedback on a Variable: a text, and where it came from.

    Attributes:
        gradient: The Gradient, with its Span, Trace, example and score.
        sources: Where it was merged from several: those.
        operation: The operation that it came through; None where it was merged.
        root: Tells apart the losses it may have come from.
    """

    def __init__(
        self,
        gradient: Gradient,
        role_description: str,
        *,
        root: object,
        operation: Operation | None = None,
        sources: tuple[Gradient, ...] = (),
    ) -> None:
        super().__init__(gradient.text, requires_grad=False, role_description=role_description)
        self.gradient, self.root, self.operation, self.sources = gradient, root, operation, sources


class Feedbacks(list[Variable]):
    """The feedback on a Variable, in a fixed order. Holds no Variable twice."""

    def __init__(self, feedback: Iterable[Variable] = ()) -> None:
        super().__init__()
        for one in feedback:
            self.add(one)

    def add(self, feedback: Variable) -> Self:
        """Add feedback by hand, or what `backward` has made."""
        if not any(known is feedback for known in self):
            self.append(feedback)
        return self


def _joined(left: Variable | str, right: Variable | str) -> Variable:
    parts = [part for part in (left, right) if isinstance(part, Variable)]
    for part in parts:
        if not isinstance(part.value, str):
            raise TypeError(f"only texts can be added; {part.role_description!r} is {type(part.value).__name__}")
    text = "".join(part.value if isinstance(part, Variable) else part for part in (left, right))
    role = " and ".join(part.role_description for part in parts)
    return Variable.made(text, role, Operation(SpanKind.FUNCTION, "add", tuple(p.use() for p in parts), combines=True))


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a scalar of numpy's
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        mime_type(value)
        return value
    if isinstance(value, str):
        return value
    try:
        # A copy, so that nobody can change what an operation has recorded.
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(value).__name__} is not a value of a Variable: give a text, the bytes of an image, or JSON ({error})"
        ) from error


def _image(place: str) -> bytes:
    if urlparse(place).scheme in {"http", "https"}:
        with urlopen(place, timeout=_SECONDS) as answer:  # noqa: S310  the schemes are those of the line above
            data = answer.read()
    else:
        data = Path(place).read_bytes()
    mime_type(data)
    return data
