"""Merging many Gradients into one bounded text, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg.templates import clip, tokens_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg.gradient import Gradient


def distinct(gradients: Iterable[Gradient]) -> tuple[str, ...]:
    """The feedback texts without repetitions: worst score first, then the most often said, then the first mentioned.

    A Gradient without a score counts as the worst, 0. Texts that differ only in white space are the same.
    """
    return tuple(text for text, _, _ in _ranked(gradients))


def reduce(gradients: Sequence[Gradient], *, tokens: int = 600, each: int | None = None) -> str:
    """The feedback as one list, in the order of `distinct`, each text once, with its score and how often it was said.

    Args:
        gradients: Gradients on one Parameter, or on anything.
        tokens: Hard cap of the result. What does not fit is counted in the last line, and the first text is clipped
            rather than left out.
        each: Hard cap in tokens of each text, so that a long one cannot crowd out the rest; none if None.

    Returns:
        One line an item, `- text (score 0, 3 examples)`; empty where there are no Gradients.
    """
    ranked = _ranked(gradients)
    lines: list[str] = []
    for at, (whole, score, examples) in enumerate(ranked):
        text = whole if each is None else clip(whole, each)
        said = f"{examples} examples" if examples > 1 else "1 example"
        line = f"- {text} ({f'score {score:g}, ' if score is not None else ''}{said})"
        rest = len(ranked) - at - 1
        ending = [_more(rest)] if rest else []
        if at == 0:
            line = clip(line, tokens - tokens_in("".join(ending)) - len(ending))
        if at and tokens_in("\n".join([*lines, line, *ending])) > tokens:
            return clip("\n".join([*lines, _more(rest + 1)]), tokens)
        lines.append(line)
    return "\n".join(lines)


def _more(texts: int) -> str:
    return f"(and {texts} more)"


def _ranked(gradients: Iterable[Gradient]) -> list[tuple[str, float | None, int]]:
    """Text, worst score, and the number of examples that said it; ranked."""
    texts: dict[str, str] = {}
    scores: dict[str, list[float | None]] = {}
    examples: dict[str, set[str]] = {}
    for gradient in gradients:
        key = " ".join(gradient.text.split())
        if not key:
            continue
        texts.setdefault(key, gradient.text.strip())
        scores.setdefault(key, []).append(gradient.score)
        examples.setdefault(key, set()).add(gradient.example or gradient.trace)
    worst = {key: None if None in said else min(s for s in said if s is not None) for key, said in scores.items()}
    # Sorting is stable, so the first mentioned comes first among equals.
    keys = sorted(texts, key=lambda key: (worst[key] or 0.0, -len(examples[key])))
    return [(texts[key], worst[key], len(examples[key])) for key in keys]
