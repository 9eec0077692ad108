"""The task: orders that pass through a pipeline of model calls, each of which needs one instruction to do its part right.

A customer's order is read, priced and answered, by one node each. Orders hold traps: a cancelled line, a voucher, a customer
who names another currency. Without its node's instruction in the system prompt, a trap makes that node's part wrong, and the
node's reply shows it: the cancelled line is listed, the voucher is not taken off, the amount is in dollars. What is wrong is
passed on, so that the parts that follow look wrong without being at fault. The answer is right if all parts are.

Everything here is pure: what a node replies follows from the case, from its prompt, from what it was given, and from a draw.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from benchmarks.world.orders import Case, Failed, Line, money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TRAIN, VALIDATION, TEST = 36, 18, 18
"""Examples of each split."""
LOST = "There is nothing to go on."
"""What a node says that was not given what it needs."""
_THINGS = ("tea", "mug", "pan", "rug", "jar", "box", "pen", "map", "cup", "bag")
_ANSWER = re.compile(r"\bEUR \d+\.\d\d\b")
_VERDICT = re.compile(r"\bexpected EUR \d+\.\d\d\b")
_CASE = re.compile(r"\b\d{4}\b")


class Kind(StrEnum):
    """Which world it is. NOISY and NULL have the pipeline of PLAIN."""

    PLAIN = "plain"
    NOISY = "noisy"
    NULL = "null"
    LOOP = "loop"
    SEND = "send"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Node:
    """A model call of the program.

    Attributes:
        name: Its name in the program.
        prompt: The system prompt that it starts with. Its first sentence says whose prompt a text is.
        marker: The first line of the human message of each of its calls.
        instruction: What its prompt has to hold, as the critic words it.
        phrase: The part of the instruction that must be there word for word, in any case.
    """

    name: str
    prompt: str
    marker: str
    instruction: str
    phrase: str

    def holds(self, text: str) -> bool:
        """Whether the instruction is in a text."""
        return self.phrase in flat(text).lower()

    @property
    def opening(self) -> str:
        """The sentence by which the node's prompt is known."""
        return self.prompt.split(". ")[0].rstrip(".") + "."


_READ = Node(
    "read",
    "You read orders. List what is wanted.",
    "[step: read the order]",
    "Leave each line marked cancelled out of the list.",
    "line marked cancelled",
)
_PRICE = Node(
    "price",
    "You work out what an order comes to.",
    "[step: work out the sum]",
    "If there is one, subtract the voucher from the sum.",
    "subtract the voucher",
)
_LOOK_UP = Node(
    "price",
    "You work out what an order comes to.",
    "[step: work out the sum]",
    "If there is one, look up the voucher with the tool.",
    "look up the voucher",
)
_LINE = Node(
    "line",
    "You work out what one line of an order makes.",
    "[step: work out a line]",
    "Where a line is on offer, halve the amount.",
    "halve the amount",
)
_CHECK = Node(
    "check",
    "You check what has been worked out.",
    "[step: check the sum]",
    "In the end, add the delivery costs where there are any.",
    "add the delivery costs",
)
_REPLY = Node(
    "reply",
    "You tell the customer what to pay.",
    "[step: answer the customer]",
    "Always quote in euro, whatever currency the customer names.",
    "quote in euro",
)
_PIPELINES: Mapping[Kind, tuple[Node, ...]] = {
    **dict.fromkeys((Kind.PLAIN, Kind.NOISY, Kind.NULL), (_READ, _PRICE, _REPLY)),
    Kind.LOOP: (_READ, _PRICE, _CHECK, _REPLY),
    Kind.SEND: (_READ, _LINE, _REPLY),
    Kind.TOOLS: (_READ, _LOOK_UP, _REPLY),
}


@dataclass(frozen=True)
class Task:
    """The task of one world and seed.

    Attributes:
        kind: Which world.
        seed: All chance comes from it.
    """

    kind: Kind = Kind.PLAIN
    seed: int = 0

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The nodes by name, in the order in which they run."""
        return {node.name: node for node in _PIPELINES[self.kind]}

    @cached_property
    def splits(self) -> dict[str, tuple[Case, ...]]:
        """The cases of "train", "validation" and "test". All splits need the same mixture of instructions."""
        draw = random.Random(f"{self.kind}/{self.seed}")
        # The null and the noisy world have other orders than the plain one, but they are made in the same way.
        ids = iter(draw.sample(range(1000, 10000), TRAIN + VALIDATION + TEST))
        answers: set[str] = set()
        found: dict[str, tuple[Case, ...]] = {}
        for name, count in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
            mixed = mixture(tuple(self.nodes), count)
            draw.shuffle(mixed)
            found[name] = tuple(self._case(str(next(ids)), needs, draw, answers) for needs in mixed)
        return found

    @cached_property
    def cases(self) -> dict[str, Case]:
        """All cases, by id."""
        return {case.id: case for cases in self.splits.values() for case in cases}

    def split_of(self, case: Case) -> str:
        """The split that a case is of."""
        return next(name for name, cases in self.splits.items() if case in cases)

    def node_at(self, message: str) -> Node | None:
        """The node that a human message is of."""
        return next((node for node in self.nodes.values() if node.marker in message), None)

    def node_of(self, prompt: str) -> Node | None:
        """The node whose prompt a text is, or was made of; None where it is of none, or of several."""
        text = flat(prompt)
        found = [node for node in self.nodes.values() if node.opening in text]
        return found[0] if len(found) == 1 else None

    def case_in(self, message: str) -> Case | None:
        """The case that a message is about."""
        return next((self.cases[name] for name in _CASE.findall(message) if name in self.cases), None)

    def said(self, case: Case, node: str, failed: Failed, line: Line | None = None) -> str:
        """What a node says about a case, where these nodes went wrong; of one `line` only where the node works on lines.

        Its reply has the case's `notes` behind that, except for the last node's.
        """
        if node == "read":
            return f"Lines of {case.id}: {', '.join(case.listed(failed))}."
        if node == "line":
            wanted = case.lines[0] if line is None else line
            cents = next(cents for one, cents in case.amounts(failed | {"read"}) if one == wanted)
            return f"Line of {case.id}: {wanted.count} x {wanted.thing} makes {money(cents)}."
        if node == "check":
            return f"With all costs, {case.id} comes to {money(case.total(failed))}."
        if node == "reply":
            return f"{'USD' if 'reply' in failed else 'EUR'} {money(case.total(failed))}"
        # What follows in the pipeline has not gone wrong yet, and has not been done either.
        return f"The sum of {case.id} is {money(case.total(failed | {'check'}))}."

    def variants(self, case: Case, node: str) -> dict[str, Failed]:
        """Everything that a node may say about a case, and what has gone wrong where it says so."""
        return self._variants[case.id, node]

    @cached_property
    def _variants(self) -> dict[tuple[str, str], dict[str, Failed]]:
        return {(case.id, node): self._every(case, node) for case in self.cases.values() for node in self.nodes}

    def _every(self, case: Case, node: str) -> dict[str, Failed]:
        names = list(self.nodes)
        upto = [name for name in names[: names.index(node) + 1] if name in case.needs]
        if node == "line":
            found = {self.said(case, node, frozenset(), line): frozenset[str]() for line in case.lines}
            if case.halved is not None:
                found[self.said(case, node, frozenset({"line"}), case.lines[case.halved])] = frozenset({"line"})
            if case.cancelled is not None:
                found[self.said(case, node, frozenset(), case.cancelled)] = frozenset({"read"})
            return found
        return {self.said(case, node, failed): failed for failed in subsets(upto)}

    def given(self, case: Case, node: str, message: str) -> Failed | None:
        """What had gone wrong before a node was called, by what its message holds; None where it holds nothing to go on."""
        names = list(self.nodes)
        at = names.index(node)
        if at == 0 or node == "line":
            return frozenset()
        text = flat(message)
        found = [failed for said, failed in self.variants(case, names[at - 1]).items() if said in text]
        return frozenset[str]().union(*found) if found else None

    def evident(self, text: str) -> tuple[Node, ...]:
        """The nodes whose defective reply stands in a text together with the answer that was expected."""
        text = flat(text)
        wanted = set(_ANSWER.findall(text))
        cases = [case for case in self.cases.values() if case.answer in wanted and case.needs]
        return tuple(
            node
            for node in self.nodes.values()
            if any(
                node.name in failed and said in text
                for case in cases
                if node.name in case.needs
                for said, failed in self.variants(case, node.name).items()
            )
        )

    def named(self, text: str) -> tuple[Node, ...]:
        """The nodes whose instruction a text holds."""
        return tuple(node for node in self.nodes.values() if node.holds(text))

    def failures(self, text: str) -> tuple[str, ...]:
        """What a text shows of failures, in words: each verdict with what was expected, and the defective replies with it."""
        text = flat(text)
        verdicts = list(dict.fromkeys(_VERDICT.findall(text)))
        wanted = set(_ANSWER.findall(text))
        seen = [
            said
            for case in self.cases.values()
            if case.answer in wanted
            for node in self.nodes
            for said, failed in self.variants(case, node).items()
            if node in failed and said in text
        ]
        return (*verdicts, *seen)

    def spoilt(self, text: str) -> bool:
        """Whether a text holds what some node says where something has gone wrong, in that node or before it."""
        text = flat(text)
        return any(said in text for said in self._spoilt)

    @cached_property
    def _spoilt(self) -> tuple[str, ...]:
        return tuple(
            said
            for case in self.cases.values()
            for node in self.nodes
            for said, failed in self.variants(case, node).items()
            if failed
        )

    def score(
        self, texts: Mapping[str, str], split: str = "test", *, obey: float = 1.0, luck: float | None = None
    ) -> float:
        """The share of right answers to expect of a split, without any model call.

        Args:
            texts: The prompt of each node; the prompt it starts with where none is given.
            split: Which split.
            obey: How often a node does as its instruction says.
            luck: How often it does so without the instruction; in the null world `obey`, else never.
        """
        luck = (obey if self.kind is Kind.NULL else 0.0) if luck is None else luck
        chance = {name: obey if node.holds(texts.get(name, node.prompt)) else luck for name, node in self.nodes.items()}
        cases = self.splits[split]
        return sum(_product(chance[name] for name in case.needs) for case in cases) / len(cases)

    def _case(self, name: str, needs: Failed, draw: random.Random, answers: set[str]) -> Case:
        """A case that needs these nodes' instructions, whose every way to go wrong gives another amount."""
        while True:
            things = draw.sample(_THINGS, 4)
            lines = tuple(Line(draw.randint(1, 5), thing, draw.randint(200, 1900) // 10 * 10) for thing in things[:3])
            case = Case(
                id=name,
                lines=lines[: draw.randint(2, 3)],
                cancelled=Line(draw.randint(1, 3), things[3], draw.randint(200, 1900)) if "read" in needs else None,
                voucher=draw.randint(101, 199) if "price" in needs else 0,
                delivery=draw.randint(201, 699) if "check" in needs else 0,
                halved=draw.randrange(2) if "line" in needs else None,
                dollars="reply" in needs,
                needs=needs,
                tools=self.kind is Kind.TOOLS,
            )
            ways = [case.total(failed) for failed in subsets(sorted(needs - {"reply"}))]
            if len(set(ways)) == len(ways) and answers.isdisjoint(map(money, ways)):
                answers.update(map(money, ways))
                return case


def mixture(nodes: tuple[str, ...], count: int) -> list[Failed]:
    """Which instructions each of `count` cases needs: none in 1 of 9, all in 2 of 9 or more, every other set equally often."""
    some = [frozenset(found) for size in range(len(nodes)) for found in combinations(nodes, size)]
    units = [*some, *[frozenset(nodes)] * (2 if len(nodes) == 3 else 3)]
    return [units[at % len(units)] for at in range(count)]


def subsets(names: Iterable[str]) -> list[Failed]:
    """All subsets, smallest first."""
    every = list(names)
    return [frozenset(found) for size in range(len(every) + 1) for found in combinations(every, size)]


def right(output: object, answer: str) -> bool:
    """Whether an output is the right answer: the answer itself, whatever white space is around it."""
    return str(output).strip() == answer


def comment(output: object, answer: str) -> str:
    """What an evaluator says of an output, in words; the same for every library that is compared."""
    return "right" if right(output, answer) else f"expected {answer}, got {output}"


def flat(text: str) -> str:
    """A text as it is searched: escaped and real line breaks and runs of white space are one blank."""
    return " ".join(text.replace("\\n", " ").split())


def _product(values: Iterable[float]) -> float:
    result = 1.0
    for value in values:
        result *= value
    return result
