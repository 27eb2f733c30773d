"""Both halves of a conversation over connections that break: what was said, typed and returned is known at the end."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.realtime.harness import BYTES_PER_MS, Counted, Server, new_session, sound
from tests.realtime.test_client import WANTED, Client, sent
from tests.realtime.test_pair import STEPS, World

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.client import (
    Captured,
    Changed,
    ClientSession,
    Hush,
    Interrupted,
    Lost,
    Played,
    Renew,
    Reported,
    Returned,
    Show,
    Tick,
    TurnBegun,
    TurnTaken,
    Typed,
    Warn,
)
from vivavoce.realtime.conversation import part_text
from vivavoce.realtime.recall import LOST
from vivavoce.realtime.values import (
    Audio,
    AudioInput,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputText,
    Message,
    OutputText,
    Response,
    ServerVad,
    Session,
    Transcription,
)

WORD_MS = 100
PAUSE_MS = 400
TRANSCRIBED = new_session(
    audio=Audio(input=AudioInput(turn_detection=ServerVad(), transcription=Transcription(model="whisper-1")))
)


def word(number):
    """Sound that says a number."""
    return (1000 + number).to_bytes(2, "little") * (len(sound(WORD_MS)) // 2)


def heard(audio):
    """The numbers that sound says."""
    samples = [int.from_bytes(audio[at : at + 2], "little") for at in range(0, len(audio), 2)]
    numbers = [sample - 1000 for sample in samples if sample]
    return " ".join(str(number) for number in dict.fromkeys(numbers))


class Lossy(World):
    """A world whose wires break, and whose server hears what is said."""

    def __init__(self):
        super().__init__()
        self.sessions = 0
        self.said = 0
        self.typed = 0
        self.connected = False
        self.connect()

    def connect(self):
        if self.connected:
            return
        self.connected = True
        self.sessions += 1
        self.server = Server(TRANSCRIBED)
        self.server.half._mint = Counted(f"s{self.sessions}_")
        self.down = deque(self.server.greeting)
        self.clock_ms, self.silent_ms, self.speaking = 0, 0, False

    def break_off(self):
        if self.connected:
            self.connected = False
            self.up.clear()
            self.down.clear()
            self.engine.clear()
            self.feel(self.client.step(Lost()))

    def note(self, event):
        assert self.connected, "nothing is sent while there is no connection"
        if isinstance(event, wire.ConversationItemTruncate):
            assert event.audio_end_ms == self.heard_ms[event.item_id]

    def do_up(self, event):
        self.obey(self.server(event))
        if isinstance(event, wire.InputAudioBufferAppend):
            size = WORD_MS * BYTES_PER_MS
            for at in range(0, len(event.audio), size):
                self.hear(event.audio[at : at + size])

    def hear(self, piece):
        self.clock_ms += round(len(piece) / BYTES_PER_MS)
        self.silent_ms = 0 if any(piece) else self.silent_ms + WORD_MS
        if any(piece) and not self.speaking:
            self.speaking = True
            self.obey(self.server(facts.Started(round(self.clock_ms) - WORD_MS)))
        elif self.speaking and self.silent_ms >= PAUSE_MS:
            self.speaking = False
            self.obey(self.server(facts.Stopped(round(self.clock_ms))))

    def obey(self, outputs):
        for output in outputs:
            if isinstance(output, facts.Transcribe):
                self.engine.append(facts.Heard(output.item_id, heard(output.audio), final=True))
            else:
                super().obey([output])

    def wish(self, what):
        match what:
            case "word":
                self.said += 1
                self.feel(self.client.step(Captured(word(self.said))))
            case "pause":
                self.feel(self.client.step(Captured(sound(PAUSE_MS))))
            case "type":
                self.typed += 1
                self.feel(self.client.step(Typed(f"typed {self.typed}")))
            case "cut":
                self.break_off()
            case "connect":
                self.connect()
            case _:
                super().wish(what)

    def settle(self):
        self.connect()
        self.wish("pause")
        super().settle()

    def messages(self, role):
        items = [entry.item for entry in self.server.half.conversation]
        return [
            "".join(map(part_text, item.content)) for item in items if isinstance(item, Message) and item.role == role
        ]


WISHES = ("word", "word", "pause", "type", "tool question", "cut", "connect")


def run(program):
    world = Lossy()
    for what in program:
        world.step(what) if what in STEPS else world.wish(what)
    world.settle()
    return world


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS * 2 + WISHES), max_size=80))
def test_nothing_that_was_said_typed_or_returned_is_lost(program):
    world = run(program)
    assert world.client.quiet, world.client.state
    assert world.warnings == []
    assert not world.server.order.open
    told = world.messages("user")
    words = [int(number) for text in told if not text.startswith("typed") for number in text.split()]
    assert words == list(range(1, world.said + 1))
    assert sorted(text for text in told if text.startswith("typed")) == sorted(
        f"typed {number + 1}" for number in range(world.typed)
    )
    items = [entry.item for entry in world.server.half.conversation]
    calls = [str(item.call_id) for item in items if isinstance(item, FunctionCall)]
    outputs = {item.call_id: item.output for item in items if isinstance(item, FunctionCallOutput)}
    assert sorted(outputs) == sorted(calls)
    assert {call_id for call_id, output in outputs.items() if output != LOST} == set(world.ran)
    assert set(world.ran.values()) <= {1}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from((*STEPS * 2, "cut", "connect")), max_size=60), st.sampled_from(["word", "type"]))
def test_what_the_person_says_is_answered_however_often_the_connection_breaks(program, wish):
    world = run([wish, "pause", *program])
    items = [entry.item for entry in world.server.half.conversation]
    assert [item.role for item in items] == ["user", "assistant"]
    assert part_text(items[1].content[0])


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from((*STEPS * 2, "cut", "connect")), max_size=60))
def test_calls_are_answered_once(program):
    world = run(["tool question", *program])
    assert set(world.follow_ups.values()) <= {1}
    assert world.messages("assistant")[-1].startswith("A skylark")


# Step by step ---------------------------------------------------------------------------------------------------------


def updated():
    detection = ServerVad()
    return wire.SessionUpdated(session=Session(audio=Audio(input=AudioInput(turn_detection=detection))))


class Lasting(Client):
    """A client whose connection can be lost and found."""

    def lose(self):
        return self(Lost())

    def back(self):
        """Return what the new session is sent once its settings are in effect."""
        (update,) = self(wire.SessionCreated(session=Session()))
        assert isinstance(update, wire.SessionUpdate)
        return self(updated())


@pytest.fixture
def client():
    lasting = Lasting(ready=False)
    lasting.back()
    return lasting


def kinds(outputs):
    return [type(output) for output in outputs]


def answered(client, text="Hello there.", ms=1000):
    client.created()
    added = Message(id="i", role="assistant", status="in_progress", content=())
    client(wire.OutputItemAdded(response_id="r", output_index=0, item=added))
    client.words(text)
    return client.sound(ms=ms)


def test_without_a_session_nothing_is_sent(client):
    client.lose()
    assert client.state == "reconnecting"
    assert not client.half.ready
    assert client(Captured(sound(20)), Typed("Hello."), Interrupted(), TurnBegun(), TurnTaken()) == []
    (typed,) = client.back()
    assert typed.item.content == (InputText(text="Hello."),), "and it was interrupted before it was answered"


def test_an_answer_of_which_nothing_was_heard_is_taken_back(client):
    client(Typed("Hello?"))
    answered(client)
    outputs = client.lose()
    assert kinds(outputs) == [Hush, Show]
    assert (outputs[1].text, outputs[1].cut) == ("Hello there.", True)
    assert kinds(client.back()) == [wire.ConversationItemCreate, wire.ResponseCreate]


def test_an_answer_that_was_heard_in_part_plays_on_and_is_left_as_far_as_it_came(client):
    client(Typed("Hello?"))
    answered(client, "Hello there, Ada.", ms=1020)
    client(Played("i", 100))
    client.words(" Nobody hears this.")
    (shown,) = client.lose()
    assert (shown.text, shown.final, shown.cut) == ("Hello there, Ada.", True, False)
    typed, said = client.back()
    assert typed.item.content[0].text == "Hello?"
    assert said.item == Message(id="i", role="assistant", content=(OutputText(text="Hello there, Ada."),))
    assert client.state == "speaking"
    client(Played("i", 1020, all_played=True))
    assert client.half.quiet


def test_an_answer_that_plays_on_can_be_cut_in_the_new_session(client):
    client(Typed("Hello?"))
    answered(client, "Hello there, Ada.", ms=1020)
    client(Played("i", 100))
    client.lose()
    client.back()
    client(Played("i", 800))
    outputs = client.started()
    (gone, left) = sent(outputs)
    assert gone == wire.ConversationItemDelete(event_id=gone.event_id, item_id="i")
    assert left.item.content == (OutputText(text="Hello there,"),)
    assert Hush() in outputs


def test_calls_run_on_and_their_results_go_to_the_new_session(client):
    client(Typed("Look!"))
    client.created()
    client.call("one")
    client.call("two", id="g")
    assert client.lose() == []
    client(Returned("one", "Seen."))
    told = client.back()
    assert [type(event.item) for event in told] == [Message, FunctionCall, FunctionCall, FunctionCallOutput]
    output, ask = client(Returned("two", "Seen."))
    assert (output.item.call_id, type(ask)) == ("two", wire.ResponseCreate)


def test_a_turn_that_ended_is_answered_by_the_new_session(client):
    client(Captured(sound(1000)))
    client.started()
    client(wire.SpeechStopped(item_id="u", audio_end_ms=1000))
    client.lose()
    (item, ask) = client.back()
    assert item.item == Message(id="u", role="user", content=(InputAudio(audio=sound(1000)),))
    assert isinstance(ask, wire.ResponseCreate)


def test_what_is_being_said_is_said_again_and_its_words_so_far_are_taken_back(client):
    client(Captured(sound(1000)))
    client.started()
    client(wire.InputTranscriptPartial(item_id="u", transcript="My na"))
    assert client.lose() == [Show(role="user", item_id="u", text="", final=True)]
    client(Captured(sound(500)))
    appended = client.back()
    assert kinds(appended) == [wire.InputAudioBufferAppend] * 2
    assert sum(len(event.audio) for event in appended) == len(sound(1500))


def test_a_turn_of_push_to_talk_goes_on_and_is_committed(client):
    client(Changed({"audio": {"input": {"turn_detection": None}}}))
    client(TurnBegun(), Captured(sound(500)))
    client.lose()
    client(Captured(sound(500)), TurnTaken())
    outputs = client.back()
    assert kinds(outputs) == [wire.InputAudioBufferAppend, wire.InputAudioBufferCommit, wire.ResponseCreate]
    assert len(outputs[0].audio) == len(sound(1000))


def test_settings_are_asked_for_as_they_were_last(client):
    client(Changed({"instructions": "Be long."}))
    client.lose()
    client(Changed({"audio": {"output": {"voice": "high"}}}))
    (update,) = client(wire.SessionCreated(session=Session()))
    assert update.session == WANTED | {"instructions": "Be long.", "audio": {"output": {"voice": "high"}}}


def test_news_wait_for_the_new_session(client):
    client.lose()
    assert client(Reported("The eggs are done.")) == []
    item, ask = client.back()
    assert item.item.content == (InputText(text="The eggs are done."),)
    assert isinstance(ask, wire.ResponseCreate)


def test_a_greeting_that_was_not_heard_is_given_again():
    client = Lasting(ready=False, greeting="Greet.")
    (greeting,) = client.back()
    client.lose()
    (again,) = client.back()
    assert again.response == greeting.response
    answered(client)
    client(Played("i", 100))
    client.lose()
    assert kinds(client.back()) == [wire.ConversationItemCreate]


def test_what_the_new_session_refuses_of_the_old_one_is_no_business_of_the_person(client):
    client(Typed("Hello."))
    client.lose()
    retold, ask = client.back()
    assert client.error("invalid_value", event_id=retold.event_id) == []
    assert kinds(client.error("invalid_value", event_id=ask.event_id)) == [Warn]


def test_a_session_that_expires_is_not_complained_about(client):
    assert client.error("session_expired") == []


# Time -----------------------------------------------------------------------------------------------------------------

UNIX = 1_800_000_000


def begun(life_s):
    half = ClientSession(WANTED, mint=Counted("c_"), unix=UNIX)
    half.step(wire.SessionCreated(session=Session(expires_at=UNIX + life_s)), 0.0)
    half.step(updated(), 0.0)
    return half


@pytest.mark.parametrize(("life_s", "due"), [(3600, 3540.0), (300, 270.0), (0, None), (-4000, None)])
def test_when_a_session_is_renewed(life_s, due):
    assert begun(life_s).deadline() == due


def test_a_quiet_session_is_renewed_and_nobody_sees_it():
    half = begun(300)
    assert half.step(Tick(), 269.0) == []
    assert half.step(Tick(), 270.0) == [Renew()]
    assert (half.state, half.ready, half.deadline()) == ("listening", False, None)
    half.step(wire.SessionCreated(session=Session(expires_at=UNIX + 570)), 270.0)
    assert (half.step(updated(), 270.0), half.state, half.deadline()) == ([], "listening", 540.0)


def test_a_session_is_not_renewed_while_somebody_speaks():
    half = begun(300)
    half.step(wire.SpeechStarted(item_id="u", audio_start_ms=0), 260.0)
    assert half.step(Tick(), 270.0) == []
    assert half.deadline() is None, "the moment has passed; the next quiet one will do"
    assert half.step(wire.SpeechStopped(item_id="u", audio_end_ms=0), 271.0) == []
    created = wire.ResponseCreated(response=Response(id="r"))
    half.step(created, 272.0)
    done = wire.ResponseDone(response=Response(id="r", status="completed"))
    assert half.step(done, 273.0) == [Renew()]
