from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace
from tests.realtime.harness import Server, sound

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.remote import shown
from vivavoce.realtime.values import McpToolError, RemoteTool, Source

WHICH = st.integers(0, 40)
TIMES = st.integers(-100, 4000)
WORDS = st.sampled_from(["", "Hello.", " How are you?", " Fine", "ein Wort\nzwei", "\x00 odd \U0001f426"])
PLACES = st.sampled_from(["absent", "root", "known", "nowhere"])
VAD = {"type": "server_vad"}
MCP = {"type": "mcp", "server_label": "dice", "server_url": "https://dice.example"}
ROLL = RemoteTool(name="roll", input_schema={"type": "object"})
LOAD = RemoteTool(name="load", input_schema={"type": "object"})
PATCHES = [
    {"tools": [MCP | {"require_approval": {"always": {"tool_names": ["load"]}}}]},
    {"tools": [MCP | {"authorization": "new"}]},
    {"audio": {"input": {"turn_detection": None}}},
    {"audio": {"input": {"turn_detection": VAD}}},
    {"audio": {"input": {"turn_detection": VAD | {"idle_timeout_ms": 5000}}}},
    {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 30}}},
    {"truncation": "disabled"},
    {"vivavoce": {"search": {"files": {"vector_store_ids": ["vs_1"]}}, "sources": True}},
    {"vivavoce": {"search": None}},
    {"audio": {"input": {"turn_detection": VAD | {"interrupt_response": False}}}},
    {"audio": {"input": {"turn_detection": VAD | {"create_response": False}}}},
    {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}},
    {"audio": {"input": {"turn_detection": {"prefix_padding_ms": 0}}}},
    {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
    {"audio": {"input": {"transcription": None}}},
    {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
    {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}},
    {"audio": {"output": {"voice": "other"}}},
    {"output_modalities": ["text"]},
    {"output_modalities": ["audio"]},
    {"output_modalities": ["text", "audio"]},
    {"vivavoce": {"partials": True, "timings": True}},
    {"vivavoce": {"considerate": True}},
    {"vivavoce": {"considerate": False}},
    {"instructions": 5},
    {"bogus": 1},
]


class AnyOrder(RuleBasedStateMachine):
    """Whatever the client and the engine do, in whatever order and however late."""

    def __init__(self):
        super().__init__()
        self.server = Server(lifetime=100.0, context_tokens=60)
        self.items = ["nowhere"]
        self.responses = ["nowhere"]
        self.calls = ["nowhere"]

    def tell(self, *happened, now=0.0):
        outputs = self.server(*happened, now=now)
        for output in outputs:
            match output:
                case wire.ConversationItemAdded(item=item) | wire.OutputItemAdded(item=item):
                    self.items.append(str(item.id))
                    self.calls += [str(item.call_id)] if hasattr(item, "call_id") else []
                case wire.SpeechStarted(item_id=item_id) | wire.OverlapStarted(item_id=item_id):
                    self.items.append(item_id)
                case wire.ResponseCreated(response=response):
                    self.responses.append(response.id)
                case _:
                    pass
        return outputs

    def one(self, pool, which):
        return pool[-1 - which % len(pool)]

    # The user's sound

    @rule(ms=st.sampled_from([0, 1, 20, 100, 700, 5000]))
    def append(self, ms):
        self.tell(wire.InputAudioBufferAppend(audio=sound(ms)))

    @rule()
    def append_half_a_sample(self):
        self.tell(wire.InputAudioBufferAppend(audio=b"\0" * 241))

    @rule(kind=st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear", "output_audio_buffer.clear"]))
    def buffer(self, kind):
        self.tell({"type": kind, "event_id": "mine"})

    @rule(ms=TIMES)
    def started(self, ms):
        self.tell(facts.Started(ms))

    @rule(ms=TIMES)
    def paused(self, ms):
        assert self.tell(facts.Paused(ms)) == []

    @rule(ms=TIMES)
    def stopped(self, ms):
        self.tell(facts.Stopped(ms))

    @rule(verdict=st.sampled_from(["addressed", "backchannel", "aside"]), known=st.booleans())
    def overheard(self, verdict, known):
        item_id = (self.server.half.speaking if known else None) or "nowhere"
        self.tell(facts.Overheard(item_id, verdict))

    @rule(which=WHICH, text=WORDS, final=st.booleans())
    def heard(self, which, text, final):
        self.tell(facts.Heard(self.one(self.items, which), text, final))

    @rule(which=WHICH)
    def unheard(self, which):
        self.tell(facts.Unheard(self.one(self.items, which), "stt_failed", "It cannot be read."))

    # Items

    def _place(self, place, which):
        chosen = {"root": "root", "nowhere": "nowhere?", "known": self.one(self.items, which)}
        return {} if place == "absent" else {"previous_item_id": chosen[place]}

    @rule(place=PLACES, which=WHICH, text=WORDS, role=st.sampled_from(["user", "system", "assistant"]))
    def say_in_writing(self, place, which, text, role):
        part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        item = {"type": "message", "role": role, "content": [part]}
        self.tell({"type": "conversation.item.create", "item": item, **self._place(place, which)})

    @rule(which=WHICH, sounds=st.booleans())
    def say_in_one_piece(self, which, sounds):
        part = {"type": "input_audio"} | ({"audio": "AAAA" * 100} if sounds else {"transcript": "Hello."})
        self.tell({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part]}})

    @rule(which=WHICH)
    def reuse_an_id(self, which):
        item = {"type": "message", "role": "user", "content": [], "id": self.one(self.items, which)}
        self.tell({"type": "conversation.item.create", "item": item, "event_id": "mine"})

    @rule(number=st.integers(0, 8))
    def guess_an_id(self, number):
        item = {"type": "message", "role": "user", "content": [], "id": f"item_{number}"}
        self.tell({"type": "conversation.item.create", "item": item})

    @rule(which=WHICH, place=PLACES)
    def return_from_a_call(self, which, place):
        item = {"type": "function_call_output", "call_id": self.one(self.calls, which), "output": "done"}
        self.tell({"type": "conversation.item.create", "item": item, **self._place(place, which)})

    @rule(which=WHICH, kind=st.sampled_from(["retrieve", "delete"]))
    def look_up(self, which, kind):
        self.tell({"type": f"conversation.item.{kind}", "item_id": self.one(self.items, which), "event_id": "mine"})

    @rule(which=WHICH, ms=TIMES)
    def truncate(self, which, ms):
        item_id = self.one(self.items, which)
        event = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": ms}
        (answer,) = self.tell(event)
        assert isinstance(answer, wire.Error) or 0 <= answer.audio_end_ms <= max(ms, 0)

    # Responses

    @rule(
        conversation=st.sampled_from(["auto", "none", "default"]),
        modalities=st.sampled_from([None, ["text"], ["audio"], ["audio", "text"]]),
        metadata=st.sampled_from([None, {"purpose": "test"}]),
    )
    def create_response(self, conversation, modalities, metadata):
        response = {"conversation": conversation, "output_modalities": modalities, "metadata": metadata}
        self.tell({"type": "response.create", "response": response, "event_id": "mine"})

    @rule(which=WHICH, text=WORDS)
    def create_response_to_something_else(self, which, text):
        refer = {"type": "item_reference", "id": self.one(self.items, which)}
        say = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.tell({"type": "response.create", "response": {"conversation": "none", "input": [refer, say]}})

    @rule(which=WHICH, named=st.booleans())
    def cancel_response(self, which, named):
        name = {"response_id": self.one(self.responses, which)} if named else {}
        self.tell({"type": "response.cancel", **name})

    @rule(which=WHICH, text=WORDS)
    def said(self, which, text):
        self.tell(facts.Said(self.one(self.responses, which), text))

    @rule(which=WHICH, ms=st.sampled_from([0, 1, 33, 500]))
    def spoke(self, which, ms):
        self.tell(facts.Spoke(self.one(self.responses, which), sound(ms)))

    @rule(which=WHICH, call_id=st.sampled_from([None, "call_of_the_model"]))
    def called(self, which, call_id):
        self.tell(facts.Called(self.one(self.responses, which), "get_weather", '{"city": "Paris"}', call_id))

    @rule(which=WHICH, found=st.sampled_from([None, (), (Source(title="handbook.md", file_id="file-1"),)]))
    def searched(self, which, found):
        self.tell(facts.Searched(self.one(self.responses, which), "file_search", "holidays", found))

    # Remote tools

    @rule(which=WHICH, known=st.sampled_from([True, True, False]))
    def listed(self, which, known):
        self.tell(facts.Listed(self.one(self.items, which), (ROLL, LOAD) if known else None))

    @precondition(lambda self: self.server.order.open)
    @rule(which=WHICH, name=st.sampled_from(["roll", "load"]), arguments=st.sampled_from(["{}", "[]", "{"]))
    def call_remotely(self, which, name, arguments):
        self.tell(facts.Called(self.one(list(self.server.order.open), which), name, arguments))

    @rule(which=WHICH, error=st.sampled_from([None, McpToolError(message="Broken.")]))
    def returned(self, which, error):
        self.tell(facts.Returned(self.one(self.items, which), "4", error))

    @rule(which=WHICH, approve=st.booleans())
    def decide(self, which, approve):
        request = self.one(self.items, which)
        item = {"type": "mcp_approval_response", "approval_request_id": request, "approve": approve}
        self.tell({"type": "conversation.item.create", "item": item})

    @rule(which=WHICH, error=st.sampled_from([None, ("llm_failed", "No answer.")]), truncated=st.booleans())
    def finished(self, which, error, truncated):
        response_id = self.one(self.responses, which)
        self.tell(facts.Finished(response_id=response_id, error=error, truncated=truncated, input_tokens=3))

    @rule(which=WHICH)
    def timed(self, which):
        self.tell(facts.Timed(wire.ResponseTimings(response_id=self.one(self.responses, which))))

    # Settings and time

    @rule(patch=st.sampled_from(PATCHES), with_type=st.sampled_from([True, True, True, False]))
    def update(self, patch, with_type):
        session = patch | ({"type": "realtime"} if with_type else {})
        answer, *_ = self.tell({"type": "session.update", "session": session, "event_id": "mine"})
        if isinstance(answer, wire.SessionUpdated):
            kept: Any = self.server.half.session
            assert replace(answer.session, vivavoce=kept.vivavoce) == replace(kept, tools=shown(kept.tools))
            assert "authorization" not in wire.encode(answer)

    @rule(now=st.sampled_from([0.0, 99.0]))
    def tick(self, now):
        due = self.server.half.deadline()
        outputs = self.tell(facts.Tick(), now=now)
        assert bool(outputs) == (due is not None and due <= now)
        assert not outputs or isinstance(outputs[0], wire.TimeoutTriggered)

    @precondition(lambda self: self.server.half._expires is not None)
    @rule()
    def expire(self):
        outputs = self.tell(facts.Tick(), now=100.0)
        assert [type(output) for output in outputs][-2:] == [wire.Error, facts.Close]
        assert self.server.half.deadline() is None

    # What always holds

    @invariant()
    def open_responses_are_those_that_are_not_done(self):
        half, order = self.server.half, self.server.order
        assert set(half._open) == set(order.open)
        assert order.done | set(order.open) == set(order.output)

    @invariant()
    def only_speech_that_is_being_transcribed_is_awaited(self):
        assert self.server.half._awaited <= self.server.order.asked_for - self.server.order.verdicts

    def teardown(self):
        """Let everyone finish: then nothing is open, and nothing waits."""
        half, order = self.server.half, self.server.order
        self.tell(facts.Stopped(4000))
        for item_id in list(half._awaited):
            self.tell(facts.Heard(item_id, "Hello."))
        for known in half._remote._imports.values():
            self.tell(facts.Listed(known.item_id, None))
        for request in list(half._remote._asked):
            item = {"type": "mcp_approval_response", "approval_request_id": request, "approve": False}
            self.tell({"type": "conversation.item.create", "item": item})
        for item_id in list(half._remote._calls):
            self.tell(facts.Returned(item_id, "4"))
        while order.open:
            response_id = next(iter(order.open))
            assert response_id in order.generated
            self.tell(facts.Finished(response_id=response_id))
        assert not half._awaited
        assert not half._remote._calls
        assert half._current is None
        assert half._owed is None
        assert not order.open_items


AnyOrder.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyOrder = AnyOrder.TestCase
