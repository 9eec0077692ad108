"""The critic: what writes feedback and new prompts. It knows what its request shows, and nothing else.

It may name a node's instruction if the request holds that node's defective reply and the answer that was expected, or if the
request holds the instruction already, as it does where feedback that names it is carried. Without any of that it writes
advice that sounds well and does not help. Libraries ask in their own forms; what may be said is decided here for all of them
alike, and how it is said by `forms` for this library and by `formats` for the others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.world.task import Kind, flat

if TYPE_CHECKING:
    from benchmarks.world.task import Node, Task

_VERBS = ("Check", "Think over", "Go through", "Keep in mind", "Look closely at", "Pay attention to")
_WHAT = ("all that is asked", "the details", "the customer's wishes", "the form of the reply", "the whole message")
_HOW = ("before you reply", "with great care", "once more at the end", "step by step", "as an expert would")
_LAYOUTS = ("{old}\n{new}", "{old}\n\nRules:\n{new}", "{old}\nMind this: {new}", "{old}\n\nAlways:\n- {new}")


@dataclass(frozen=True)
class Critic:
    """What the critic knows of one request.

    Attributes:
        task: The task.
        text: All that the request says.
        salt: Put into useless advice, so that no two replies are alike; empty for replies that the request decides alone.
    """

    task: Task
    text: str
    salt: str = ""

    def insights(self, text: str | None = None) -> tuple[Node, ...]:
        """The nodes whose instruction may be named, from a part of the request or, if None, from all of it."""
        if self.task.kind is Kind.NULL:
            return ()
        text = self.text if text is None else text
        known = {node.name for node in (*self.task.evident(text), *self.task.named(text))}
        return tuple(node for node in self.task.nodes.values() if node.name in known)

    def feedback(self, node: Node) -> str:
        """What is said of a node's prompt where its instruction may be named."""
        return node.instruction

    def advice(self, at: int = 0) -> str:
        """Advice that sounds well and helps nobody. The request decides which; `at` gives others."""
        draw = random.Random(f"{self.task.seed}/{self.salt}/{at}/{flat(self.text)}")
        words = f"{draw.choice(_VERBS)} {draw.choice(_WHAT)} {draw.choice(_HOW)}"
        return f"{words} ({self.salt})." if self.salt else f"{words}."

    def improved(self, old: str, at: int = 0, text: str | None = None) -> str:
        """A new version of a prompt: with its node's instruction if that may be named and is not there yet, else with advice.

        Args:
            old: The prompt.
            at: Which of several versions; they differ in their words, not in what they know.
            text: The part of the request to know it from; all of it if None.
        """
        node = self.task.node_of(old)
        known = node is not None and node in self.insights(text) and not node.holds(old)
        new = node.instruction if known and node is not None else self.advice(at)
        if known and self.salt:
            new = f"{new} {self.advice(at)}"
        return _LAYOUTS[at % len(_LAYOUTS)].format(old=old.rstrip(), new=new)
