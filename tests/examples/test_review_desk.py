"""The review desk's data and graph are what the demo says they are."""

import json
from collections import Counter

from examples.review_desk.evals import REVIEWS, build_evals, one_word_label
from examples.review_desk.graph import build_graph
from textgrad_lg.record import discover, record
from textgrad_lg.testing import ScriptedChatModel


def test_the_reviews_are_many_balanced_and_different():
    rows = [json.loads(line) for line in REVIEWS.read_text().splitlines()]
    assert len(rows) == len(build_evals().examples) >= 240
    assert len({row["inputs"]["review"] for row in rows}) == len(rows)
    counts = Counter((row["metadata"]["split"], row["reference_outputs"]["label"]) for row in rows)
    assert {split for split, _ in counts} == {"train", "validation", "test"}
    assert all(counts[split, "positive"] == counts[split, "negative"] for split, _ in counts)


def test_the_evaluator_gives_the_score_and_the_advice():
    score, comment = one_word_label({"label": "positive"}, {"label": "positive"})
    assert score is True
    assert comment == "Answer with one word: positive or negative."
    assert one_word_label({"label": "Positive."}, {"label": "positive"})[0] is False


def test_every_prompt_of_the_graph_is_found_however_it_is_held():
    traces = []
    for label in ("positive", "negative", "so so"):
        graph = build_graph(ScriptedChatModel(replies=[label, f"reply to {label}"]))
        with record() as recording:
            graph.invoke({"review": f"A film that I found {label}, on the whole."})
        traces.append(recording.trace)
    found = discover(traces, build_graph(ScriptedChatModel()))
    assert {str(site): template.text for site, template in found.parameters.items()} == {
        "classify/system": "You classify movie reviews.",
        "classify/human": "Classify the sentiment of this text.\n\n{review}",
        "thank/human": "Thank the guest in one short sentence for this review: {review}",
        "follow_up/model[follow_up]/system": "You answer guests who did not like the film. Be brief and kind.",
        "escalate/system": "You leave notes for a colleague. Say in a few words what the review is about.",
        "tools:voucher_policy/description": "Look up what the cinema offers to an unhappy guest.",
    }
    assert "tools:voucher_policy/description" not in map(str, found.trainable)
    assert [tool.name for tool in found.tools][:1] == ["voucher_policy"]
