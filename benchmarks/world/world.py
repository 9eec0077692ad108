"""The world: how it answers a call, be it of a node of the program or of the critic."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks.world import formats, forms
from benchmarks.world.asked import Answer
from benchmarks.world.critic import Critic
from benchmarks.world.log import WORKER
from benchmarks.world.task import LOST, Kind, Task, flat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.world.asked import Asked
    from benchmarks.world.orders import Case, Failed
    from benchmarks.world.task import Node

OBEY = {Kind.NOISY: 0.8, Kind.NULL: 0.6}
"""How often a node does as it should, by kind of world; always where none is given. In the null world, whatever its prompt."""
AGAIN = "Have another look at order {case}."
"""What the world with a loop says on its first visit of the node that checks."""
FIRST_VISIT = "[visit 1]"
"""What the human message of that visit holds."""


@dataclass
class World:
    """A task, and how reliably its instructions work.

    Attributes:
        task: The task.
        obey: How often a node does as its instruction says; None for what the kind of world has.
        salt: Whether no two of the critic's replies are alike, so that no cache of a client can hide a call.
    """

    task: Task
    obey: float | None = None
    salt: bool = False
    _asked: Counter[str] = field(default_factory=Counter[str])
    _criticised: int = 0

    @property
    def chance(self) -> float:
        """How often a node does as its instruction says."""
        return OBEY.get(self.task.kind, 1.0) if self.obey is None else self.obey

    def answer(self, asked: Asked) -> Answer:
        """What a call is answered."""
        if asked.model == WORKER:
            return self._work(asked)
        self._criticised += 1
        critic = Critic(self.task, asked.text, f"note {self._criticised}" if self.salt else "")
        found = forms.answered(asked, critic) or formats.answered(asked, critic)
        if found is not None:
            return found
        return Answer("other", " ".join(map(critic.feedback, critic.insights())) or critic.advice())

    def described(self) -> dict[str, Any]:
        """What a program and its evals have to know: no more than a user would."""
        return {
            "kind": self.task.kind,
            "nodes": [
                {"name": node.name, "prompt": node.prompt, "marker": node.marker} for node in self.task.nodes.values()
            ],
            **{
                name: [{"id": case.id, "question": case.question, "answer": case.answer} for case in cases]
                for name, cases in self.task.splits.items()
            },
        }

    def scored(self, texts: Mapping[str, str], split: str) -> dict[str, Any]:
        """The share of right answers to expect of a split, and the nodes whose instruction is in place."""
        held = [node.name for node in self.task.nodes.values() if node.holds(texts.get(node.name, node.prompt))]
        return {"score": self.task.score(texts, split, obey=self.chance), "held": held}

    def _work(self, asked: Asked) -> Answer:
        call = formats.read_call(asked.body)
        node, case = self.task.node_at(call.human), self.task.case_in(call.human)
        if node is None or case is None:
            return Answer("other", LOST)
        reply = Answer(node.name, split=self.task.split_of(case))
        if node.name == "check" and FIRST_VISIT in call.human:
            return replace(reply, text=AGAIN.format(case=case.id))
        given = self.task.given(case, node.name, call.human)
        if given is None:
            return replace(reply, text=formats.answer_call(call, LOST))
        needed = node.name in case.needs
        looked_up = asked.messages[-1].get("role") == "tool"
        wrong = needed and not looked_up and not self._does(node, call.system, asked)
        if asked.tools and needed and not looked_up and not wrong:
            name = str(asked.tools[0]["function"]["name"])
            return replace(reply, calls=((name, {"code": case.code}),))
        failed = given | {node.name} if wrong else given
        text = formats.answer_call(call, self._says(case, node, failed, call.human))
        return replace(reply, text=text, solved=self._solved(case, node, call.system, failed))

    def _says(self, case: Case, node: Node, failed: Failed, message: str) -> str:
        lines = [*case.lines, *([case.cancelled] if case.cancelled else [])]
        asked = [line for line in lines if re.search(rf"\b{re.escape(str(line))}\b", flat(message))]
        last = node.name == list(self.task.nodes)[-1]
        return self.task.said(case, node.name, failed, asked[0] if asked else None) + ("" if last else case.notes)

    def _does(self, node: Node, system: str, asked: Asked) -> bool:
        """Whether the node does its part right. The draw is by the request and by how often it was made."""
        if self.task.kind is not Kind.NULL and not node.holds(system):
            return False
        if self.chance >= 1:
            return True
        request = hashlib.sha256(f"{system}\n\n{asked.text}".encode()).hexdigest()
        self._asked[request] += 1
        return random.Random(f"{self.task.seed}/{request}/{self._asked[request]}").random() < self.chance

    def _solved(self, case: Case, node: Node, system: str, failed: Failed) -> bool:
        """Whether this is a run's last call and shows that every node has its instruction.

        The last node's own prompt is seen; of the others it is only known that they have done right what the case needed.
        """
        names = list(self.task.nodes)
        return node.name == names[-1] and node.holds(system) and not failed and {*names[:-1]} <= case.needs
