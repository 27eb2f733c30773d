from __future__ import annotations

import pytest
from msgspec import UNSET
from tests.realtime.harness import Counted, sound, types

from vivavoce.realtime import events as wire
from vivavoce.realtime.client import (
    HUSHED,
    Captured,
    Changed,
    ClientSession,
    Hush,
    Interrupted,
    Play,
    Played,
    Report,
    Reported,
    Returned,
    Run,
    Show,
    Stop,
    TurnBegun,
    TurnTaken,
    Typed,
    Unanswered,
    Warn,
)
from vivavoce.realtime.refusal import without
from vivavoce.realtime.values import (
    Annotation,
    Audio,
    AudioInput,
    ErrorDetail,
    FunctionCall,
    Message,
    OutputAudio,
    Response,
    ResponseParams,
    ServerVad,
    Session,
    StatusDetails,
)

WANTED = {"type": "realtime", "instructions": "Be brief.", "vivavoce": {"partials": True}}


class Client:
    """Drives a client's half, and speaks for the server."""

    def __init__(self, *, ready=True, detection=None, greeting=None):
        self.half = ClientSession(WANTED, mint=Counted("c_"), greeting=greeting)
        if ready:
            self(wire.SessionCreated(session=Session()))
            self.updated(detection)

    def __call__(self, *happened):
        return [output for one in happened for output in self.half.step(one)]

    def updated(self, detection=None):
        return self(wire.SessionUpdated(session=Session(audio=Audio(input=AudioInput(turn_detection=detection)))))

    @property
    def state(self):
        return self.half.state

    def created(self, response_id="r"):
        return self(wire.ResponseCreated(response=Response(id=response_id)))

    def done(self, response_id="r", **response):
        return self(wire.ResponseDone(response=Response(id=response_id, **{"status": "completed"} | response)))

    def words(self, text, item_id="i", response_id="r", kind=wire.OutputAudioTranscriptDelta):
        return self(kind(response_id=response_id, item_id=item_id, output_index=0, delta=text))

    def sound(self, item_id="i", response_id="r", ms=100):
        return self(wire.OutputAudioDelta(response_id=response_id, item_id=item_id, output_index=0, delta=sound(ms)))

    def said(self, item_id="i", response_id="r"):
        message = Message(id=item_id, role="assistant", content=())
        return self(wire.OutputItemDone(response_id=response_id, output_index=0, item=message))

    def call(self, call_id="call", response_id="r", **changes):
        call = FunctionCall(**{"id": "f", "call_id": call_id, "name": "look", "arguments": "{}"} | changes)
        return self(wire.OutputItemDone(response_id=response_id, output_index=0, item=call))

    def error(self, code=None, event_id=None, **detail):
        return self(wire.Error(error=ErrorDetail(type="t", code=code, message="m", event_id=event_id, **detail)))

    def started(self):
        return self(wire.SpeechStarted(item_id="u", audio_start_ms=0))


@pytest.fixture
def client():
    return Client()


def answering(*items, done=False):
    """A client that hears an answer."""
    client = Client()
    client.created()
    for item_id in items or ("i",):
        client.words("Hello there.", item_id)
        client.sound(item_id)
    if done:
        client.done()
    return client


def sent(outputs):
    return [output for output in outputs if isinstance(output, wire.ClientEvent)]


def truncated(outputs):
    return [(one.item_id, one.audio_end_ms) for one in outputs if isinstance(one, wire.ConversationItemTruncate)]


def test_greeting():
    client = Client(ready=False)
    assert client.state == "connecting"
    (update,) = client(wire.SessionCreated(session=Session()))
    assert update.session == WANTED
    assert client.updated() == client.updated() == []
    assert client.state == "listening"
    assert client.half.quiet


def test_a_server_that_does_not_know_our_extensions_is_asked_without_them():
    client = Client(ready=False)
    client(wire.SessionCreated(session=Session()))
    (update,) = client.error("unknown_parameter", param="session.vivavoce")
    assert update.session == {"type": "realtime", "instructions": "Be brief."}


def test_events_have_ids_but_not_the_sound(client):
    (append,) = client(Captured(b"00"))
    assert "event_id" not in wire.encode(append)
    (item, create) = client(Typed("Hello."))
    assert item.event_id != create.event_id


def test_an_answer_is_shown_played_and_over_when_all_was_heard(client):
    client.created()
    assert client.state == "thinking"
    assert client.words("Hello") == [Show(role="assistant", item_id="i", text="Hello", heard=0)]
    assert client.words(" there.") == [Show(role="assistant", item_id="i", text="Hello there.", heard=0)]
    assert client.sound() == [Play("i", sound(100))]
    assert (client.state, client.half.playing_item, client.half.answering) == ("speaking", "i", True)
    assert client.said() == [Show(role="assistant", item_id="i", text="Hello there.", final=True, heard=0)]
    client.done()
    client(Played("i", 50))
    assert client.state == "speaking"
    client(Played("nowhere", 100, all_played=True))
    assert client.state == "speaking"
    client(Played("i", 100, all_played=True))
    assert client.half.quiet
    assert client.half.playing_item is None


def test_sound_that_ends_before_its_response_is_over_with_it():
    client = answering()
    client(Played("i", 100, all_played=True))
    assert client.state == "speaking"
    client.done()
    assert client.half.quiet


def test_more_sound_after_a_gap_is_not_over():
    client = answering()
    client(Played("i", 100, all_played=True))
    client.sound()
    client.done()
    assert client.state == "speaking"


def test_quiet_only_when_nothing_was_asked_for(client):
    client(Typed("Hello."))
    assert client.state == "thinking"
    assert not client.half.quiet


# Interruption


def test_barge_in_hushes_and_tells_what_was_heard():
    client = answering()
    client(Played("i", 40), Played("i", 30))
    outputs = client.started()
    assert types(outputs) == ["Hush", "conversation.item.truncate", "Show"]
    assert truncated(outputs) == [("i", 40)]
    assert outputs[-1] == Show(role="assistant", item_id="i", text="Hello there.", final=True, cut=True, heard=0)
    assert client.state == "hearing you"
    assert types(client.sound()) == ["response.cancel"]
    assert client.sound() == client.words("more") == client.said() == client.call() == []
    client(wire.SpeechStopped(item_id="u", audio_end_ms=5))
    client.done()
    assert client.half.quiet


def test_an_answer_that_waits_behind_another_is_cut_too():
    client = answering("i", "j", "k", done=True)
    client(Played("j", 30))
    assert truncated(client(Interrupted())) == [("j", 30), ("k", 0)]


def test_all_of_an_old_answer_is_not_all():
    client = answering("i", "j", done=True)
    client(Played("i", 100, all_played=True))
    assert client.state == "speaking"
    client(Played("j", 100, all_played=True))
    assert client.half.quiet


def test_nothing_is_cut_where_the_session_says_so():
    client = Client(detection=ServerVad(interrupt_response=False))
    client.created()
    client.sound()
    assert client.started() == []
    assert client.sound() != []
    assert types(client(Interrupted()))[:2] == ["response.cancel", "Hush"]


def test_an_interruption_cancels_once():
    client = answering()
    outputs = client(Interrupted())
    assert types(outputs) == ["response.cancel", "Hush", "conversation.item.truncate", "Show"]
    assert outputs[0].response_id == "r"
    assert client(Interrupted()) == []
    assert client.done(status="cancelled") == []
    assert client.half.quiet


def test_words_that_were_never_sounded_are_cut(client):
    client.created()
    client.words("Hello")
    assert client(Interrupted())[-1] == Show(role="assistant", item_id="i", text="Hello", final=True, cut=True, heard=0)


def test_sound_that_comes_too_late_was_not_heard(client):
    client.created()
    client(Interrupted())
    assert truncated(client.sound()) == [("i", 0)]
    assert client.sound() == []


def test_a_response_that_is_not_there_yet_is_interrupted(client):
    client(Typed("Hello."))
    (cancel,) = client(Interrupted())
    assert "response_id" not in wire.encode(cancel)
    assert client(Interrupted()) == []
    client.created()
    assert truncated(client.sound()) == [("i", 0)]
    client.done(status="cancelled")
    client(Typed("Again."))
    client.created("s")
    assert client.sound("j", "s") == [Play("j", sound(100))]


def test_what_was_interrupted_is_forgotten_some_day(client):
    for number in range(HUSHED):
        client.created(f"r{number}")
        client.sound(f"i{number}", f"r{number}")
        client(Interrupted())
        client.done(f"r{number}")
    assert len(client.half._hushed) == HUSHED
    assert len(client.half._words) <= 1


# The person's turn


def test_typing_asks(client):
    (item, create) = client(Typed("Hello."))
    assert item.item.content[0].text == "Hello."
    assert types([item, create]) == ["conversation.item.create", "response.create"]


def test_typing_while_it_speaks_interrupts_and_asks_when_it_has_ended():
    client = answering()
    outputs = client(Typed("Stop!"))
    assert types(sent(outputs)) == ["response.cancel", "conversation.item.truncate", "conversation.item.create"]
    assert types(client.done(status="cancelled")) == ["response.create"]
    assert client.state == "thinking"


def test_silence_takes_back_what_was_asked_for():
    client = answering()
    client(Typed("Stop!"), Interrupted())
    assert client.done(status="cancelled") == []
    assert client.half.quiet


def test_push_to_talk_silences_listens_commits_and_asks():
    client = answering()
    assert types(sent(client(TurnBegun()))) == [
        "response.cancel",
        "conversation.item.truncate",
        "input_audio_buffer.clear",
    ]
    client(wire.InputAudioBufferCleared())
    client.done(status="cancelled")
    assert client.state == "hearing you"
    client(Captured(sound(100)))
    assert types(client(TurnTaken())) == ["input_audio_buffer.commit", "response.create"]
    assert client.state == "thinking"


def test_push_to_talk_that_was_only_touched_asks_for_nothing(client):
    client(TurnBegun(), Captured(sound(80)))
    assert types(client(TurnTaken())) == ["input_audio_buffer.clear"]
    assert client.half.quiet


def test_words_are_heard_with_their_sound():
    client = Client()
    client.created()
    client.words("One two. ")
    client.sound(ms=400)
    client.words("Three four.")
    client.sound(ms=600)
    heard = [client(Played("i", ms)) for ms in (0, 100, 250, 390, 400, 401, 850, 1000)]
    assert [one.heard for shows in heard for one in shows] == [3, 8, 14, 20]


def test_all_of_an_answer_was_heard_where_the_next_one_is(client):
    client.created()
    client.words("Hello there.")
    client.sound(ms=1000)
    client.said()
    client.sound("next")
    client(Played("i", 400))
    (show,) = client(Played("next", 20))
    assert (show.item_id, show.heard) == ("i", len("Hello there."))


def test_words_whose_sound_has_not_come_are_not_heard():
    client = answering()
    client.words(" And more.")
    client(Played("i", 100))
    assert [one.heard for one in client(Interrupted()) if isinstance(one, Show)] == [len("Hello there.")]


def test_an_answer_in_writing_is_not_heard(client):
    client(Changed({"output_modalities": ["text"]}))
    client.created()
    assert client.words("Hello", kind=wire.OutputTextDelta)[0].heard is None


def test_changed_settings_are_sent_and_kept():
    client = Client(ready=False)
    assert client(Changed({"audio": {"output": {"voice": "b"}}})) == []
    (asked,) = client(wire.SessionCreated(session=Session()))
    assert asked.session == WANTED | {"audio": {"output": {"voice": "b"}}}
    client.updated()
    (update,) = client(Changed({"instructions": "Be long."}))
    assert update.session == {"type": "realtime", "instructions": "Be long."}


def test_news_wait_for_a_quiet_moment():
    client = answering()
    assert client(Reported("Tea."), Reported("Eggs.")) == []
    client.done()
    item, ask = sent(client(Played("i", 100, all_played=True)))
    assert (item.item.role, item.item.content[0].text) == ("user", "Tea.")
    assert ask == wire.ResponseCreate(event_id=ask.event_id, response=ResponseParams(tool_choice="none"))
    client.created("s")
    assert types(client.done("s")) == ["conversation.item.create", "response.create"]


def test_an_interruption_names_the_calls_that_run(client):
    client.created()
    client.call("a")
    client.call("b")
    client.done()
    client(Returned("a", "1"))
    assert client(Interrupted()) == [Stop(("b",))]


def test_what_an_answer_cites_is_shown_once(client):
    client.created()
    page = Annotation(type="url_citation", url="https://example.org", title="A page")
    file = Annotation(type="file_citation", file_id="file_1", filename="a.md")
    content = (OutputAudio(transcript="So.", annotations=(page, file, page)),)
    message = Message(id="i", role="assistant", content=content)
    (cite,) = client(wire.OutputItemDone(response_id="r", output_index=0, item=message))
    assert [(one.title, one.url, one.file_id) for one in cite.sources] == [
        ("A page", "https://example.org", None),
        ("a.md", None, "file_1"),
    ]


@pytest.mark.parametrize(
    "end",
    [
        wire.SpeechStopped(item_id="u", audio_end_ms=5),
        wire.InputAudioBufferCommitted(item_id="u"),
        wire.InputAudioBufferCleared(),
    ],
)
def test_whatever_ends_the_turn(client, end):
    client.started()
    assert client.state == "hearing you"
    client(end)
    assert client.half.quiet


def test_what_the_person_said_is_shown(client):
    partial = client(wire.InputTranscriptPartial(item_id="u", transcript="Hel"))
    assert partial == [Show(role="user", item_id="u", text="Hel")]
    for text in ("Hello", "Hello there"):
        shown = client(wire.TranscriptionCompleted(item_id="u", transcript=text))
        assert shown == [Show(role="user", item_id="u", text=text)]
    turn = Message(id="u", role="user", content=())
    final = Show(role="user", item_id="u", text="Hello there", final=True)
    assert client(wire.ConversationItemAdded(item=turn)) == [final]
    assert client(wire.ConversationItemDone(item=turn)) == client.created() == []
    assert client(wire.TranscriptionCompleted(item_id="u", transcript="Hello there")) == []
    [longer] = client(wire.TranscriptionCompleted(item_id="u", transcript="Hello there, Ann."))
    assert (longer.text, longer.final) == ("Hello there, Ann.", True)


def test_a_transcript_that_comes_after_its_turn_was_taken_is_final_at_once(client):
    client(wire.ConversationItemAdded(item=Message(id="u", role="user", content=())))
    pieces = [client(wire.TranscriptionDelta(item_id="u", delta=piece)) for piece in ("Hel", "lo")]
    assert [(show.text, show.final) for [show] in pieces] == [("Hel", False), ("Hello", False)]
    [final] = client(wire.TranscriptionCompleted(item_id="u", transcript="Hello."))
    assert (final.text, final.final) == ("Hello.", True)
    assert client(wire.TranscriptionDelta(item_id="u", delta="lo")) == []


def test_the_next_turn_settles_the_last_and_may_have_the_same_id(client):
    shown = []
    for text in ("One.", "Two."):
        shown = client(wire.SpeechStarted(item_id="", audio_start_ms=0))
        shown += client(wire.TranscriptionCompleted(item_id="", transcript=text))
    assert [(show.text, show.final) for show in shown] == [("One.", True), ("Two.", False)]
    assert [(show.text, show.final) for show in client.created()] == [("Two.", True)]


REFUSED = [
    ("session.audio.output.voice", "m", True),
    (None, "Unknown parameter: 'session.audio.output.voice'.", True),
    ("session.vivavoce", "m", False),
]


@pytest.mark.parametrize(("param", "message", "told"), REFUSED)
def test_settings_are_asked_for_again_without_what_the_server_refuses(param, message, told):
    wanted = WANTED | {"audio": {"output": {"voice": "nobody", "format": {"type": "audio/pcm"}}}, "tools": [{"a": 1}]}
    half = ClientSession(wanted, mint=Counted("c_"))
    half.step(wire.SessionCreated(session=Session()))
    detail = ErrorDetail(type="t", code="invalid_value", message=message, param=param)
    again, *warned = half.step(wire.Error(error=detail))
    assert isinstance(again, wire.SessionUpdate)
    assert again.session == without(wanted, str(param or "session.audio.output.voice").removeprefix("session."))
    assert bool(warned) == told
    assert half.step(wire.Error(error=detail)) != []  # nothing is left to drop: it is said
    assert without(wanted, "tools[0].a") == wanted | {"tools": [{}]}
    assert without(wanted, "tools[1]") is None
    assert without(wanted, "") is None


def test_a_server_that_never_says_that_its_settings_hold():
    waiting = Client(ready=False)
    waiting(wire.SessionCreated(session=Session()))
    assert waiting(Typed("Hello?")) == []
    assert types(waiting(Unanswered())) == ["conversation.item.create", "response.create"]
    for sign in (
        wire.SpeechStarted(item_id="u", audio_start_ms=0),
        wire.ResponseCreated(response=Response(id="r")),
    ):
        waiting = Client(ready=False, greeting="Say hello.")
        assert waiting.state == "connecting"
        assert "response.create" not in types(waiting(sign))
        assert waiting.state != "connecting"


def test_sound_may_come_before_its_words(client):
    client.created()
    client.sound()
    assert types(client(Played("i", 50))) == []
    client.words("Hello there.")
    client.sound()
    assert client(Played("i", 150))[-1].heard == len("Hello")


def test_a_call_that_is_told_twice_runs_once(client):
    client.created()
    assert types(client.call()) == ["Run"]
    assert client.call() == []


@pytest.mark.parametrize("detail", [{"code": "item_truncate_invalid_item_id"}, {"code": "response_cancel_not_active"}])
def test_an_error_about_silence_is_no_news(client, detail):
    assert client.error(**detail) == []
    flat = ErrorDetail(type="server_error", message="Cancellation failed: no active response found")
    assert client(wire.Error(error=flat)) == []
    client.created()
    client.sound()
    client.started()
    [cancel] = client.sound()
    assert client.error("whatever", cancel.event_id) == []
    failed = wire.TranscriptionFailed(item_id="u", error={"code": "c", "message": "m"})
    assert client(failed) == [Warn("c", "m")]
    assert client(wire.TranscriptionFailed(item_id="u", error={}))[0].code == "transcription_failed"


# Tools


def test_one_answer_to_all_calls(client):
    client.created()
    assert client.call("a", arguments='{"x":1}') == [Run("a", "look", '{"x":1}')]
    client.call("b")
    assert types(client(Returned("b", "2"))) == ["conversation.item.create"]
    assert client.done() == []
    assert client.state == "thinking"
    outputs = client(Returned("a", "1"))
    assert types(outputs) == ["conversation.item.create", "response.create"]
    assert (outputs[0].item.call_id, outputs[0].item.output) == ("a", "1")
    assert client(Returned("a", "again"), Returned("nowhere", "?")) == []


def test_calls_that_return_before_the_response_is_done(client):
    client.created()
    client.call()
    assert types(client(Returned("call", "1"))) == ["conversation.item.create"]
    assert types(client.done()) == ["response.create"]
    assert client.done() == []


def test_a_tool_that_returns_while_the_next_answer_is_given(client):
    client.created()
    client.call()
    client.done()
    client.created("s")
    assert types(client(Returned("call", "1"))) == ["conversation.item.create"]
    assert types(client.done("s")) == ["response.create"]


def test_a_tool_of_an_interrupted_answer_is_not_talked_about():
    client = answering()
    client.call()
    client(Interrupted())
    client.done(status="cancelled")
    assert client.state == "thinking"
    assert types(client(Returned("call", "1"))) == ["conversation.item.create"]
    assert client.half.quiet


def test_calls_that_cannot_be_run(client):
    client.created()
    assert client.call(status="incomplete") == []
    assert (
        client.half.step(
            wire.OutputItemDone(response_id="r", output_index=0, item=FunctionCall(name="a", arguments=""))
        )
        == []
    )
    assert client.done() == []


# Errors


def asked(client):
    (*_, create) = client(Typed("Hello."))
    return create.event_id


def test_a_refused_request_is_over(client):
    event_id = asked(client)
    assert client.error("invalid_value", "other") == [Warn("invalid_value", "m")]
    assert client.state == "thinking"
    assert client.error("invalid_value", event_id) == [Warn("invalid_value", "m")]
    assert client.half.quiet


def test_an_error_that_names_no_event_ends_the_request(client):
    asked(client)
    assert client.error() == [Warn("t", "m")]
    assert client.half.quiet


def test_a_request_that_crossed_a_turn_is_repeated(client):
    event_id = asked(client)
    client.created("of the turn")
    assert client.error("conversation_already_has_active_response", event_id) == []
    assert types(client.done("of the turn")) == ["response.create"]


def test_a_request_that_was_overtaken_by_the_next_is_no_news(client):
    first = asked(client)
    client(Typed("And you?"))
    client.created("of the turn")
    assert types(client.done("of the turn", status="cancelled")) == ["response.create"]
    assert client.error("conversation_already_has_active_response", first) == []
    assert client.state == "thinking"


def test_a_refusal_without_a_reason_is_not_repeated_for_ever(client):
    event_id = asked(client)
    assert types(client.error("conversation_already_has_active_response", event_id)) == ["Warn"]
    assert client.half.quiet


def test_a_cancellation_that_came_too_late_is_no_news(client):
    assert client.error("response_cancel_not_active") == []


def test_a_failed_response_is_told(client):
    client.created()
    detail = ErrorDetail(type="server_error", code="llm_failed", message="Broken.")
    outputs = client.done(status="failed", status_details=StatusDetails(type="failed", error=detail))
    assert outputs == [Warn("llm_failed", "Broken.")]
    assert client.half.quiet


def test_an_error_of_another_event_leaves_an_answer_alone():
    client = answering()
    client.error("invalid_value", None)
    assert client.half.answering


# Other servers


def test_words_that_come_twice_are_shown_once(client):
    client.created()
    assert len(client.words("Hello.", kind=wire.OutputTextDelta)) == 1
    assert client.words("Hello.") == []
    assert client.words(" Bye.", kind=wire.OutputTextDelta)[0].text == "Hello. Bye."
    client.words("A", "j")
    assert client.words("A", "j", kind=wire.OutputTextDelta) == []


def test_what_is_not_for_us_is_ignored(client):
    message = Message(id="u", role="user", content=())
    assert client(wire.Unknown("new", {}), wire.ConversationItemCreated(item=message)) == []
    assert client(wire.RateLimitsUpdated(rate_limits=())) == []
    assert client.said() == []


def test_timings_are_reported(client):
    timings = wire.ResponseTimings(response_id="r")
    assert client(timings) == [Report(timings)]


def test_an_item_without_words_is_hushed_without_words(client):
    client.created()
    client.sound()
    assert [type(output) for output in client.started()] == [Hush, wire.ConversationItemTruncate]


def test_a_greeting_opens_the_conversation_once():
    client = Client(ready=False, greeting="Say hello.")
    client(wire.SessionCreated(session=Session()))
    (asked,) = client.updated()
    assert asked.response.instructions == "Say hello."
    assert client.state == "thinking"
    assert client.updated() == []


def test_what_is_typed_early_waits_for_the_settings_and_comes_before_a_greeting():
    client = Client(ready=False, greeting="Say hello.")
    assert client(Typed("one")) == []
    client(wire.SessionCreated(session=Session()))
    outputs = client.updated()
    assert types(outputs) == ["conversation.item.create", "response.create"]
    assert outputs[1].response is UNSET
