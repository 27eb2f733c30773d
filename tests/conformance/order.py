"""What every client may rely on: each frame by the official package's own union, and the order of all frames."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable

Frame = dict[str, Any]

ASIDE = ("conversation.item.input_audio_transcription.", "conversation.item.retrieved", "conversation.item.truncated")
"""Frames that may come at any time between the others."""
DELTAS = {"response.output_audio_transcript.delta", "response.output_audio.delta"}
"""Frames that come in any mixture."""

ITEM_CREATED = ["conversation.item.added", "conversation.item.done"]
ANSWER_BEGINS = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
]
ANSWER_ENDS = ["conversation.item.done", "response.output_item.done", "response.done", "rate_limits.updated"]
SPOKEN_ENDS = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    *ANSWER_ENDS,
]
SPOKEN_ANSWER = [*ANSWER_BEGINS, "response.content_part.added", "deltas", *SPOKEN_ENDS]
WRITTEN_ANSWER = [
    *ANSWER_BEGINS,
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    *ANSWER_ENDS,
]
CALL = [
    *ANSWER_BEGINS,
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    *ANSWER_ENDS,
]
HEARD = [
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    *ITEM_CREATED,
]
SPOKEN_TURN = ["input_audio_buffer.speech_started", *HEARD, *SPOKEN_ANSWER]
BARGE_IN = ["input_audio_buffer.speech_started", *SPOKEN_ENDS]


@cache
def union() -> TypeAdapter[Any]:
    """Every server event that the official Python package knows."""
    return TypeAdapter(RealtimeServerEvent)


def shape(frames: Iterable[Frame]) -> list[str]:
    """Return the types in their order: repeated ones once, without what may come at any time."""
    kinds: list[str] = []
    for frame in frames:
        kind = "deltas" if frame["type"] in DELTAS else frame["type"]
        if not kind.startswith(ASIDE) and kinds[-1:] != [kind]:
            kinds.append(kind)
    return kinds


class Log:
    """All frames of one session, each checked as it comes."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._event_ids: set[str] = set()
        self._items: list[str] = []
        self._open: dict[str, Frame] = {}
        self._ended: set[str] = set()
        self._outputs: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        self._parts: set[tuple[str, int]] = set()
        self._deltas: defaultdict[tuple[str, str], str] = defaultdict(str)
        self._transcribed: set[str] = set()

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Log:
        """Check frames that were collected elsewhere."""
        log = cls()
        for frame in frames:
            log.take(json.dumps(frame))
        return log

    def take(self, text: str | bytes) -> Frame:
        """Check the next frame and return it."""
        frame: Frame = json.loads(text)
        union().validate_json(text)
        assert (frame["type"] == "session.created") == (not self.frames), frame
        assert frame["event_id"]
        assert frame["event_id"] not in self._event_ids
        self._event_ids.add(frame["event_id"])
        self._follow(frame)
        self.frames.append(frame)
        return frame

    def all(self, kind: str) -> list[Frame]:
        """Return the frames of this type."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def only(self, kind: str) -> Frame:
        """Return the one frame of this type."""
        (frame,) = self.all(kind)
        return frame

    def after(self, place: int, last: str) -> list[Frame]:
        """Return the frames from a place on to the next one of this type."""
        kinds = [frame["type"] for frame in self.frames]
        return self.frames[place : kinds.index(last, place) + 1]

    def finish(self) -> None:
        """Check that nothing is left open, and that nothing was refused."""
        assert not self._open
        assert not self.all("error"), self.all("error")

    def _follow(self, frame: Frame) -> None:
        response_id = frame.get("response_id")
        assert response_id is None or response_id in self._open, frame
        match frame:
            case {"type": "response.created", "response": {"id": str(one)} as response}:
                assert one not in self._ended
                assert not self._open
                assert response["status"] == "in_progress"
                self._open[one] = response
            case {"type": "response.done", "response": {"id": str(one)} as response}:
                created = self._open.pop(one)
                self._ended.add(one)
                assert response["metadata"] == created["metadata"]
                assert response["usage"]["total_tokens"] > 0
                assert [item["id"] for item in response["output"]] == list(self._outputs[one])
                assert all(self._outputs[one].values())
            case {"type": str(kind), "item": {"id": str(item_id)}} if kind.startswith("response.output_item."):
                self._follow_output(frame, item_id)
            case {"type": "conversation.item.added", "item": {"id": str(item_id)}}:
                assert item_id not in self._items
                previous = frame["previous_item_id"]
                self._items.insert(self._items.index(previous) + 1 if previous else 0, item_id)
            case {"type": "conversation.item.done", "item": {"id": str(item_id)}}:
                index = self._items.index(item_id)
                assert frame["previous_item_id"] == (self._items[index - 1] if index else None)
            case _:
                self._follow_part(frame)

    def _follow_output(self, frame: Frame, item_id: str) -> None:
        outputs = self._outputs[frame["response_id"]]
        if frame["type"] == "response.output_item.added":
            assert frame["output_index"] == len(outputs)
            outputs[item_id] = False
        else:
            assert outputs[item_id] is False
            outputs[item_id] = True

    def _follow_part(self, frame: Frame) -> None:
        match frame:
            case {"type": "response.content_part.added"}:
                assert frame["item_id"] in self._items
                self._parts.add((frame["item_id"], frame["content_index"]))
            case {"type": "response.content_part.done"}:
                self._parts.remove((frame["item_id"], frame["content_index"]))
            case {"type": "response.function_call_arguments.delta"}:
                assert frame["item_id"] in self._items, "a call is an item before its arguments come"
                self._deltas["arguments", frame["item_id"]] += frame["delta"]
            case {"type": "response.output_text.delta" | "response.output_audio_transcript.delta", "delta": str(delta)}:
                assert (frame["item_id"], frame["content_index"]) in self._parts
                self._deltas["said", frame["item_id"]] += delta
            case {"type": "response.output_audio.delta"}:
                assert (frame["item_id"], frame["content_index"]) in self._parts
            case {"type": "response.function_call_arguments.done", "arguments": str(whole)}:
                assert whole == self._deltas["arguments", frame["item_id"]]
            case {"type": "response.output_text.done" | "response.output_audio_transcript.done"}:
                assert frame.get("text", frame.get("transcript")) == self._deltas["said", frame["item_id"]]
            case _:
                self._follow_ears(frame)

    def _follow_ears(self, frame: Frame) -> None:
        last = self.frames[-1] if self.frames else {}
        match frame:
            case {"type": "input_audio_buffer.committed", "item_id": str(item_id)}:
                assert (last["type"], last["item_id"]) == ("input_audio_buffer.speech_stopped", item_id)
            case {"type": "conversation.item.input_audio_transcription.delta", "item_id": str(item_id)}:
                assert item_id in self._items
                assert item_id not in self._transcribed
                self._deltas["heard", item_id] += frame["delta"]
            case {"type": "conversation.item.input_audio_transcription.completed", "item_id": str(item_id)}:
                assert item_id in self._items
                assert item_id not in self._transcribed
                assert self._deltas["heard", item_id] in {"", frame["transcript"]}
                self._transcribed.add(item_id)
            case _:
                pass
