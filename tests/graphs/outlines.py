"""What each topology is recorded as: an outline for each of its runs."""

from __future__ import annotations

from inline_snapshot import snapshot

OUTLINES = {
    "linear": snapshot("""\
graph
  classify#0
    llm
  draft#0
    llm
  sign#0
classify#0 -> draft#0 text
classify#0 -> sign#0 text
draft#0 -> sign#0 text\
"""),
    "conditional": snapshot("""\
graph
  triage#0
    llm
    function is_refund
  refund#0
    llm
triage#0 -> refund#0 control?\
"""),
    "loop": snapshot("""\
graph
  write#0
    llm
  judge#0
    llm
    function again
  write#1
    llm
  judge#1
    llm
    function again
  write#2
    llm
  judge#2
    llm
    function again
write#0 -> judge#0 text
judge#0 -> write#1 text
write#0 -> write#1 channel?
write#1 -> judge#1 text
judge#0 -> judge#1 channel?
judge#0 -> write#2 text
judge#1 -> write#2 text
write#1 -> write#2 channel?
write#2 -> judge#2 text
judge#1 -> judge#2 channel?\
"""),
    "fan-out": snapshot("""\
graph
  law#0
    llm
  money#0
    llm
  steel#0
    llm
  join#0
    llm
law#0 -> join#0 text
money#0 -> join#0 text
steel#0 -> join#0 text\
"""),
    "send": snapshot("""\
graph
  split#0
    function deal
  work#0
    llm
  work#1
    llm
  work#2
    llm
  join#0
split#0 -> work#0 text
split#0 -> work#1 text
split#0 -> work#2 text
split#0 -> join#0 text
work#0 -> join#0 text
work#1 -> join#0 text
work#2 -> join#0 text\
"""),
    "subgraph": snapshot("""\
graph
  house#0
    graph
      house/desk#0
        graph
          house/desk/plan#0
            llm
          house/desk/draft#0
            llm
      house/polish#0
        llm
  sign#0
house/desk/plan#0 -> house/desk/draft#0 text
house/desk/plan#0 -> house/desk#0 text
house/desk/draft#0 -> house/desk#0 text
house/desk#0 -> house/polish#0 text
house/desk#0 -> house#0 text
house/polish#0 -> house#0 text
house#0 -> sign#0 text\
"""),
    "subgraph-twice": snapshot("""\
graph
  outer#0
    graph
      outer/shorten#0
        llm
    graph
      outer/shorten#1
        llm
  sign#0
outer/shorten#0 -> outer#0 text
outer/shorten#1 -> outer#0 text
outer#0 -> sign#0 text\
"""),
    "command": snapshot("""\
graph
  triage#0
    llm
  repair#0
    llm
triage#0 -> repair#0 text\
"""),
    "command-parent": snapshot("""\
graph
  front#0
    graph
      front/look#0
      front/decide#0
        llm
  tracking#0
    llm
front/look#0 -> front/decide#0 text
front/decide#0 -> front#0 value
front#0 -> tracking#0 text\
"""),
    "command-parent-deep": snapshot("""\
graph
  rules#0
    graph
      rules/find#0
        graph
          rules/find/decide#0
            llm
      rules/explain#0
        llm
  sign#0
rules/find/decide#0 -> rules/find#0 value
rules/find#0 -> rules/explain#0 text
rules/find#0 -> rules#0 text
rules/explain#0 -> rules#0 text
rules#0 -> sign#0 text\
"""),
    "command-named": snapshot("""\
graph
  front#0
    graph
      front/find#0
        graph
          front/find/decide#0
            llm
  hours#0
    llm
front/find/decide#0 -> front/find#0 value
front/find#0 -> front#0 value
front#0 -> hours#0 text\
"""),
    "command-list": snapshot("""\
graph
  plan#0
    llm
  metre#0
  rhyme#0
    llm
  join#0
plan#0 -> metre#0 text
plan#0 -> rhyme#0 text
plan#0 -> join#0 text
metre#0 -> join#0 text
rhyme#0 -> join#0 text\
"""),
    "command-send": snapshot("""\
graph
  plan#0
    llm
  dig#0
    llm
  dig#1
    llm
  join#0
plan#0 -> dig#0 text
plan#0 -> dig#1 text
plan#0 -> join#0 channel?
dig#0 -> join#0 text
dig#1 -> join#0 text\
"""),
    "retry": snapshot("""\
graph
  draft#0 raised ConnectionError
    llm
  draft#0 raised ConnectionError
    llm
  draft#0
    llm
  sign#0
draft#0 -> sign#0 text\
"""),
    "error-handler": snapshot("""\
graph
  plan#0
    llm
  search#0 raised LookupError
  search/__error_handler__search#0
    llm
  sign#0
plan#0 -> search#0 text
plan#0 -> search/__error_handler__search#0 text
search#0 -> search/__error_handler__search#0 text
plan#0 -> sign#0 text
search/__error_handler__search#0 -> sign#0 text\
"""),
    "interrupt": snapshot("""\
graph
  write#0
    llm
  ask#0
write#0 -> ask#0 text
---
graph
  ask#0
  finish#0
    llm
ask#0 -> finish#0 text\
"""),
    "checkpoint-memory": snapshot("""\
graph
  feel#0
    llm
  talk#0
    llm
feel#0 -> talk#0 channel?
---
graph
  feel#0
    llm
  talk#0
    llm
feel#0 -> talk#0 channel?\
"""),
    "checkpoint-sqlite": snapshot("""\
graph
  feel#0
    llm
  talk#0
    llm
feel#0 -> talk#0 channel?
---
graph
  feel#0
    llm
  talk#0
    llm
feel#0 -> talk#0 channel?\
"""),
    "cache": snapshot("""\
graph
  greet#0
  collect#0
    llm
  answer#0
    llm
collect#0 -> answer#0 text
greet#0 -> answer#0 channel?
---
graph
  greet#0
  answer#0
    llm
greet#0 -> answer#0 channel?\
"""),
    "deferred": snapshot("""\
graph
  outline#0
    llm
  quick#0
    llm
  fill#0
  join#0
outline#0 -> fill#0 text
quick#0 -> fill#0 channel?
outline#0 -> join#0 text
quick#0 -> join#0 text
fill#0 -> join#0 text\
"""),
    "unchanged": snapshot("""\
graph
  check#0
    graph
      check/judge#0
        llm
  answer#0
    llm
check/judge#0 -> check#0 text\
"""),
    "overwrite": snapshot("""\
graph
  first#0
    llm
  prune#0
  more#0
  answer#0
    llm
first#0 -> prune#0 channel?
prune#0 -> more#0 channel?
prune#0 -> answer#0 text
more#0 -> answer#0 text\
"""),
    "functional": snapshot("""\
graph
  essay#0
    essay/outline#0
      llm
    essay/section#0
      llm
    essay/section#1
      llm
    essay/join#0
essay/outline#0 -> essay/section#0 text
essay/outline#0 -> essay/section#1 text
essay/section#0 -> essay/section#1 channel?
essay/section#0 -> essay/join#0 text
essay/section#1 -> essay/join#0 text
essay/outline#0 -> essay/join#0 channel?
essay/join#0 -> essay#0 text
essay/outline#0 -> essay#0 text
---
graph
  essay#0
    essay/outline#0
      llm
    essay/section#0
      llm
    essay/section#1
      llm
    essay/join#0
essay/outline#0 -> essay/section#0 text
essay/outline#0 -> essay/section#1 text
essay/section#0 -> essay/section#1 channel?
essay/section#0 -> essay/join#0 text
essay/section#1 -> essay/join#0 text
essay/join#0 -> essay#0 text
essay/outline#0 -> essay#0 text\
"""),
    "functional-nested": snapshot("""\
graph
  report#0
    report/research#0
      report/research/find#0 raised ConnectionError
        llm
      report/research/find#0
        llm
      report/research/quote#0
        llm
report/research/find#0 -> report/research/quote#0 text
report/research/find#0 -> report/research#0 text
report/research/quote#0 -> report/research#0 text
report/research#0 -> report#0 text\
"""),
    "agent": snapshot("""\
graph
  model#0
    llm
  tools#0
    tool weather
  tools#1
    tool tide
  model#1
    llm
model#0 -> tools#0 tool-call-id
model#0 -> tools#1 tool-call-id
model#0 -> model#1 message-id
tools#0 -> model#1 message-id
tools#1 -> model#1 message-id\
"""),
    "supervisor": snapshot("""\
graph
  supervisor#0
    graph
      supervisor/agent#0
        llm
        function should_continue
      supervisor/tools#0
        tool transfer_to_adder
  adder#0
    graph
      adder/model#0
        llm
      adder/tools#0
        tool add
      adder/model#1
        llm
  supervisor#1
    graph
      supervisor/agent#1
        llm
        function should_continue
supervisor/agent#0 -> supervisor/tools#0 tool-call-id
supervisor/tools#0 -> supervisor#0 value
supervisor#0 -> adder#0 message-id
adder/model#0 -> adder/tools#0 tool-call-id
adder/model#0 -> adder/model#1 message-id
adder/tools#0 -> adder/model#1 message-id
adder/model#0 -> adder#0 message-id
adder/tools#0 -> adder#0 message-id
adder/model#1 -> adder#0 message-id
supervisor#0 -> supervisor#1 message-id
adder#0 -> supervisor#1 message-id
supervisor/agent#1 -> supervisor#1 message-id\
"""),
    "swarm": snapshot("""\
graph
  function route_to_active_agent
  front#0
    graph
      front/model#0
        llm
      front/tools#0
        tool transfer_to_refunds
  refunds#0
    graph
      refunds/model#0
        llm
front/model#0 -> front/tools#0 tool-call-id
front/tools#0 -> front#0 value
front#0 -> refunds#0 message-id
refunds/model#0 -> refunds#0 message-id
---
graph
  function route_to_active_agent
  refunds#0
    graph
      refunds/model#0
        llm
refunds/model#0 -> refunds#0 message-id\
"""),
    "deep-agent": snapshot("""\
graph
  PatchToolCallsMiddleware.before_agent#0
  model#0
    llm
  tools#0
    tool task
      graph
        tools/PatchToolCallsMiddleware.before_agent#0
        tools/model#0
          llm
        tools/tools#0
          tool taste
        tools/model#1
          llm
  tools#1
    tool task
      graph
        tools/PatchToolCallsMiddleware.before_agent#1
        tools/model#2
          llm
        tools/tools#1
          tool taste
        tools/model#3
          llm
  model#1
    llm
  _ParentNotifierMiddleware.after_agent#0
model#0 -> tools#0 tool-call-id
tools/model#0 -> tools/tools#0 tool-call-id
tools/model#0 -> tools/model#1 message-id
tools/tools#0 -> tools/model#1 message-id
tools/model#0 -> tools#0 message-id
tools/tools#0 -> tools#0 message-id
tools/model#1 -> tools#0 message-id
model#0 -> tools#1 tool-call-id
tools/model#2 -> tools/tools#1 tool-call-id
tools/model#2 -> tools/model#3 message-id
tools/tools#1 -> tools/model#3 message-id
tools/model#2 -> tools#1 message-id
tools/tools#1 -> tools#1 message-id
tools/model#3 -> tools#1 message-id
model#0 -> model#1 message-id
tools#0 -> model#1 message-id
tools#1 -> model#1 message-id\
"""),
}
