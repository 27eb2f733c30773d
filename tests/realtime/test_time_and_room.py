"""The time-out of silence, and a conversation that is longer than the model's context."""

from __future__ import annotations

import pytest
from tests.realtime.harness import Server, new_session, only, sound, types

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.context import item_tokens, overflow, text_tokens
from vivavoce.realtime.server import SILENCE
from vivavoce.realtime.values import (
    Audio,
    AudioInput,
    FunctionCall,
    FunctionCallOutput,
    InputText,
    McpCall,
    McpListTools,
    Message,
    RetentionRatio,
    SemanticVad,
    ServerVad,
)

IDLE = Audio(input=AudioInput(turn_detection=ServerVad(idle_timeout_ms=6000)))


def update(**session):
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def answered(server, *, at=1.0, ms=800, conversation="auto"):
    """One answer that is spoken and done a moment later."""
    created = only(
        server({"type": "response.create", "response": {"conversation": conversation}}), wire.ResponseCreated
    )
    response_id = created.response.id
    server(facts.Said(response_id, "Hello."), facts.Spoke(response_id, sound(ms)), now=at)
    server(facts.Finished(response_id=response_id), now=at + 0.1)
    return response_id


@pytest.fixture
def idle():
    return Server(new_session(audio=IDLE))


def test_silence_is_answered_after_the_sound_has_been_played(idle):
    answered(idle)
    assert idle.half.deadline() == pytest.approx(1.0 + 0.8 + 6.0)
    assert idle(facts.Tick(), now=7.7) == []
    outputs = idle(facts.Tick(), now=7.8)
    assert types(outputs) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "Generate",
    ]
    assert len({outputs[0].item_id, outputs[1].item_id, outputs[2].item.id}) == 1
    assert only(outputs, facts.Generate).prompt.messages[-1].text == SILENCE
    assert idle.half.deadline() is None


def test_silence_is_measured_in_the_sound_that_came(idle):
    idle(wire.InputAudioBufferAppend(audio=sound(1000)))
    answered(idle)
    idle(wire.InputAudioBufferAppend(audio=sound(6500)))
    triggered = idle(facts.Tick(), now=7.8)[0]
    assert (triggered.audio_start_ms, triggered.audio_end_ms) == (1500, 7500)


@pytest.mark.parametrize(
    "happened",
    [
        facts.Started(100),
        {"type": "response.create"},
        update(audio={"input": {"turn_detection": None}}),
        update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}}),
        update(audio={"input": {"turn_detection": {"idle_timeout_ms": None}}}),
    ],
    ids=["speech", "response", "no detection", "semantic", "no time-out"],
)
def test_nobody_waits_when_something_happens(idle, happened):
    idle(wire.InputAudioBufferAppend(audio=sound(200)))
    answered(idle)
    idle(happened)
    assert idle.half.deadline() is None
    assert idle(facts.Tick(), now=99.0) == []


def test_only_answers_of_the_conversation_are_waited_for(idle):
    answered(idle, conversation="none")
    assert idle.half.deadline() is None


def test_a_cancelled_answer_is_not_waited_for(idle):
    idle({"type": "response.create"}, facts.Spoke("resp_1", sound(5000)), {"type": "response.cancel"})
    assert idle.half.deadline() is None
    answered(idle, at=2.0, ms=500)
    assert idle.half.deadline() == pytest.approx(2.5 + 6.0)


def test_silence_ends_before_the_session_does():
    server = Server(new_session(audio=IDLE), lifetime=5.0)
    answered(server)
    assert server.half.deadline() == 5.0
    assert types(server(facts.Tick(), now=9.0))[-2:] == ["error", "Close"]


# The model's context


def said(words, role="user"):
    kind = "output_text" if role == "assistant" else "input_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": words}]}
    return {"type": "conversation.item.create", "item": item}


def small(truncation="auto", tokens=60, **settings):
    server = Server(new_session(truncation=truncation, **settings), context_tokens=tokens)
    server(*(said(f"{number} " + "word " * 9, "assistant" if number % 2 else "user") for number in range(5)))
    return server


def numbers(outputs):
    return [message.text.split()[0] for message in only(outputs, facts.Generate).prompt.messages]


def respond(server, **response):
    return server({"type": "response.create", "response": response})


def test_the_oldest_items_are_left_out():
    server = small()
    assert numbers(respond(server)) == ["2", "3", "4"]
    assert "conversation.item.deleted" not in types(server(facts.Finished(response_id="resp_1")))
    assert len(server.half.conversation) == 5
    assert [message.text.split()[0] for message in server.half.outlook().messages] == ["2", "3", "4"]


def test_instructions_and_tools_take_room_too():
    tools = [{"type": "function", "name": "f", "description": "x" * 60}]
    assert numbers(respond(small(), tools=tools)) == ["4"]
    assert numbers(respond(small(), instructions="x" * 60)) == ["3", "4"]


def test_what_was_said_last_is_always_sent():
    assert numbers(respond(small(tokens=5))) == ["4"]


def test_more_is_left_out_at_once_so_that_the_next_prompts_begin_the_same():
    truncation = RetentionRatio(retention_ratio=0.4, token_limits={"post_instructions": 70})
    server = small(truncation, tokens=1000)
    assert numbers(respond(server)) == ["4"]
    server(facts.Finished(response_id="resp_1"), said("5 short", "assistant"), said("6 short"))
    assert numbers(respond(server)) == ["4", "5", "6"]


def test_nothing_is_left_out_where_that_is_not_allowed():
    server = small("disabled")
    done = only(respond(server), wire.ResponseDone).response
    assert (done.status, done.status_details.error.code) == ("failed", "context_length_exceeded")
    assert done.usage.input_tokens == 0
    server(said("x" * 400))
    assert only(respond(server, input=[said("x" * 400)["item"]]), wire.ResponseDone).response.status == "failed"
    roomy = small("disabled", tokens=1000)
    assert len(numbers(respond(roomy))) == 5


def test_the_input_of_a_response_is_shortened_for_itself():
    server = small(tokens=1000)
    server.half._context_tokens = 30
    given = [said("a " + "word " * 12)["item"], said("b " + "word " * 12)["item"]]
    assert numbers(respond(server, conversation="none", input=given)) == ["b"]
    server.half._context_tokens = 1000
    assert len(numbers(respond(server))) == 5


def test_usage_counts_the_sound_that_was_sent():
    server = Server(new_session(audio=Audio()), context_tokens=20)
    for number in range(2):
        server(wire.InputAudioBufferAppend(audio=sound(1000)), {"type": "input_audio_buffer.commit"})
        server(facts.Heard(f"item_{number + 1}", f"{number} word word word word word word"))
    assert numbers(respond(server)) == ["1"]
    usage = only(server(facts.Finished(response_id="resp_1", input_tokens=9)), wire.ResponseDone).response.usage
    assert usage.input_token_details.audio_tokens == 10


def test_deleted_and_created_again_is_remembered_again():
    server = small()
    oldest = next(iter(server.half.conversation)).id
    respond(server)
    server(facts.Finished(response_id="resp_1"), {"type": "conversation.item.delete", "item_id": oldest})
    again = said("again")
    server(again | {"item": again["item"] | {"id": oldest}})
    assert "again" in numbers(respond(server))


def test_a_call_and_its_output_are_left_out_together():
    server = Server(new_session(), context_tokens=40)
    call = {"type": "function_call", "name": "f", "arguments": "{}" + " " * 60, "call_id": "call_1"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    create = "conversation.item.create"
    server(said("0"), {"type": create, "item": call}, {"type": create, "item": output}, said("word " * 20))
    messages = only(respond(server), facts.Generate).prompt.messages
    assert [message.role for message in messages] == ["user"]


def user(text):
    return Message(role="user", content=(InputText(text=text),))


@pytest.mark.parametrize(
    ("item", "tokens"),
    [
        (user(""), 4),
        (user("four"), 6),
        (FunctionCall(name="abc", arguments="{}"), 6),
        (FunctionCallOutput(call_id="c", output="abcdef"), 6),
        (McpCall(server_label="s", name="abc", arguments="{}", output="abc"), 11),
        (McpCall(server_label="s", name="abc", arguments="{}"), 10),
        (McpListTools(server_label="s", tools=()), 0),
    ],
)
def test_estimates(item, tokens):
    assert item_tokens(item) == tokens
    assert text_tokens("") == 0


@pytest.mark.parametrize(
    ("texts", "limit", "goal", "dropped"),
    [([], 0, 0, 0), (["abc"], 0, 0, 0), (["abc"] * 4, 20, 20, 0), (["abc"] * 4, 19, 19, 1), (["abc"] * 4, 19, 5, 3)],
)
def test_how_many_have_to_go(texts, limit, goal, dropped):
    assert overflow([user(text) for text in texts], limit, goal) == dropped


def test_limits_on_answers_are_told_where_there_are_any():
    limit = wire.RateLimit(name="requests", limit=60, remaining=59, reset_seconds=1.0)
    server = Server(allowances=lambda: (limit,))
    respond(server)
    assert only(server(facts.Finished(response_id="resp_1")), wire.RateLimitsUpdated).rate_limits == (limit,)


@pytest.mark.parametrize(("eagerness", "cap"), [("low", 8000), ("medium", 4000), ("high", 2000), ("auto", 4000)])
def test_eagerness_has_a_longest_wait(eagerness, cap):
    assert SemanticVad(eagerness=eagerness).max_wait_ms == cap
