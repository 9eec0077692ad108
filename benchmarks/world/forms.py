"""How the critic answers in the forms that this library asks for: feedback by id, new versions, edits, plans."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from benchmarks.world.asked import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.world.asked import Asked
    from benchmarks.world.critic import Critic

_FENCE = re.compile(r"<<<DATA ([^>\n]*?) ?([0-9a-f]{8}|[0-9a-f]{16})>>>\n(.*?)\n<<<END \2>>>", re.DOTALL)
_ID = re.compile(r"([PVSG]\d+)(?::| now\b)")
_WANTED = re.compile(r"Give feedback on(?: what is at fault among)?: ([^\n]*?)\.?$", re.MULTILINE)
_COUNT = re.compile(r"Write (\d+|one)\b")


def answered(asked: Asked, critic: Critic) -> Answer | None:
    """The reply to a request in one of this library's forms; None for a request in no such form.

    The form is a JSON schema for the reply, or the schema of the only tool.
    """
    schema, tool = asked.schema, ""
    if not schema and len(asked.tools) == 1:
        function = asked.tools[0].get("function", {})
        tool = str(function.get("name", ""))
        schema = {"title": tool, **function.get("parameters", {})}
    properties = set(schema.get("properties", {}))
    form = next((form for keys, form in _FORMS if keys == properties), None)
    if form is None:
        return None
    kind, values = form(asked.text, critic)
    return Answer(kind, calls=((tool, values),)) if tool else Answer(kind, json.dumps(values))


def fences(text: str) -> dict[str, str]:
    """The fenced parts of a request: by id where their label begins with one, else by label."""
    found: dict[str, str] = {}
    for label, _, body in _FENCE.findall(text):
        name = _ID.match(label)
        found.setdefault(name[1] if name else label, body)
    return found


def _criticisms(text: str, critic: Critic) -> list[tuple[str, str]]:
    """Feedback by id: on prompts whose node may be named, and on what was given where it is visibly wrong.

    Where nothing can be told, the advice goes to the last prompt that was asked about, the one nearest to the output.
    """
    parts = fences(text)
    asked = _WANTED.search(text)
    wanted = [name.strip() for name in asked[1].split(",")] if asked else [name for name in parts if len(name) == 2]
    known = critic.insights()
    prompts = [name for name in wanted if name.startswith("P")]
    found: list[tuple[str, str]] = []
    for name in wanted:
        body = parts.get(name, "")
        if name in prompts:
            node = critic.task.node_of(body)
            if node in known and node is not None:
                found.append((name, critic.feedback(node)))
        elif critic.task.spoilt(body):
            blamed = [node for node in critic.task.nodes.values() if node in known and _shows(critic, node.name, body)]
            said = " ".join(map(critic.feedback, blamed))
            found.append((name, said or "This does not lead to the expected answer."))
    if not found and prompts:
        found.append((prompts[-1], critic.advice()))
    return found


def _shows(critic: Critic, node: str, text: str) -> bool:
    """Whether a node's own defect stands in a text."""
    return any(
        node in failed and said in text
        for case in critic.task.cases.values()
        for said, failed in critic.task.variants(case, node).items()
    )


def _split(text: str, critic: Critic) -> tuple[str, dict[str, Any]]:
    said = [{"id": name, "feedback": feedback} for name, feedback in _criticisms(text, critic)]
    return "gradient", {
        "about_this": [item for item in said if item["id"].startswith("P")],
        "about_inputs": [item for item in said if not item["id"].startswith("P")],
    }


def _feedback(text: str, critic: Critic) -> tuple[str, dict[str, Any]]:
    said = [{"id": name, "feedback": feedback} for name, feedback in _criticisms(text, critic)]
    return "gradient", {"feedback": said}


def _alternatives(text: str, critic: Critic) -> tuple[str, dict[str, Any]]:
    old = _now(text)
    versions = [{"why": _why(at), "text": critic.improved(old, at)} for at in range(_count(text))]
    return "proposal", {"alternatives": versions}


def _patches(text: str, critic: Critic) -> tuple[str, dict[str, Any]]:
    if "sections" not in text:
        return _alternatives(text, critic)
    old = _now(text)
    node = critic.task.node_of(old)
    quote = node.opening if node is not None else old.split("\n")[0]
    edits = [
        {
            "section": "",
            "quote": quote,
            "action": "insert_after",
            "replacement": critic.improved(quote, at).removeprefix(quote),
            "why": _why(at),
        }
        for at in range(_count(text))
    ]
    return "proposal", {"alternatives": [{"why": edit["why"], "edits": [edit]} for edit in edits]}


def _plans(text: str, critic: Critic) -> tuple[str, dict[str, Any]]:
    """Plans for all texts that can be told something about; if there is none, advice for the first text."""
    texts = {name: body for name, body in fences(text).items() if re.fullmatch(r"P\d+", name)}
    known = critic.insights()
    helped = [
        name
        for name, body in texts.items()
        if (node := critic.task.node_of(body)) is not None and node in known and not node.holds(body)
    ]
    plans = [
        {
            "why": _why(at),
            "edits": [
                {
                    "parameter": name,
                    "quote": "",
                    "action": "replace",
                    "replacement": critic.improved(texts[name], at),
                }
                for name in (helped or list(texts)[:1])
            ],
        }
        for at in range(_count(text))
    ]
    return "proposal", {"plans": plans}


def _now(text: str) -> str:
    """The text that is to be made better: the one that is fenced as such."""
    parts = fences(text)
    return next((body for name, body in parts.items() if "the text now" in name), next(iter(parts.values()), ""))


def _count(text: str) -> int:
    asked = _COUNT.search(text)
    return 1 if asked is None or asked[1] == "one" else int(asked[1])


def _why(at: int) -> str:
    return "It asks for what was missing." if at == 0 else f"It says the same in another place ({at})."


_FORMS: tuple[tuple[set[str], Callable[[str, Critic], tuple[str, dict[str, Any]]]], ...] = (
    ({"about_this", "about_inputs"}, _split),
    ({"feedback"}, _feedback),
    ({"alternatives"}, _patches),
    ({"plans"}, _plans),
)


def filled(schema: Mapping[str, Any], words: Callable[[], str]) -> Any:
    """A value of any JSON schema, for a form that nothing more is known of: every text is what `words` says."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})

    def value(part: Mapping[str, Any]) -> Any:
        if "$ref" in part:
            return value(definitions[str(part["$ref"]).rsplit("/", 1)[-1]])
        for choices in ("anyOf", "oneOf", "allOf"):
            if part.get(choices):
                return value(part[choices][0])
        if part.get("enum"):
            return part["enum"][0]
        kind = part.get("type", "object" if "properties" in part else "string")
        if kind == "object":
            return {name: value(item) for name, item in part.get("properties", {}).items()}
        if kind == "array":
            return [value(part.get("items", {}))]
        return {"integer": 0, "number": 0.0, "boolean": False, "null": None}.get(str(kind), words())

    return value(schema)
