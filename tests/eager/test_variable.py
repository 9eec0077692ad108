"""Variables: values, roles, feedback, addition, and the graph as text."""

from __future__ import annotations

import base64
import copy
import sys
import types
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from inline_snapshot import snapshot

import textgrad_lg.eager as tg
from textgrad_lg.eager.autograd.function import BackwardContext

from .support import fixed, judged, model, text

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Scalar:
    """As numpy's are."""

    def item(self):
        return 3


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("text", "text"),
        (7, "7"),
        (Scalar(), "3"),
        (0.5, 0.5),
        (True, True),
        ({"weights": [1, 2.5]}, {"weights": [1, 2.5]}),
        (("a", "b"), ["a", "b"]),
    ],
)
def test_a_value_is_text_or_json(given, value):
    assert text(given).value == value


@pytest.mark.parametrize("bad", [object(), {1, 2}, b"no image", b"RIFF....WAVE"])
def test_anything_else_is_refused(bad):
    with pytest.raises(ValueError, match=r"is not a value|no JPEG"):
        text(bad)


def test_the_role_has_to_be_named():
    with pytest.raises(TypeError):
        tg.Variable("x")  # pyright: ignore[reportCallIssue]  the very mistake


def test_json_cannot_be_changed_behind_the_variables_back():
    weights = {"a": 1.5}
    variable = text(weights)
    weights["a"] = 2.5
    assert variable.value == {"a": 1.5}
    assert str(variable) == '{"a": 1.5}'


def test_an_image_is_bytes_a_file_or_a_url(tmp_path):
    path = tmp_path / "dot.png"
    path.write_bytes(PNG)
    read = tg.Variable(image_path=str(path), requires_grad=False, role_description="image")
    assert read.value == PNG == fixed(PNG).value
    assert str(read) == f"[image/png, {len(PNG)} bytes]"
    there = tg.Variable(image_url="https://example.org/a.png", requires_grad=False, role_description="image")
    assert there.value == there.json == {"type": "image", "url": "https://example.org/a.png"}
    assert there.is_image
    with pytest.raises(ValueError, match="requires_grad=False"):
        tg.Variable(PNG, role_description="image")
    with pytest.raises(ValueError, match="not two of them"):
        tg.Variable("x", image_path=str(path), role_description="image")


@pytest.mark.loopback
def test_an_image_path_may_be_a_url_that_is_fetched():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", str(len(PNG)))
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, format, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        assert tg.Variable(image_path=url, requires_grad=False, role_description="image").value == PNG
        thread.join()


def test_addition_joins_texts_in_order():
    left, right = text("a", "left"), text("b", "right")
    both = left + right
    assert (both.value, both.role_description, both.predecessors) == ("ab", "left and right", [left, right])
    assert (left + "!").value == "a!"
    assert ("!" + left).value == "!a"
    assert not (fixed("a") + fixed("b")).requires_grad
    with pytest.raises(TypeError, match="only texts can be added"):
        left + text([1])  # pyright: ignore[reportUnusedExpression]
    with pytest.raises(TypeError):
        left + 1  # pyright: ignore[reportUnusedExpression]
    with pytest.raises(TypeError):
        1 + left  # pyright: ignore[reportUnusedExpression]


def test_feedback_through_addition_reaches_each_part_once():
    left, right = text("a", "left"), text("b", "right")
    engine = model(call="Wrong.")
    tg.TextLoss("Judge.", engine)(left + right + left).backward(engine)
    assert [v.get_gradient_text() for v in (left, right)] == ["Wrong.", "Wrong."]


def test_a_set_value_is_no_longer_what_was_made():
    engine = model(call="reply")
    prompt = text("Be brief.", "prompt")
    reply = tg.BlackboxLLM(engine, prompt)(fixed("q"))
    loss = tg.TextLoss("Judge.", engine)(reply)
    reply.value = "by hand"
    assert (reply.predecessors, reply.get_grad_fn(), reply.get_value()) == ([], None, "by hand")
    prompt.set_value("changed")
    loss.backward(engine)
    assert "Be brief." in str(engine.requests[-1])
    assert "reply" in str(engine.requests[-1])
    assert len(prompt.gradients) == 1


def test_what_does_not_require_feedback_cannot_be_made_from_what_does():
    with pytest.raises(ValueError, match="does not require feedback, but source does"):
        tg.Variable("x", predecessors=[text("y", "source")], requires_grad=False, role_description="target")


def test_a_loss_written_by_hand_is_feedback_as_it_stands():
    answer = text("42", "answer")
    verdict = tg.Variable("A person found this rude.", predecessors=[answer], role_description="verdict")
    verdict.backward()
    assert answer.get_gradient_text() == "A person found this rude."


def test_feedback_is_a_list_in_order_that_takes_scripts_habits():
    variable = judged(text("x"), "first", "second")
    variable.gradients.add(variable.gradients[0])
    assert variable.get_gradient_text() == "first\nsecond"
    variable.gradients = set()
    assert variable.gradients == []
    variable.set_role_description("new role")
    assert variable.get_role_description() == "new role"
    assert repr(judged(variable, "no")) == "Variable(value=x, role=new role, grads=['no'])"


def test_the_short_value_is_for_showing():
    assert text("a b c").get_short_value() == "a b c"
    assert text("a b c d e").get_short_value(n_words_offset=1) == "a (...) e"


def test_a_gradient_function_of_ones_own_is_refused_with_the_way_out():
    made = text("x")
    with pytest.raises(TypeError, match="Make the value with StringBasedFunction"):
        made.set_grad_fn(print)
    with pytest.raises(TypeError, match="backward_static"):
        made.set_grad_fn(BackwardContext(print, inputs={}))
    static = tg.StringBasedFunction.backward_static
    context = BackwardContext(static, response=made, function_purpose="doubles", inputs={"a": text("y", "source")})
    assert repr(context).endswith("StringBasedFunction.backward_static")
    made.set_grad_fn(context)
    assert (made.grad_fn.purpose, repr(made.grad_fn)) == ("doubles", "function.backward(source)")
    made.set_grad_fn(None)
    assert made.grad_fn is None


def test_backward_static_differentiates_by_itself():
    source, made = text("y", "source"), text("x")
    tg.StringBasedFunction.backward_static(made, "doubles", {"a": source}, model())
    assert source.get_gradient_text() == "Say more about P1."


def test_the_graph_as_text():
    engine = model(call='say "no\\yes"')
    prompt = text("Be brief.", "prompt")
    loss = tg.TextLoss("Judge.", engine)(tg.BlackboxLLM(engine, prompt)(fixed("q", "query")))
    loss.backward(engine)
    assert str(loss.generate_graph(print_gradients=True)) == snapshot("""\
digraph {
  rankdir="TB";
  node [shape="box"];
  v0 [label="Role: system prompt for the evaluation\\lValue: Judge.\\l"];
  v1 [label="Role: prompt\\lValue: Be brief.\\lFeedback: Say more about P1.\\l"];
  v2 [label="Role: query\\lValue: q\\l"];
  v3 [label="Role: response from the language model\\lValue: say \\"no\\\\yes\\"\\lMade by: LLMCall\\lFeedback: say \\"no\\\\yes\\"\\l"];
  v4 [label="Role: evaluation of the response from the language model\\lValue: say \\"no\\\\yes\\"\\lMade by: LLMCall\\l"];
  v1 -> v3;
  v2 -> v3;
  v0 -> v4;
  v3 -> v4;
}\
""")
    assert "Feedback" not in loss.generate_graph().source
    assert "w w (...)" in text("w " * 300).generate_graph().source


def test_the_graph_is_drawn_by_graphviz_where_it_is_installed(monkeypatch):
    graphviz = types.ModuleType("graphviz")
    graphviz.Source = lambda source: ("drawn", source)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "graphviz", graphviz)
    assert text("x").generate_graph()[0] == "drawn"


def test_a_copy_is_a_graph_of_its_own():
    engine = model(call="Wrong.")
    solution = text("x", "solution")
    loss = tg.TextLoss("Judge.", engine)(solution)
    other = copy.deepcopy(loss)
    other.backward(engine)
    assert solution.gradients == []
    assert other.predecessors[-1].get_gradient_text() == "Wrong."
