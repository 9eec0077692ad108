"""What looks like a credential is in no span, in no log and in no error, whatever else is shown."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from textgrad_lg import events
from textgrad_lg_tracing import configure
from textgrad_lg_tracing.content import Content
from textgrad_lg_tracing.secrets import MASK, mask, named

from .recorder import recording
from .support import RUN, T0, a_run, everything, scored, trace_of, written

TOKENS = ("sk-proj-abcDEF0123456789abcdef", "lsv2_pt_0123456789abcdef_0123", "hunter2hunter2hunter2")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("{'authorization': 'Basic dTpw', 'accept': '*/*'}", f"{{'authorization': 'Basic {MASK}', 'accept': '*/*'}}"),
        ('{"x-api-key": "lsv2_pt_1"}', f'{{"x-api-key": "{MASK}"}}'),
        (r"{\"api_key\": \"abc\"}", rf"{{\"api_key\": \"{MASK}\"}}"),
        ("OPENAI_API_KEY=abc and more", f"OPENAI_API_KEY={MASK} and more"),
        ("Incorrect API key provided: abc", "Incorrect API key provided: abc"),
        ("sent with bearer abcdef0123456789", f"sent with bearer {MASK}"),
        ("https://user:pw@host/v1?access_token=abc&a=1", f"https://{MASK}@host/v1?access_token={MASK}&a=1"),
        ("the key sk-proj-abcDEF0123456789abcdef", f"the key {MASK}"),
        ("bearer of bad news, basic understanding", "bearer of bad news, basic understanding"),
        ("write to a@b.example, see sk-learn", "write to a@b.example, see sk-learn"),
        ("", ""),
    ],
)
def test_masking(text, shown):
    assert mask(text) == shown
    assert mask(shown) == shown


def test_fields_that_hold_credentials():
    assert all(map(named, ("Authorization", "x-api-key", "OPENAI_API_KEY", "password", "Set-Cookie")))
    assert not any(map(named, ("author", "keys", "tokens", "max_tokens", "token_count", "secretary")))


def test_a_field_of_such_a_name_is_masked_at_any_depth_and_the_redactor_does_not_see_it():
    seen = []
    content = Content(enabled=True, redactor=lambda place, value: seen.append(value) or value)
    value = {"headers": [{"Authorization": "hunter2", "accept": "json"}], "max_tokens": 5}
    shown = content.fields({"input.value": value})
    assert shown["input.value"] == f'{{"headers": [{{"Authorization": "{MASK}", "accept": "json"}}], "max_tokens": 5}}'
    assert shown["textgrad.content.redacted"] is True
    assert seen == ["json", 5]


@pytest.mark.parametrize("content", [True, False])
def test_the_headers_in_an_error_or_in_the_settings_reach_no_span(content):
    error = f"AuthenticationError: 401 for {{'Authorization': 'Bearer {TOKENS[2]}', 'x-api-key': '{TOKENS[1]}'}}"
    trace = trace_of("e1", text=f"Authorization: Bearer {TOKENS[0]} ")
    broken = replace(trace.spans[1], error=error)
    trace = replace(trace, spans=(trace.spans[0], broken, *trace.spans[2:]))
    started = events.RunStarted(run=RUN, time=T0, graph="g", settings={"headers": {"x-api-key": TOKENS[2]}})
    ended = events.RunFinished(run=RUN, time=T0 + 60, summary=f"api_key={TOKENS[0]}", started=T0, error=error)
    text = everything(written([started, scored(trace, error=error), ended], content=content))
    assert not [token for token in TOKENS if token in text]
    assert (MASK in text) == content


@pytest.mark.loopback
@pytest.mark.parametrize("status", [401, 400])
def test_the_headers_of_the_exporter_are_sent_and_told_to_nobody(status, monkeypatch, caplog, capfd):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{TOKENS[0]},x-api-key={TOKENS[1]}")
    with recording() as server:
        server.answers["/v1/traces"] = (status, "{}")
        with caplog.at_level(logging.DEBUG), configure(server.url, content=True) as configured:
            for event in a_run():
                configured.callback(event)
        (request, *_) = server.to("/v1/traces")
    assert request.headers["authorization"] == f"Bearer {TOKENS[0]}"
    assert request.headers["x-api-key"] == TOKENS[1]
    told = caplog.text + "".join(capfd.readouterr())
    assert not [token for token in TOKENS if token in told or token.encode() in request.body]
    assert TOKENS[1] not in repr(configured)


@pytest.mark.loopback
def test_a_user_and_password_in_the_url_are_sent_as_a_header_and_are_no_part_of_the_address(caplog):
    with recording() as server:
        server.answers["/v1/traces"] = (400, "{}")
        url = server.url.replace("http://", f"http://user:{TOKENS[2]}@")
        with caplog.at_level(logging.DEBUG), configure(url) as configured:
            for event in a_run():
                configured.callback(event)
        (request, *_) = server.to("/v1/traces")
    assert request.headers["authorization"].startswith("Basic ")
    assert TOKENS[2] not in caplog.text
