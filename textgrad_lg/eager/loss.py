"""Losses: models as judges, which say in words what is wrong.

A loss is told to nobody twice. Where a judge's words are about one thing alone, they are its feedback as they stand, and the
reverse pass asks nobody for it; where it was given several things that could be at fault, one request asks which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from typing_extensions import override

from textgrad_lg.eager.autograd.llm_ops import LLMCall
from textgrad_lg.eager.autograd.multimodal_ops import OrderedFieldsMultimodalLLMCall
from textgrad_lg.eager.config import EngineLike, validate_engine_or_get_default
from textgrad_lg.eager.function import Module
from textgrad_lg.eager.variable import Variable

_JUDGE_ROLE = "system prompt for the evaluation"


class TextLoss(Module):
    """A judge that is told in words what to look at.

    Args:
        eval_system_prompt: What to look at: its system prompt.
        engine: Judges; the engine that is set if None.

    Raises:
        NoEngine: No engine is given and none is set.
    """

    def __init__(self, eval_system_prompt: Variable | str, engine: EngineLike | None = None) -> None:
        self.eval_system_prompt = _prompt(eval_system_prompt)
        self.engine = validate_engine_or_get_default(engine)
        self.llm_call = LLMCall(
            self.engine, self.eval_system_prompt, purpose=self.eval_system_prompt.text, verdict=True
        )

    @override
    def forward(self, instance: Variable) -> Variable:
        """What the judge says of `instance`."""
        return self.llm_call(instance, f"evaluation of the {instance.role_description}")


class MultiFieldEvaluation(Module):
    """A judge that compares several things.

    Args:
        evaluation_instruction: What to compare, and how.
        role_descriptions: What the things are, in order.
        engine: Judges; the engine that is set if None.
        system_prompt: Its system prompt.
    """

    def __init__(
        self,
        evaluation_instruction: Variable | str,
        role_descriptions: Sequence[str],
        engine: EngineLike | None = None,
        system_prompt: Variable | None = None,
    ) -> None:
        self.evaluation_instruction = _prompt(evaluation_instruction, "evaluation instruction")
        self.role_descriptions = list(role_descriptions)
        self.engine = validate_engine_or_get_default(engine)
        self.system_prompt = system_prompt or _prompt("You evaluate, by comparing the things that you are given.")
        self.llm_call = LLMCall(self.engine, self.system_prompt)

    @override
    def forward(self, inputs: Sequence[Variable]) -> Variable:
        """What the judge says.

        Args:
            inputs: The things, in the order of `role_descriptions`. They keep the roles that they have.

        Raises:
            ValueError: They are more or fewer than there are roles.
        """
        if len(inputs) != len(self.role_descriptions):
            raise ValueError(f"{len(self.role_descriptions)} things are compared, and {len(inputs)} are given")
        instruction = self.evaluation_instruction
        lines = [f"**{role}**: {given.text}" for role, given in zip(self.role_descriptions, inputs, strict=True)]
        content = "\n".join([instruction.text, *lines])
        return self.llm_call.called(
            content, [instruction, *inputs], "evaluation of the prediction", purpose=instruction.text
        )


class MultiFieldTokenParsedEvaluation(MultiFieldEvaluation):
    """As `MultiFieldEvaluation`, with a result between tags.

    Args:
        evaluation_instruction: What to compare, and how; it asks for the tags.
        role_descriptions: What the things are, in order.
        engine: Judges; the engine that is set if None.
        system_prompt: Its system prompt.
        parse_tags: The opening and the closing tag.
    """

    def __init__(
        self,
        evaluation_instruction: Variable | str,
        role_descriptions: Sequence[str],
        engine: EngineLike | None = None,
        system_prompt: Variable | None = None,
        parse_tags: Sequence[str] | None = None,
    ) -> None:
        super().__init__(evaluation_instruction, role_descriptions, engine, system_prompt)
        self.parse_tags = tuple(parse_tags or ("<ACCURACY>", "</ACCURACY>"))

    def parse_output(self, response: Variable) -> str:
        """What stands between the tags, without the white space around it.

        Raises:
            ValueError: The tags are not there, or not closed.
        """
        start, end = map(re.escape, self.parse_tags)
        found = re.search(f"{start}(.*?){end}", response.text, re.DOTALL)
        if found is None:
            raise ValueError(
                f"the evaluation has nothing between {self.parse_tags[0]} and {self.parse_tags[1]}: {response.text[:200]!r}; "
                "the instruction must ask for the tags, and the judge must follow it"
            )
        return found[1].strip()


class MultiChoiceTestTime(Module):
    """A judge of answers to multiple-choice questions, which does not know the answer.

    Args:
        evaluation_instruction: What to look at.
        engine: Judges; the engine that is set if None.
        system_prompt: Its system prompt.
    """

    def __init__(
        self, evaluation_instruction: str, engine: EngineLike | None = None, system_prompt: Variable | None = None
    ) -> None:
        self.evaluation_instruction = str(evaluation_instruction)
        self.engine = validate_engine_or_get_default(engine)
        self.tt_system_prompt = system_prompt or _prompt(
            "You examine an answer to a multiple-choice question, step by step: its reasoning and its choice. Name each step "
            "that may be wrong, and why. Be critical, and look at it from several sides. Do not solve the question."
        )
        self.llm_call = LLMCall(self.engine, self.tt_system_prompt, verdict=True)

    @override
    def forward(self, question: Variable | str, prediction: Variable) -> Variable:
        """What the judge says of `prediction`."""
        if isinstance(question, str):
            question = Variable(question, requires_grad=False, role_description="the multiple choice question")
        lines = [self.evaluation_instruction, f"Question: {question.text}", f"Answer: {prediction.text}"]
        role = f"evaluation of the {prediction.role_description}"
        return self.llm_call.called("\n".join(lines), [question, prediction], role, purpose=self.evaluation_instruction)


class ImageQALoss(Module):
    """A judge of answers to questions about an image.

    Args:
        evaluation_instruction: What to look at.
        engine: Judges; the engine that is set if None.
        system_prompt: Its system prompt.
    """

    def __init__(
        self, evaluation_instruction: str, engine: EngineLike | None = None, system_prompt: Variable | None = None
    ) -> None:
        self.evaluation_instruction = _prompt(evaluation_instruction, "evaluation instruction")
        self.engine = validate_engine_or_get_default(engine)
        self.system_prompt = system_prompt or _prompt("You evaluate answers to questions about images.")
        self.llm_call = OrderedFieldsMultimodalLLMCall(
            self.engine,
            ["Evaluation Instruction", "Question", "Image", "Answer"],
            self.system_prompt,
            purpose=self.evaluation_instruction.text,
            verdict=True,
        )

    @override
    def forward(self, image: Variable, question: Variable, response: Variable) -> Variable:
        """What the judge says of `response`."""
        given = [self.evaluation_instruction, question, image, response]
        fields = dict(zip(self.llm_call.fields, given, strict=True))
        return self.llm_call(fields, f"evaluation of the {response.role_description}")


def _prompt(text: Variable | str, role: str = _JUDGE_ROLE) -> Variable:
    return text if isinstance(text, Variable) else Variable(text, requires_grad=False, role_description=role)
