"""The client's half around calls: words that bridge a silence, models that only call, results that are cut."""

from __future__ import annotations

import pytest
from msgspec import UNSET
from tests.realtime.test_client import Client, sent, truncated

from vivavoce.realtime import events as wire
from vivavoce.realtime.client import (
    ASIDE,
    CUT,
    MOST_REPEATS,
    MOST_ROUNDS,
    NOT_RUN,
    Hush,
    Interrupted,
    Play,
    Played,
    Returned,
    Run,
    Typed,
    Waiting,
    Warn,
)
from vivavoce.realtime.values import (
    Extensions,
    FunctionCallOutput,
    Response,
    ResponseExtensions,
    ResponseParams,
    Session,
)


def waiting(*, ours=False):
    """A client whose call runs, and the request for words that bridge the silence."""
    client = Client()
    if ours:
        client(wire.SessionUpdated(session=Session(vivavoce=Extensions(context_tokens=400))))
    client.created()
    client.call()
    client.done()
    (request,) = client(Waiting("One moment."))
    return client, request


def aside_created(client, response_id="aside", metadata=None):
    return client(wire.ResponseCreated(response=Response(id=response_id, metadata=metadata or {ASIDE: "true"})))


def outputs(client_outputs):
    return [
        each.item.output
        for each in client_outputs
        if isinstance(each, wire.ConversationItemCreate) and isinstance(each.item, FunctionCallOutput)
    ]


def test_our_own_server_says_the_words_as_they_are():
    _, request = waiting(ours=True)
    params = request.response
    assert (params.conversation, params.input, params.vivavoce.say) == ("none", (), "One moment.")


@pytest.mark.parametrize("ours", [True, False])
def test_a_result_may_bring_the_words_of_its_answer(ours):
    client = Client()
    if ours:
        client(wire.SessionUpdated(session=Session(vivavoce=Extensions(context_tokens=400))))
    client.created()
    client.call()
    client.done()
    *_, request = client(Returned("call", "Ask first.", say="Shall I?"))
    assert request.response == (ResponseParams(vivavoce=ResponseExtensions(say="Shall I?")) if ours else UNSET)
    client.created("s")
    client.call("next", "s")
    client.done("s")
    *_, request = client(Returned("next", "42"))
    assert request.response is UNSET


def test_words_for_an_answer_are_forgotten_with_an_interruption():
    client = Client()
    client(wire.SessionUpdated(session=Session(vivavoce=Extensions(context_tokens=400))))
    client.created()
    client.call()
    client(Returned("call", "Ask first.", say="Shall I?"))
    client(Interrupted())
    client.done(status="cancelled")
    *_, request = client(Typed("Hello?"))
    assert request.response is UNSET


def test_other_servers_let_the_model_say_them():
    _, request = waiting()
    params = request.response
    assert (params.conversation, params.tool_choice) == ("none", "none")
    assert params.instructions == "Say exactly this and nothing else: One moment."
    assert "vivavoce" not in wire.encode(request).replace(ASIDE, "")


def test_a_result_that_comes_meanwhile_is_sent_and_answered_right_after():
    client, _ = waiting()
    aside_created(client)
    client.sound("a", "aside")
    (item,) = client(Returned("call", "sunny"))
    assert outputs([item]) == ["sunny"]
    (create,) = client.done("aside")
    assert create.response != ResponseParams(conversation="none")
    assert isinstance(create, wire.ResponseCreate)


@pytest.mark.parametrize("metadata", [{ASIDE: "true"}, None])
def test_the_words_are_played_but_never_truncated(metadata):
    client, _ = waiting()
    client(wire.ResponseCreated(response=Response(id="aside", metadata=metadata)))
    (play,) = client.sound("a", "aside")
    assert isinstance(play, Play)
    client(Played("a", 50))
    out = client.started()
    assert any(isinstance(each, Hush) for each in out)
    assert truncated(out) == []
    (cancel,) = [each for each in out if isinstance(each, wire.ResponseCancel)]
    assert cancel.response_id == "aside"
    assert client.sound("a", "aside") == []


def test_words_that_are_interrupted_before_they_begin_are_cancelled_when_they_do():
    client, _ = waiting()
    client(Interrupted())
    (cancel,) = aside_created(client)
    assert cancel.response_id == "aside"
    assert client.sound("a", "aside") == []
    assert client.done("aside") == []


@pytest.mark.parametrize("named", [True, False])
def test_a_server_that_cannot_is_not_asked_again_and_nobody_is_bothered(named):
    client, request = waiting()
    assert client.error("invalid_value", request.event_id if named else None) == []
    assert client(Waiting("One moment.")) == []
    (_, create) = client(Returned("call", "sunny"))
    assert isinstance(create, wire.ResponseCreate)


def test_nothing_is_said_where_somebody_speaks():
    client = Client()
    client.created()
    client.call()
    assert client(Waiting("One moment.")) == [], "the response is still open"
    client.done()
    client.started()
    assert client(Waiting("One moment.")) == []


def test_the_same_call_a_third_time_is_not_run():
    client = Client()
    client(Typed("Look."))
    out = []
    for number in range(MOST_REPEATS + 1):
        client.created(f"r{number}")
        out = client.call(f"c{number}", f"r{number}", arguments='{"a": 1}' if number else '{ "a":1}')
        if number < MOST_REPEATS:
            assert [type(each) for each in out] == [Run]
            client.done(f"r{number}")
            client(Returned(f"c{number}", "nothing"))
    assert outputs(out) == [NOT_RUN]
    (create,) = client.done(f"r{MOST_REPEATS}")
    assert create.response == ResponseParams(tool_choice="none")
    client.created("last")
    assert outputs(client.call("again", "last", arguments="{}")) == [NOT_RUN]
    assert client.done("last") == [], "it was told, and is not asked again"
    assert client.half.quiet


def test_other_arguments_are_another_call():
    client = Client()
    client.created()
    for number in range(5):
        assert isinstance(client.call(f"c{number}", arguments=f'{{"a": {number}}}')[0], Run)


def test_too_many_rounds_end_and_the_person_begins_anew():
    client = Client()

    def rounds(turn):
        ran = 0
        for number in range(2 * MOST_ROUNDS):
            client.created(f"{turn}{number}")
            (out,) = client.call(f"{turn}{number}", f"{turn}{number}", arguments=f"[{number}]")
            ran += isinstance(out, Run)
            client.done(f"{turn}{number}")
            client(Returned(f"{turn}{number}", "on and on"))
        return ran

    client(Typed("Look."))
    assert rounds("a") == MOST_ROUNDS
    client(Typed("Look again."))
    assert rounds("b") == MOST_ROUNDS


def test_what_nobody_waits_for_is_told_and_not_answered():
    client = Client()
    client.created()
    client.call()
    client.done()
    assert len(client(Returned("call", "cancelled", moot=True))) == 1
    assert client.half.quiet


def test_a_result_while_the_person_speaks_is_answered_with_what_they_say():
    client = Client()
    client.created()
    client.call()
    client.done()
    client.started()
    assert len(sent(client(Returned("call", "sunny")))) == 1
    client(wire.SpeechStopped(item_id="u", audio_end_ms=100))
    client.created("auto")
    assert client.done("auto") == []


def test_results_are_cut_to_their_share_of_the_window():
    client, _ = waiting(ours=True)
    (output,) = outputs(client(Returned("call", "x" * 1000)))
    assert output == "x" * 300 + CUT


def test_no_warning_comes_of_all_this():
    client, request = waiting()
    assert not any(isinstance(each, Warn) for each in client.error("x", request.event_id))
