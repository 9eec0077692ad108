"""What the desk's owner wants of it: the label, and nothing but the label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textgrad_lg import Evals

REVIEWS = Path(__file__).with_name("reviews.jsonl")


def one_word_label(outputs: Mapping[str, str], reference_outputs: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the label is right, and what is asked of a label."""
    return outputs["label"] == reference_outputs["label"], "Answer with one word: positive or negative."


def build_evals() -> Evals:
    """The desk's evals: 250 reviews written for this example, in three splits."""
    return Evals(REVIEWS, [one_word_label], goal="Label each film review, and answer the guest.")
