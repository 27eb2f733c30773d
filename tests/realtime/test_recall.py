"""What the client remembers of a conversation is what the server knows, whatever happened in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.realtime.harness import BYTES_PER_MS, Counted, Server, new_session, sound

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts, recall
from vivavoce.realtime.conversation import part_text
from vivavoce.realtime.recall import LOST, Recall
from vivavoce.realtime.values import (
    Audio,
    AudioInput,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    McpCall,
    Message,
    OutputAudio,
    OutputText,
    ServerVad,
    Transcription,
)

WHICH = st.integers(0, 40)
WORDS = st.sampled_from(["Hello.", " How are you today?", " Fine", "ein Wort\nzwei", "\x00 odd \U0001f426"])
TRANSCRIBED = new_session(
    audio=Audio(input=AudioInput(turn_detection=ServerVad(), transcription=Transcription(model="whisper-1")))
)


def recalled() -> Recall:
    return Recall(mint=Counted("c_"), bytes_per_ms=BYTES_PER_MS)


def said(item: Any) -> tuple[Any, ...]:
    """Return what matters of an item: its id, who says what, or which call returns what."""
    match item:
        case Message(id=item_id, role=role, content=parts):
            return item_id, role, "".join(map(part_text, parts)).strip()
        case FunctionCall():
            return item.id, item.call_id, item.name, item.arguments
        case _:
            return item.id, item.call_id, item.output


def retold(memory: Recall, **options: Any) -> tuple[list[tuple[Any, ...]], Server]:
    """Tell a new server of the conversation and return what it knows then."""
    server = Server(TRANSCRIBED)
    for event in memory.recreate(**options):
        out = server(event)
        assert not [one for one in out if isinstance(one, wire.Error)], out
        for told in out:
            if isinstance(told, wire.ServerEvent):
                memory.follow(told)
    return [said(entry.item) for entry in server.half.conversation], server


class AnyOrder(RuleBasedStateMachine):
    """A person, a model and tools do things; at any moment a second server is told of the conversation."""

    def __init__(self):
        super().__init__()
        self.server = Server(TRANSCRIBED)
        self.memory = recalled()
        self.responses: list[str] = []
        self.calls: list[str] = []
        self.turns: list[str] = []
        self.clock_ms = 0

    def tell(self, happened):
        if isinstance(happened, wire.ClientEvent):
            self.memory.follow(happened)
        for output in self.server(happened):
            if isinstance(output, wire.ServerEvent):
                self.memory.follow(output)
            match output:
                case wire.ResponseCreated(response=response):
                    self.responses.append(response.id)
                case wire.OutputItemDone(item=FunctionCall(call_id=str(call_id))):
                    self.calls.append(call_id)
                case facts.Transcribe(item_id=item_id):
                    self.turns.append(item_id)
                case _:
                    pass

    def item(self, which):
        ids = [entry.id for entry in self.server.half.conversation] or ["nowhere"]
        return ids[which % len(ids)]

    @rule(
        words=WORDS, role=st.sampled_from(["user", "system"]), place=st.sampled_from(["end", "root", "known"]), at=WHICH
    )
    def write(self, words, role, place, at):
        after = {"end": None, "root": "root", "known": self.item(at)}[place]
        if after == "nowhere":
            return
        item = Message(id=f"typed_{len(self.server.order.event_ids)}", role=role, content=(InputText(text=words),))
        self.tell(wire.ConversationItemCreate(event_id="e", item=item, previous_item_id=after))

    @rule(which=WHICH)
    def create_twice(self, which):
        item = Message(id=self.item(which), role="user", content=(InputText(text="Again."),))
        if item.id in self.server.half.conversation:
            self.tell(wire.ConversationItemCreate(event_id="twice", item=item))

    @rule(which=WHICH)
    def delete(self, which):
        self.tell(wire.ConversationItemDelete(item_id=self.item(which)))

    @rule(ms=st.sampled_from([200, 900]))
    def speak(self, ms):
        self.tell(wire.InputAudioBufferAppend(audio=sound(ms)))
        self.clock_ms += ms
        self.tell(facts.Started(self.clock_ms - ms))
        self.tell(facts.Stopped(self.clock_ms))

    @precondition(lambda self: self.turns)
    @rule(words=WORDS)
    def hear(self, words):
        self.tell(facts.Heard(self.turns.pop(), words, final=True))

    @rule()
    def ask(self):
        self.tell(wire.ResponseCreate())

    @precondition(lambda self: self.responses)
    @rule(words=WORDS, ms=st.sampled_from([100, 700, 2000]))
    def answer(self, words, ms):
        """A sentence always comes before its sound."""
        self.tell(facts.Said(self.responses[-1], words))
        self.tell(facts.Spoke(self.responses[-1], sound(ms)))

    @precondition(lambda self: self.responses)
    @rule()
    def call(self):
        self.tell(facts.Called(self.responses[-1], "look", '{"where": "up"}'))

    @precondition(lambda self: self.calls)
    @rule(words=WORDS)
    def return_(self, words):
        call_id = self.calls.pop()
        item = FunctionCallOutput(id=f"out_{call_id}", call_id=call_id, output=words)
        if item.id not in self.server.half.conversation:
            self.tell(wire.ConversationItemCreate(event_id="e", item=item))

    @precondition(lambda self: self.responses)
    @rule()
    def finish(self):
        self.tell(facts.Finished(response_id=self.responses[-1]))

    @rule()
    def cancel(self):
        self.tell(wire.ResponseCancel())

    @rule(which=WHICH, ms=st.sampled_from([0, 50, 400, 1500, 9000]))
    def truncate(self, which, ms):
        entry = self.server.half.conversation.get(self.item(which))
        if entry is not None and isinstance(entry.item, Message) and entry.item.role == "assistant":
            for event in self.memory.cut(entry.id, ms):
                self.tell(event)

    @rule()
    def lose(self):
        """Go on with another server, which knows what the first one did."""
        for response in self.server.half._open.values():
            for entry in self.server.half.conversation:
                response.answer.settle(entry.id)
        expected = self.known()
        got, self.server = retold(self.memory, running=set(self.calls))
        lost = [one for one in got if one[-1] == LOST]
        assert [one for one in got if one not in lost] == [one for one in expected if one not in lost]
        self.responses, self.turns = [], []
        self.clock_ms = 0

    def known(self):
        """What the server knows that can be told to another one."""
        whole = [entry for entry in self.server.half.conversation if not self.unfinished(entry.item)]
        items = [said(entry.item) for entry in whole]
        called = {item.call_id for item in (entry.item for entry in whole) if isinstance(item, FunctionCall)}
        orphans = {
            entry.id
            for entry in whole
            if isinstance(entry.item, FunctionCallOutput) and entry.item.call_id not in called
        }
        return [item for item in items if item[-1] and item[0] not in orphans]

    def unfinished(self, item):
        return isinstance(item, FunctionCall) and item.status == "in_progress"

    @precondition(lambda self: not self.open)
    @invariant()
    def the_order_is_that_of_the_server(self):
        assert [entry.id for entry in self.memory._conversation] == [
            entry.id for entry in self.server.half.conversation
        ]

    @property
    def open(self):
        return bool(self.server.order.open)

    @precondition(lambda self: not self.open)
    @invariant()
    def texts_are_those_of_the_server(self):
        ours = {entry.id: said(entry.item) for entry in self.memory._conversation}
        theirs = {entry.id: said(entry.item) for entry in self.server.half.conversation}
        assert ours == theirs


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    deadline=None, max_examples=200, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


# What our own server does not do --------------------------------------------------------------------------------------


@pytest.fixture
def memory():
    return recalled()


def items(memory, **options):
    return [event.item for event in memory.recreate(**options)]


def texts(memory, **options):
    return [said(item)[-1] for item in items(memory, **options)]


def user(text, item_id, **event):
    return wire.ConversationItemCreate(
        item=Message(id=item_id, role="user", content=(InputText(text=text),)), **{"event_id": f"e_{item_id}"} | event
    )


def call(item_id="f", call_id="call", status="completed"):
    return FunctionCall(id=item_id, call_id=call_id, name="look", arguments="{}", status=status)


def output(call_id="call", item_id="o"):
    return wire.ConversationItemCreate(item=FunctionCallOutput(id=item_id, call_id=call_id, output="Seen."))


def delta(text, item_id="a", kind=wire.OutputAudioTranscriptDelta):
    return kind(response_id="r", item_id=item_id, output_index=0, delta=text)


def opened(item_id="a"):
    message = Message(id=item_id, role="assistant", status="in_progress", content=())
    return wire.OutputItemAdded(response_id="r", output_index=0, item=message)


def tell(memory, *events):
    for event in events:
        memory.follow(event)


def test_a_message_that_was_never_confirmed_is_told_again(memory):
    tell(memory, user("Hello.", "u"))
    (item,) = items(memory)
    assert item == Message(id="u", role="user", content=(InputText(text="Hello."),))


def test_a_message_that_was_refused_is_not(memory):
    tell(memory, user("Hello.", "u"))
    tell(memory, wire.Error(error=recall_error("e_u")))
    assert items(memory) == []


def recall_error(event_id):
    from vivavoce.realtime.values import ErrorDetail

    return ErrorDetail(type="t", message="m", event_id=event_id)


def test_a_server_may_choose_the_id(memory):
    tell(memory, user("Hello.", "u"))
    theirs = Message(id="theirs", role="user", content=(InputText(text="Hello."),))
    tell(memory, wire.ConversationItemCreated(item=theirs))
    assert [item.id for item in items(memory)] == ["theirs"]


def test_a_server_may_say_of_every_item_that_none_is_before_it(memory):
    for name in ("one", "two", "three"):
        added = Message(id=name, role="user", content=(InputText(text=name),))
        tell(memory, wire.ConversationItemCreated(item=added, previous_item_id=None))
    assert texts(memory) == ["one", "two", "three"]


def test_a_server_may_transcribe_before_there_is_an_item_and_often(memory):
    tell(memory, wire.TranscriptionCompleted(item_id="u", transcript="My"))
    tell(memory, wire.TranscriptionCompleted(item_id="u", transcript="My name is Ada."))
    late = Message(id="u", role="user", content=(InputAudio(transcript=None),))
    tell(memory, wire.ConversationItemCreated(item=late))
    assert texts(memory) == ["My name is Ada."]


def test_text_beside_the_sound_counts_once(memory):
    tell(memory, opened(), delta("Hello."), delta("Hello.", kind=wire.OutputTextDelta), delta(" There."))
    memory.follow(wire.OutputAudioDelta(response_id="r", item_id="a", output_index=0, delta=sound(9000)))
    assert memory.text("a") == "Hello. There."


def test_of_an_answer_that_breaks_off_only_what_has_sounded_is_told(memory):
    tell(memory, opened(), delta("A skylark sings."))
    tell(memory, wire.OutputAudioDelta(response_id="r", item_id="a", output_index=0, delta=sound(1200)))
    tell(memory, delta(" Nobody has heard this."))
    (item,) = items(memory)
    assert item == Message(id="a", role="assistant", content=(OutputText(text="A skylark sings."),))


def test_text_that_breaks_off_is_told_as_far_as_it_came(memory):
    tell(memory, opened(), delta("A skylark", kind=wire.OutputTextDelta))
    assert texts(memory) == ["A skylark"]


def test_an_answer_is_cut_by_replacing_it_where_the_session_was_told_of_it(memory):
    tell(memory, user("Sing.", "u"), opened(), delta("One two three four."))
    memory.follow(wire.OutputAudioDelta(response_id="r", item_id="a", output_index=0, delta=sound(2000)))
    whole = Message(
        id="a", role="assistant", status="completed", content=(OutputAudio(transcript="One two three four."),)
    )
    tell(memory, wire.OutputItemDone(response_id="r", output_index=0, item=whole))
    (truncate,) = memory.cut("a", 900)
    assert truncate == wire.ConversationItemTruncate(item_id="a", content_index=0, audio_end_ms=900)
    _, server = retold(memory)
    for event in memory.cut("a", 900):
        memory.follow(event)
        assert not [out for out in server(event) if isinstance(out, wire.Error)]
    assert [said(entry.item)[1:] for entry in server.half.conversation] == [("user", "Sing."), ("assistant", "One two")]
    assert texts(memory) == ["Sing.", "One two"]


def test_an_answer_of_which_nothing_was_heard_is_deleted(memory):
    tell(memory, opened(), delta("One two."))
    memory.follow(wire.OutputAudioDelta(response_id="r", item_id="a", output_index=0, delta=sound(2000)))
    memory.recreate()
    assert list(memory.cut("a", 0)) == [wire.ConversationItemDelete(item_id="a")]


def test_calls_are_answered_once(memory):
    for name in ("lost", "returned", "running"):
        item = call(f"f_{name}", name)
        tell(memory, wire.OutputItemAdded(response_id="r", output_index=0, item=item))
        tell(memory, wire.OutputItemDone(response_id="r", output_index=0, item=item))
    half = call("f_half", "half", status="in_progress")
    tell(memory, wire.OutputItemAdded(response_id="r", output_index=0, item=half))
    tell(memory, output("returned"))
    told = items(memory, running={"running"})
    assert [item.id for item in told if isinstance(item, FunctionCall)] == ["f_lost", "f_returned", "f_running"]
    outputs = {item.call_id: item.output for item in told if isinstance(item, FunctionCallOutput)}
    assert outputs == {"lost": LOST, "returned": "Seen."}
    assert items(memory, running={"running"}) == told, "and never again"


def test_remote_calls_are_told_when_they_have_ended(memory):
    ended = McpCall(id="m", server_label="dice", name="roll", arguments="{}", output="5")
    for each in (ended, McpCall(id="n", server_label="dice", name="roll", arguments="{}")):
        tell(memory, wire.OutputItemAdded(response_id="r", output_index=0, item=each))
    tell(memory, wire.OutputItemDone(response_id="r", output_index=0, item=ended))
    assert items(memory) == [ended]


def test_speech_without_words_is_told_as_sound_the_last_turn_only(memory):
    memory.keep_sound("u1", b"\1\0")
    memory.keep_sound("u2", b"\2\0")
    (item,) = items(memory)
    assert item == Message(id="u2", role="user", content=(InputAudio(audio=b"\2\0"),))
    tell(memory, wire.TranscriptionCompleted(item_id="u2", transcript="Hello."))
    memory.keep_sound("u2", b"\3\0")
    assert texts(memory) == ["Hello."]


def test_pictures_are_told(memory):
    picture = Message(id="u", role="user", content=(InputImage(image_url="data:image/png;base64,AA=="),))
    tell(memory, wire.ConversationItemCreate(item=picture))
    assert items(memory) == [picture]


def test_a_long_conversation_is_told_from_where_it_fits(memory, monkeypatch):
    monkeypatch.setattr(recall, "RECALL_TOKENS", 60)
    item = call()
    tell(memory, user("My name is Ada. " * 5, "u1"))
    tell(memory, wire.OutputItemAdded(response_id="r", output_index=0, item=item))
    tell(memory, wire.OutputItemDone(response_id="r", output_index=0, item=item), output())
    tell(memory, user("What is it? " * 12, "u2"))
    assert [each.id for each in items(memory)] == ["u2"], "an output goes with its call"
    assert len(memory) == 1


def test_the_memory_is_bounded(memory):
    for index in range(recall.MAX_ITEMS + 10):
        tell(memory, user("Hello.", f"u{index}"))
    assert len(memory) == recall.MAX_ITEMS
