from textgrad_lg.gradient import Gradient, GradientCall, Gradients
from textgrad_lg.site import Site
from textgrad_lg.types import Usage

A, B = Site(("a",), "system"), Site(("b",), "system")


def gradient(variable, site=None, text="be brief"):
    return Gradient(variable, text, "s1", "t1", "e1", 0.0, site)


def test_the_same_feedback_at_the_same_place_has_the_same_id():
    assert gradient("v").id == gradient("v").id
    assert len({gradient("v").id, gradient("w").id, gradient("v", text="be long").id}) == 3


def test_gradients_by_variable_and_by_parameter():
    found = Gradients((gradient("v", B), gradient("w", A), gradient("x"), gradient("v", B, "again")))
    assert len(found) == len(list(found)) == 4
    assert [item.text for item in found.on("v")] == ["be brief", "again"]
    assert list(found.parameters()) == [B, A]
    assert [item.text for item in found.parameters()[B]] == ["be brief", "again"]


def test_merging_keeps_order_failures_and_calls():
    one = Gradients((gradient("v"),), ("no reply",), (GradientCall("s1", "m"),))
    two = Gradients((gradient("w"),), (), (GradientCall("s2", "m"),))
    merged = Gradients.merge([one, two])
    assert [item.variable for item in merged] == ["v", "w"]
    assert merged.failures == ("no reply",)
    assert [call.span for call in merged.calls] == ["s1", "s2"]


def test_usage_adds_up():
    assert Usage(1, 10, 5, 0.5) + Usage(2, 1, 1, 0.25) == Usage(3, 11, 6, 0.75)
