"""majority_vote: the answer that most of several iterates give."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from textgrad_lg.eager.operation import Operation
from textgrad_lg.eager.variable import Variable
from textgrad_lg.types import SpanKind


def majority_vote(
    iterates: Sequence[Variable],
    key: Callable[[str], Hashable | None] | None = None,
    *,
    role_description: str = "the answer that most of the iterates give",
) -> Variable:
    """The first of the iterates that give the most frequent answer.

    Example:
        >>> answers = [Variable(text, role_description="answer") for text in ("B", "A", "A")]
        >>> majority_vote(answers).value
        'A'

    Args:
        iterates: The iterates, as of one text before and after each step. Keep them as Variables of their own.
        key: The answer in an iterate's text; None where it gives none, which is no vote. The text itself by default.
        role_description: What the result is for.

    Returns:
        A Variable with the winning iterate's value; of equally frequent answers, the one given first wins. Where no iterate
        gives an answer, it is the last iterate's. Feedback on it goes to each iterate.

    Raises:
        ValueError: There are no iterates.
    """
    if not iterates:
        raise ValueError("there is nothing to vote on: the list of iterates is empty")
    votes: dict[Hashable, list[Variable]] = {}
    for iterate in iterates:
        answer = iterate.text if key is None else key(iterate.text)
        if answer is not None:
            votes.setdefault(answer, []).append(iterate)
    winner = max(votes.values(), key=len)[0] if votes else iterates[-1]
    operation = Operation(SpanKind.FUNCTION, "majority_vote", tuple(iterate.use() for iterate in iterates))
    return Variable.made(winner.value, role_description, operation)
