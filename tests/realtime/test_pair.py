from __future__ import annotations

from collections import Counter, deque
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.realtime.harness import BYTES_PER_MS, Counted, Server, sound

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.client import (
    NOT_RUN,
    Captured,
    ClientSession,
    Hush,
    Interrupted,
    Play,
    Played,
    Returned,
    Run,
    Typed,
    Warn,
)
from vivavoce.realtime.values import FunctionCallOutput

SENTENCES = ("A skylark is a small brown bird.", " It sings while flying.", " Poets like it.")
SENTENCE_MS = 1200
STEPS = ("up", "down", "engine", "play", "tool")
"""Whose turn it is: the wire to the server, the wire to the client, the engine, the speaker, the tools."""
WISHES = ("talk", "type", "interrupt", "tool question")


class World:
    """A person, a client's half, two wires, a server's half, an engine and a speaker; each goes at its own pace."""

    def __init__(self):
        self.server = Server()
        wanted = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        self.client = ClientSession(wanted, mint=Counted("c_"))
        self.up: deque[Any] = deque()
        self.down: deque[Any] = deque(self.server.greeting)
        self.engine: deque[Any] = deque()
        self.speaker: deque[Any] = deque()
        self.tools: deque[Any] = deque()
        self.heard_ms: Counter[str] = Counter()
        self.cut: dict[str, int] = {}
        self.played_out = True
        self.ran: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.follow_ups: Counter[str] = Counter()
        self.wants_tool = False
        self.clock_ms = 0.0
        self.warnings: list[Warn] = []

    # Everyone's step

    def step(self, who):
        queue = {"up": self.up, "down": self.down, "engine": self.engine, "play": self.speaker, "tool": self.tools}[who]
        if queue:
            getattr(self, f"do_{who}")(queue.popleft())
            return True
        return False

    def do_up(self, event):
        self.obey(self.server(event))
        if isinstance(event, wire.InputAudioBufferAppend):
            self.clock_ms += len(event.audio) / BYTES_PER_MS

    def do_down(self, event):
        self.feel(self.client.step(event))

    def do_engine(self, fact):
        self.obey(self.server(fact))

    def do_play(self, play):
        self.heard_ms[play.item_id] += round(len(play.audio) / BYTES_PER_MS)
        self.report(play.item_id)

    def do_tool(self, run):
        self.feel(self.client.step(Returned(run.call_id, "done")))

    def report(self, item_id):
        self.feel(self.client.step(Played(item_id, self.heard_ms[item_id], all_played=not self.speaker)))

    # What the halves want

    def obey(self, outputs):
        for output in outputs:
            match output:
                case wire.ServerEvent():
                    self.down.append(output)
                case facts.Transcribe(item_id=item_id):
                    self.engine.append(facts.Heard(item_id, "Tell me about skylarks."))
                case facts.Generate():
                    self.generate(output)
                case facts.Cancel(response_id=response_id):
                    self.engine = deque(f for f in self.engine if getattr(f, "response_id", None) != response_id)
                case _:
                    pass

    def generate(self, generate):
        response_id, messages = generate.response_id, generate.prompt.messages
        if messages and messages[-1].role == "tool":
            for message in messages[::-1]:
                if message.role != "tool":
                    break
                self.follow_ups[message.call_id] += 1
        elif self.wants_tool:
            self.wants_tool = False
            self.engine.append(facts.Said(response_id, "One moment."))
            self.engine.append(facts.Spoke(response_id, sound(SENTENCE_MS)))
            self.engine.extend(facts.Called(response_id, "look", "{}") for _ in range(2))
            self.engine.append(facts.Finished(response_id=response_id))
            return
        for sentence in SENTENCES:
            self.engine.append(facts.Said(response_id, sentence))
            self.engine.extend(facts.Spoke(response_id, sound(SENTENCE_MS / 2)) for _ in range(2))
        self.engine.append(facts.Finished(response_id=response_id, input_tokens=5, output_tokens=5))

    def feel(self, outputs):
        for output in outputs:
            match output:
                case wire.ClientEvent():
                    self.up.append(output)
                    self.note(output)
                case Play():
                    assert output.item_id not in self.cut, "what was cut is not played any more"
                    self.speaker.append(output)
                case Hush():
                    self.speaker.clear()
                case Run():
                    self.ran[output.call_id] += 1
                    self.tools.append(output)
                case Warn():
                    self.warnings.append(output)
                case _:
                    pass

    def note(self, event):
        match event:
            case wire.ConversationItemTruncate(item_id=item_id, audio_end_ms=ms):
                assert item_id not in self.cut, "an item is cut once"
                assert ms == self.heard_ms[item_id]
                self.cut[item_id] = ms
            case wire.ConversationItemCreate(item=FunctionCallOutput(call_id=call_id, output=output)) if (
                output != NOT_RUN
            ):
                self.answered[call_id] += 1
            case _:
                pass

    # The person

    def wish(self, what):
        match what:
            case "talk":
                self.feel(self.client.step(Captured(sound(700))))
                while self.up:
                    self.step("up")
                self.obey(self.server(facts.Started(round(self.clock_ms - 400))))
                self.feel(self.client.step(Captured(sound(600))))
                while self.up:
                    self.step("up")
                self.engine.append(facts.Stopped(round(self.clock_ms)))
            case "type":
                self.feel(self.client.step(Typed("And then?")))
                assert not self.speaker, "typing silences"
            case "interrupt":
                self.feel(self.client.step(Interrupted()))
                assert not self.speaker
            case "tool question":
                self.wants_tool = True
                self.wish("type")
            case _:
                pass

    def settle(self):
        """Let everyone go on until nothing is left to do."""
        for _ in range(2000):
            if not sum(map(self.step, STEPS)):
                break
        else:
            raise AssertionError("it never ends")


PROGRAM = st.lists(st.sampled_from(STEPS * 3 + WISHES), max_size=80)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAM)
def test_however_slow_the_wires_are_all_comes_to_rest(program):
    world = World()
    world.step("down")
    for what in program:
        world.step(what) if what in STEPS else world.wish(what)
    world.settle()
    assert world.client.quiet, world.client.state
    assert not world.server.order.open
    assert world.server.half._owed is None
    assert set(world.ran.values()) <= {1}
    assert world.answered == world.ran
    assert world.warnings == []


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_every_call_is_answered_once_and_all_are_followed_by_one_answer(program):
    world = World()
    world.step("down")
    world.wish("tool question")
    for who in program:
        world.step(who)
    world.settle()
    assert len(world.ran) == 2
    assert world.answered == world.ran == Counter(dict.fromkeys(world.ran, 1))
    assert world.follow_ups == Counter(dict.fromkeys(world.ran, 1))
    assert len(world.server.order.done) == 2


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=5, max_size=60), st.lists(st.sampled_from(STEPS), max_size=40))
def test_an_interruption_leaves_what_was_heard(before, after):
    world = World()
    world.step("down")
    world.wish("talk")
    for who in before:
        world.step(who)
    world.wish("talk")
    for who in after:
        world.step(who)
    world.settle()
    whole = "".join(SENTENCES)
    for item_id, heard_ms in world.cut.items():
        text = world.server.transcript(item_id)
        assert whole.startswith(text)
        complete = heard_ms // SENTENCE_MS
        assert len(text) <= len("".join(SENTENCES[: complete + 1]))
        assert heard_ms > 0 or text == ""
