"""What a run gives back, in words and as versions."""

from __future__ import annotations

from typing import Any

import pytest
from inline_snapshot import snapshot

from tests.run import worlds
from textgrad_lg import TGD, Evals, MemoryRegistry, Settings, Site, Strategy, Template, Tools, from_registry, optimize
from textgrad_lg.errors import UnknownVersion, VersionConflict
from textgrad_lg.overlay import Replacement
from textgrad_lg.registry import NewVersion
from textgrad_lg.run.publication import Publication
from textgrad_lg.run.reading import original
from textgrad_lg.run.warned import Warnings
from textgrad_lg.update import Update

SETTINGS = Settings(steps=1, batch=6, concurrency=1, strategy=Strategy.CHAIN)


def sometimes(outputs, reference_outputs, example):
    if int(example.inputs["review"].split()[-1]) % 10 == 7:
        raise ValueError("no sevens")
    return outputs["page"] == reference_outputs["page"], f"expected {reference_outputs['page']!r}"


def run(**options):
    options = {"registry": MemoryRegistry(), "settings": SETTINGS, "optimizer": TGD()} | options
    critic = worlds.critic("I think this is", worlds.WANTED)
    return optimize(
        worlds.three_nodes(worlds.review_model()), Evals(worlds.reviews(), [sometimes]), model=critic, **options
    )


def test_the_summary_is_a_few_lines_for_people():
    assert run().summary() == snapshot("""\
test 0.00 -> 1.00, difference +1.00, 95 % interval [+0.59, +1.00], p = 0.00049, n = 12
stopped after step 1: all 9 validation examples that could be judged pass, so no edit could be proven to be better; improved and published
validation 0.00 -> 1.00, difference +1.00, 95 % interval [+0.48, +1.00], p = 0.0039, n = 9, 3 not judged
gain on validation +1.00, on test +1.00
163 calls, 11,925 tokens, price not known
3 examples could not be judged, first example 08, sometimes: ValueError: no sevens\
""")


def test_the_diff_says_what_changed_and_why():
    result = run()
    *diff, why = result.diff().splitlines()
    assert "\n".join(diff) == snapshot("""\
--- judge/system (before)
+++ judge/system (after)
@@ -1 +1,3 @@
 You judge the facts of a review.
+
+Reply with the label alone.\
""")
    assert why.startswith("why: the feedback asks for it (by rewrite, from gradients ")


def test_every_gradient_behind_an_edit_is_named_in_the_registry():
    registry = MemoryRegistry()
    result = run(registry=registry)
    assert result.published == {"pages:judge/system": 2}
    gradients: Any = registry.history("pages:judge/system")[1].provenance["gradients"]
    assert gradients
    assert all(gradient in result.diff() for gradient in gradients)


def test_a_label_can_be_tried_before_it_is_published():
    registry = MemoryRegistry()
    result = run(registry=registry)
    result.rollback()
    assert registry.labels("pages:judge/system") == {"candidate": 2, "production": 1}
    graph = worlds.three_nodes(worlds.review_model())
    review = worlds.State(review="a good film")
    assert from_registry(graph, registry, label="candidate").invoke(review)["page"] == "<p>positive</p>"
    assert from_registry(graph, registry).invoke(review) == graph.invoke(review)


def test_a_version_whose_origin_is_lost_is_refused():
    registry = MemoryRegistry()
    registry.commit([NewVersion("g:a/system", Template("x"))], label="candidate", expect={"g:a/system": None})
    assert original(registry, "g:a/system", 1) == Template("x")
    with pytest.raises(UnknownVersion, match=r"version 5 of 'g:a/system' descends from a version that the registry"):
        original(registry, "g:a/system", 5)


SITE = Site(("a",), "system")


def update(text):
    return Update(SITE, Template("own"), Template(text), "why", "test")


def publication(registry, run):
    return Publication(registry, "g", run, {SITE: Template("own")}, {})


def test_a_run_that_is_gone_on_with_moves_no_label_backwards():
    registry = MemoryRegistry()
    first = publication(registry, "run")
    for text in ("one", "two"):
        first.commit([update(text)], 0.5)
    moves = registry.moves("g:a/system", "candidate")
    again = publication(registry, "run")
    assert [again.commit([update(text)], 0.5)[0].version for text in ("one", "two", "three")] == [2, 3, 4]
    assert registry.moves("g:a/system", "candidate")[: len(moves)] == moves
    assert [move.version for move in registry.moves("g:a/system", "candidate")[len(moves) :]] == [4]


def test_the_same_edit_of_another_run_is_a_version_of_its_own():
    registry = MemoryRegistry()
    publication(registry, "run").commit([update("one")], 0.5)
    (other,) = publication(registry, "other").commit([update("one")], 0.7)
    assert (other.version, other.parent, other.score, other.provenance["run"]) == (3, 1, 0.7, "other")
    assert registry.labels("g:a/system") == {"candidate": 3}
    # Gone on with, the first run labels its own version again: another line of versions is in force.
    publication(registry, "run").commit([update("one")], 0.5)
    assert registry.labels("g:a/system") == {"candidate": 2}


def test_the_text_a_bound_graph_began_with_stands_between_its_own_and_the_edit():
    registry = MemoryRegistry()
    start = {SITE: Replacement(Template("own"), Template("bound"))}
    edits = Publication(registry, "g", "run", {SITE: Template("own")}, start)
    edits.commit([Update(SITE, Template("bound"), Template("new"), "why", "test")], 1.0)
    versions = registry.history("g:a/system")
    assert [(each.template.text, each.parent) for each in versions] == [("own", None), ("bound", 1), ("new", 2)]
    assert edits.publish() == {"g:a/system": 3}
    # A rollback ends at what the run began with.
    assert registry.rollback("production", ["g:a/system"]) == {"g:a/system": 2}


B = Site(("b",), "system")


def two_texts(registry, run="run"):
    return Publication(registry, "g", run, {SITE: Template("own"), B: Template("other")}, {})


def test_edits_of_one_candidate_are_committed_together_or_not_at_all():
    registry = MemoryRegistry()
    both = [update("one"), Update(B, Template("other"), Template("two"), "why", "test")]
    edits = two_texts(registry)
    versions = edits.commit(both, 1.0)
    assert [(version.name, version.version) for version in versions] == [("g:a/system", 2), ("g:b/system", 2)]
    assert edits.publish() == {"g:a/system": 2, "g:b/system": 2}
    # Another writer moves the second label: the first one stays where it is as well.
    late = two_texts(registry, "late")
    late.commit([update("first")], 1.0)
    registry.move("candidate", {"g:b/system": 1}, expect={"g:b/system": 2})
    before = registry.labels("g:a/system")
    edits_now = [update("later"), Update(B, Template("other"), Template("lost"), "why", "test")]
    stale = two_texts(registry, "late")
    stale.commit([Update(B, Template("other"), Template("kept"), "why", "test")], 1.0)
    registry.move("candidate", {"g:b/system": 1}, expect={"g:b/system": registry.labels("g:b/system")["candidate"]})
    with pytest.raises(VersionConflict):
        stale.commit(edits_now, 1.0)
    assert registry.labels("g:a/system")["candidate"] == before["candidate"]
    with pytest.raises(VersionConflict):
        stale.publish()


def test_gone_on_with_a_candidate_of_two_edits_is_found_and_not_written_again():
    registry = MemoryRegistry()
    both = [update("one"), Update(B, Template("other"), Template("two"), "why", "test")]
    two_texts(registry).commit(both[:1], 1.0)
    again = two_texts(registry).commit(both, 1.0)
    assert [(version.name, version.version) for version in again] == [("g:a/system", 2), ("g:b/system", 2)]
    assert len(registry.history("g:a/system")) == 2


def test_a_warning_is_told_once_and_counted():
    told = []
    warnings = Warnings(told.append)
    for example in ("a", "b", "c"):
        warnings.add(f"no gradient for {example}", "gradient")
    warnings.add("something else")
    assert told == ["no gradient for a", "something else"]
    assert warnings.lines() == ("no gradient for a (and 2 more like it)", "something else")


def test_settings_take_words_for_what_has_a_closed_set_of_them():
    words: Any = {"strategy": "structural", "tools": "record"}
    assert Settings(**words) == Settings(strategy=Strategy.STRUCTURAL, tools=Tools.RECORD)


def test_settings_are_plain_values():
    assert Settings().to_json() == snapshot(
        {
            "steps": 4,
            "batch": 8,
            "validate": 2,
            "alpha": 0.05,
            "significance": 0.05,
            "fractions": [0.4, 0.3, 0.3],
            "strategy": "auto",
            "concurrency": 8,
            "calls_in_flight": None,
            "repeats": 1,
            "seed": 0,
            "carry_context": False,
            "replay": True,
            "tools": "run",
            "pure_tools": [],
            "timeout": None,
        }
    )
