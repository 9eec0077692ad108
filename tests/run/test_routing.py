"""A prompt that decides where to go is repaired end to end, though its words are in no output."""

from __future__ import annotations

import re

import pytest

from tests.autograd import routers
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.events import BackwardFinished
from textgrad_lg.testing import ScriptedChatModel


def questions(count=40):
    """Half of them belong to the desk that is never chosen."""
    return [
        {
            "inputs": {"q": f"May I keep {at} hens?" if at % 2 else f"What do {at} hens cost?"},
            "reference_outputs": {"answer": "It is allowed." if at % 2 else "It costs four."},
        }
        for at in range(count)
    ]


def right(outputs, reference_outputs):
    want = reference_outputs["answer"]
    return outputs.get("answer") == want, f"expected {want!r}, got {outputs.get('answer')!r}"


def told(outputs, reference_outputs):
    """With a comment that is advice, as the structural strategy needs it."""
    return outputs.get("answer") == reference_outputs["answer"], routers.WANTED


def critic():
    """Blames the choice where the request shows that a choice was made, and that the other one would have been right."""

    def reply(messages):
        system, request = messages[0].text, messages[-1].text
        if "alternatives" in system or "alternative" in request:
            text = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
            asked = routers.WANTED if routers.WANTED in request else "Do your best."
            return {"alternatives": [{"why": "asked for", "text": f"{text[1] if text else ''}\n\n{asked}"}]}
        chose = re.search(r"next node, chosen by `\w+`: (one|good)", request)
        prompt = re.search(rf"<<<DATA (P\d): [^\n]*>>>\n{re.escape(routers.TRIAGE)}", request)
        wrong = chose and prompt and "expected 'It is allowed.'" in request
        said = [{"id": prompt[1], "feedback": f"Say this: {routers.WANTED}"}] if wrong and prompt else []
        return {"feedback": said, "about_this": said, "about_inputs": []}

    return ScriptedChatModel(replies=reply, model_name="critic")


@pytest.mark.parametrize(
    ("form", "strategy"),
    [
        *((form, Strategy.CHAIN) for form in ("by_edge", "by_command", "by_send", "by_handoff", "by_end")),
        ("by_command", Strategy.FUSED),
        ("by_command", Strategy.STRUCTURAL),
    ],
)
def test_a_prompt_that_chooses_wrongly_is_repaired(form, strategy):
    structural = strategy is Strategy.STRUCTURAL
    events = []
    result = optimize(
        routers.FORMS[form](routers.model()),
        Evals(questions(), [told if structural else right]),
        model=None if structural else critic(),
        settings=Settings(steps=2, batch=6, strategy=strategy),
        registry=MemoryRegistry(),
        callbacks=[events.append],
    )
    (site,) = result.texts
    text = result.texts[site].new.text
    assert routers.TRIAGE in text
    assert routers.WANTED in text
    assert result.validation.before < 0.7
    assert result.validation.after == result.test.after == 1.0
    assert result.improved
    blamed = {at for event in events if isinstance(event, BackwardFinished) for at in event.gradients.parameters()}
    if not structural:
        assert blamed == {site}
