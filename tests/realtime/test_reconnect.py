"""Both halves of a conversation over connections that break: what was said, typed and returned is known at the end."""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.realtime.harness import BYTES_PER_MS, Counted, Server, new_session, sound
from tests.realtime.test_pair import STEPS, World

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.client import (
    Captured,
    Lost,
    Typed,
)
from vivavoce.realtime.conversation import part_text
from vivavoce.realtime.recall import LOST
from vivavoce.realtime.values import (
    Audio,
    AudioInput,
    FunctionCall,
    FunctionCallOutput,
    Message,
    ServerVad,
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


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
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


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from((*STEPS * 2, "cut", "connect")), max_size=60), st.sampled_from(["word", "type"]))
def test_what_the_person_says_is_answered_however_often_the_connection_breaks(program, wish):
    world = run([wish, "pause", *program])
    items = [entry.item for entry in world.server.half.conversation]
    assert [item.role for item in items] == ["user", "assistant"]
    assert part_text(items[1].content[0])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from((*STEPS * 2, "cut", "connect")), max_size=60))
def test_calls_are_answered_once(program):
    world = run(["tool question", *program])
    assert set(world.follow_ups.values()) <= {1}
    assert world.messages("assistant")[-1].startswith("A skylark")
