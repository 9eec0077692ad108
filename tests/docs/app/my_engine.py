"""The model that the examples of docs/textgrad.md talk to: it knows nothing but what stands in its requests."""

import json
import re

from textgrad_lg.testing import ScriptedChatModel

RULE = "Write the number alone."


def _shown(label, request):
    found = re.search(rf"<<<DATA {label}[^\n]*>>>\n(.*?)\n<<<END", request, re.DOTALL)
    return found[1] if found else ""


def _feedback(request):
    """Blames a prompt or an answer only where the request shows that the answer was wrong."""
    told = RULE if "is wrong" in request or "the right number: " in request or f"- {RULE}" in request else ""
    wanted = re.findall(r"\b[PV]\d+\b", request.rpartition("Give feedback on")[2])
    said = [{"id": name, "feedback": told} for name in wanted]
    return {"feedback": said, "about_this": said, "about_inputs": said}


def _step(request):
    old, feedback = _shown("the text now", request), _shown("feedback", request)
    if "division by 6" in feedback:
        return {"why": "It was forgotten.", "text": old.replace("7 + 5", "(7 + 5) / 6")}
    return {"why": "The answers were sentences.", "text": f"{old} {RULE}" if RULE in feedback else old}


def _reply(messages):
    system, request = messages[0].text, messages[-1].text
    if system.startswith("You are the critic"):
        return _feedback(request)
    if system.startswith("You improve one text"):
        return _step(request)
    if "errors" in system:
        return "It is right." if "/ 6" in request else "The division by 6 is missing: that is wrong."
    total = sum(map(int, re.findall(r"\d+", request)))
    return json.dumps(total) if RULE in system else f"You have {total} things."


engine = ScriptedChatModel(replies=_reply)
