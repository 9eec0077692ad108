"""trustcall: an extractor that patches what does not fit, and updates what is known already."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

ASK = "Extract the preferences from the following conversation:"


def _act(turn: Turn) -> Any:
    if "PatchFunctionErrors" in turn.offered or "PatchDoc" in turn.offered:
        name = "PatchFunctionErrors" if "PatchFunctionErrors" in turn.offered else "PatchDoc"
        ids = [call["id"] for message in turn.messages for call in getattr(message, "tool_calls", ())]
        patch = {"op": "replace", "path": "/age", "value": 41}
        return calls(
            (name, {"json_doc_id": ids[-1] if ids else "Person", "planned_edits": "set it", "patches": [patch]})
        )
    return calls(("Person", {"name": "Alex", "age": "forty"}))


def _build() -> Built:
    from langgraph.graph import StateGraph
    from pydantic import BaseModel, Field
    from trustcall import create_extractor

    class Person(BaseModel):
        """What is known of a person."""

        name: str = Field(description="The name they go by.")
        age: int = Field(description="Their age in years.")

    class State(TypedDict, total=False):
        conversation: str
        known: dict[str, Any] | None
        people: Annotated[list[Any], operator.add]

    model = Actor(act=_act)
    extractor = create_extractor(model, tools=[Person], tool_choice="Person")

    def given(state: State) -> Any:
        said = f"{ASK}\n<convo>\n{state['conversation']}\n</convo>"
        existing = {"existing": state["known"]} if state.get("known") else {}
        return {"messages": [("user", said)], **existing}

    def extract(state: State) -> State:
        return {"people": [at.model_dump() for at in extractor.invoke(given(state))["responses"]]}

    build = StateGraph(State).add_node(extract).add_edge("__start__", "extract")
    return Built(build.compile(), model)


CASES = [
    Other(
        "extractor that patches and updates",
        "trustcall",
        _build,
        [
            {"conversation": "Alex says: I am forty."},
            {"conversation": "Alex turned forty-one.", "known": {"Person": {"name": "Alex", "age": 40}}},
        ],
        ["extract", "patch", "extract_updates"],
        {
            "extract/extract/human": ASK,
            "extract/patch/human": ASK,
            "extract/extract_updates/system": "Generate JSONPatches to update the existing schema instances.",
            "extract/extract_updates/human": ASK,
        },
        unsure={"extract/patch/human": "what the reply says is applied as a JSON patch, and not found again as it was"},
    )
]
