"""Hostile clients and broken engines: each gets its error or its close code, and every other session goes on."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
from anyio import create_task_group, fail_after
from tests.server.clients import SILENT, TEXT, ask, event, raw, until, until_sessions
from websockets.asyncio.client import connect

from vivavoce.ports import BackendError, Call, Heard, Text
from vivavoce.realtime.events import OutputAudioDelta, OutputTextDelta
from vivavoce.server import guard, outbox
from vivavoce.server.hub import Hub
from vivavoce.server.outbox import Outbox, OutboxFullError
from vivavoce.speech.pcm import to_pcm16
from vivavoce.speech.turns import LONGEST_MS
from vivavoce.testing import ScriptedLanguageModel, tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.server.conftest import Serving
    from websockets.asyncio.client import ClientConnection

    from vivavoce.realtime.conversation import Prompt
    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

SPOKEN = {"type": "response.create"}


def update(**settings: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime"} | settings}


HEARD = update(audio={"input": {"turn_detection": None, "transcription": {"model": "any"}}})
UNANSWERED = update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})


def append(audio: bytes) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": b64encode(audio).decode()}


# What clients send ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"type": "input_audio_buffer.append", "audio": None}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": 12}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "ÄÖÜß"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AA=A"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "audio"),
        ({"type": "input_audio_buffer.append"}, "audio"),
        (update(audio={"input": {"format": {"type": "audio/pcm", "rate": 7}}}), "session.audio.input.format.rate"),
        (update(audio={"output": {"speed": 1e300}}), "session.audio.output.speed"),
        (update(**{"\u202e\U0001f608": 1}), "session.\u202e\U0001f608"),
        ({"type": "session.update", "session": "x" * 100_000}, "session"),
        ({"type": "\x00"}, "type"),
        ({"type": {"type": "response.create"}}, "type"),
        ({"type": "conversation.item.truncate", "item_id": "none", "content_index": 0, "audio_end_ms": -1}, "item_id"),
    ],
)  # fmt: skip
async def test_nonsense_is_named_and_survived(
    engines: Make, serving: Serving, sent: dict[str, Any], param: str
) -> None:
    async with serving(Hub(engines())) as url, connect(url) as client, connect(url) as other:
        await event(client)
        wrong = await ask(client, sent | {"event_id": "mine"}, "error")
        assert (wrong["error"]["event_id"], wrong["error"]["param"]) == ("mine", param)
        assert wrong["error"]["message"]
        for each in (client, other):
            assert (await ask(each, TEXT, "response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "0x1"])
async def test_number_that_is_none(engines: Make, serving: Serving, number: str) -> None:
    update = '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":{"type":"server_vad","threshold":%s}}}}}'  # noqa: E501
    async with serving(Hub(engines())) as url, connect(url) as client:
        await event(client)
        await client.send(update % number)
        assert (await event(client))["type"] == "error"
        session = (await ask(client, SILENT, "session.updated"))["session"]
        assert session["audio"]["input"]["turn_detection"] is None


async def test_trickle_of_sound_adds_up(engines: Make, serving: Serving) -> None:
    parts = engines()
    async with serving(Hub(parts)) as url, connect(url) as client, connect(url) as other:
        await ask(client, HEARD, "session.updated")
        odd = await ask(client, append(b"\x00"), "error")
        assert odd["error"]["code"] == "invalid_value"
        for _ in range(4800):
            await client.send('{"type":"input_audio_buffer.append","audio":"AQA="}')
        await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
        await ask(other, SILENT, "session.updated")
        await until(client, "input_audio_buffer.committed")
        await until(client, "conversation.item.input_audio_transcription.completed")
    (heard,) = parts.stt.heard  # type: ignore[attr-defined]
    assert len(heard) == pytest.approx(3200, abs=50)


async def test_sound_ten_times_as_fast_as_it_was_spoken(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(url) as client, connect(url) as other:
        await ask(client, UNANSWERED, "session.updated")
        turn = to_pcm16(np.concatenate([tone(220, 1.0, 24_000), np.zeros(18_000, np.float32)]))

        async def flood() -> None:
            for _ in range(10):
                await client.send(json.dumps(append(turn)))

        async with create_task_group() as tasks:
            tasks.start_soon(flood)
            for _ in range(5):
                assert (await ask(other, TEXT, "response.done"))["response"]["status"] == "completed"
            for _ in range(10):
                await until(client, "input_audio_buffer.committed")


async def test_noise_that_never_ends_ends_turns(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())
    async with serving(hub) as url, connect(url) as client:
        detection = {"type": "server_vad", "create_response": False}
        heard = {"turn_detection": detection, "transcription": {"model": "any"}}
        await ask(client, update(audio={"input": heard}), "session.updated")
        (session,) = hub._running
        noise, waiting, committed = json.dumps(append(to_pcm16(tone(220, 1.0, 24_000)))), 0.0, []
        for _ in range(200):
            await client.send(noise)
            waiting = max(waiting, session.session._buffer.length_ms)
        for _ in range(2):
            stopped = await until(client, "input_audio_buffer.speech_stopped")
            committed.append(stopped["audio_end_ms"])
            await until(client, "conversation.item.input_audio_transcription.completed")
        assert committed == pytest.approx([LONGEST_MS, 2 * LONGEST_MS], abs=200)
        assert waiting < LONGEST_MS + 20_000


async def test_one_does_not_hear_what_another_says(engines: Make, serving: Serving) -> None:
    """Sessions side by side, each with a word of its own; no frame of one holds a word of another."""

    def echo(prompt: Prompt) -> str:
        return f"You say {' and '.join(message.text for message in prompt.messages if message.role == 'user')}."

    hub = Hub(engines(llm=ScriptedLanguageModel(echo, delay=0.001)))
    frames: dict[str, str] = {}

    async def talk(url: str, canary: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": canary}]}
        async with connect(url) as client:
            received = [await event(client)]
            for what in (TEXT, SPOKEN, TEXT):
                await client.send(json.dumps({"type": "conversation.item.create", "item": item}))
                await client.send(json.dumps(what))
                while received[-1]["type"] != "response.done":
                    received.append(await event(client))
                received.append(await event(client))
            frames[canary] = json.dumps(received)

    async with serving(hub) as url, create_task_group() as tasks:
        for index in range(12):
            tasks.start_soon(talk, url, f"canary{index:03}")
    for canary, told in frames.items():
        assert set(re.findall(r"canary\d{3}", told)) == {canary}
        assert told.count('"response.done"') == 3
    assert len(frames) == 12


async def test_clients_that_come_and_go(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())

    async def come_and_go(url: str, times: int) -> None:
        for index in range(times):
            async with await raw(url) as client:
                if index % 3 == 0:
                    await client.send_text(json.dumps(SPOKEN))
                elif index % 3 == 1:
                    await client.send(b"\x88\x80\x00\x00\x00\x00")
        await until_sessions(hub, 0)

    async with serving(hub) as url:
        await come_and_go(url, 100)
        tasks, memory = await settled()
        await come_and_go(url, 1000)
        tasks_after, memory_after = await settled()
    assert tasks_after <= tasks
    assert memory_after - memory < 8 * 1024 * 1024


async def settled() -> tuple[int, int]:
    """Return how many tasks run and how many bytes of memory are in use, once what is over has ended."""
    await anyio.sleep(0.2)
    gc.collect()
    pages = await anyio.Path("/proc/self/statm").read_text()
    return len(asyncio.all_tasks()), int(pages.split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What waits for a slow client -----------------------------------------------------------------------------------------


def sound_event(size: int) -> OutputAudioDelta:
    return OutputAudioDelta(response_id="r", item_id="i", output_index=0, delta=bytes(size))


def text_event(size: int) -> OutputTextDelta:
    return OutputTextDelta(response_id="r", item_id="i", output_index=0, content_index=0, delta="a" * size)


def fill(box: Outbox, make: Callable[[int], Any], size: int) -> int:
    """Put events in until it is full and return how many fitted."""
    for count in range(100_000):
        try:
            box.put(make(size))
        except OutboxFullError:
            return count
    pytest.fail("it is never full")


def test_outbox_holds_a_megabyte() -> None:
    assert outbox.LIMIT == 1024 * 1024
    assert fill(Outbox(), text_event, 10_000) in range(100, 105)
    assert fill(Outbox(), sound_event, 7_500) in range(98, 105)


def test_outbox_does_not_count_what_is_sent_ahead_on_purpose() -> None:
    box = Outbox()
    box.paced = 1_000_000
    assert fill(box, sound_event, 7_500) in range(190, 205)
    box = Outbox()
    box.paced = 1_000_000
    assert fill(box, text_event, 10_000) in range(100, 105)


async def test_outbox_has_room_again_when_it_is_read() -> None:
    box = Outbox()
    for _ in range(1000):
        for make in (text_event, sound_event):
            box.put(make(5_000))
            assert await box.get() == make(5_000)
    box.put(text_event(1))
    box.close()
    box.put(text_event(2))
    assert await box.get() == text_event(1)
    assert await box.get() is None


# What engines do wrong ------------------------------------------------------------------------------------------------

HANG = object()
REFUSES = BackendError("connection_failed", "The endpoint cannot be reached; start it.")


class Once:
    """An engine that does this wrong the first time, after some pieces, and then does what another does."""

    def __init__(self, engine: Any, wrong: Any, *, after: int = 0) -> None:
        self.engine = engine
        self.wrong = wrong
        self.after = after
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        theirs = getattr(self.engine, name)
        return self._wrap(theirs) if name in ("generate", "speak", "transcribe") else theirs

    def _wrap(self, theirs: Any) -> Any:
        def run(*args: Any, **options: Any) -> AsyncGenerator[Any, None]:
            stream: AsyncGenerator[Any, None] = theirs(*args, **options)
            if self.failed:
                return stream
            self.failed = True
            return self._fail(stream)

        return run

    async def _fail(self, stream: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        for _ in range(self.after):
            yield await anext(stream)
        await stream.aclose()
        if self.wrong is HANG:
            await anyio.sleep_forever()
        if isinstance(self.wrong, Exception):
            raise self.wrong
        if self.wrong is not None:
            yield self.wrong


WRONGS: list[tuple[Any, str]] = [
    (REFUSES, "connection_failed"),
    (ZeroDivisionError("oops"), "backend_failed"),
    (ExceptionGroup("several", [OSError(), ValueError()]), "backend_failed"),
    (HANG, "backend_timeout"),
    ({"text": "no port knows this"}, "backend_garbage"),
]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("HEARING_S", "THINKING_S", "SPEAKING_S"):
        monkeypatch.setattr(guard, limit, 0.1)


async def goes_on(client: ClientConnection) -> None:
    assert (await ask(client, SPOKEN, "response.done"))["response"]["status"] == "completed"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("stage", ["llm", "tts"])
@pytest.mark.parametrize(("wrong", "code"), WRONGS)
async def test_answer_that_fails(
    engines: Make, serving: Serving, stage: str, wrong: Any, code: str, after: int
) -> None:
    parts = engines()
    broken: dict[str, Any] = {"vad": parts.vad, "stt": parts.stt, "llm": parts.llm, "tts": parts.tts}
    broken[stage] = Once(broken[stage], wrong, after=after)
    async with serving(Hub(type(parts)(**broken))) as url, connect(url) as client, connect(url) as other:
        await event(client)
        response = (await ask(client, SPOKEN, "response.done"))["response"]
        assert response["status"] == "failed"
        assert response["status_details"]["error"]["code"] == code
        assert "oops" not in json.dumps(response)
        await goes_on(client)
        await goes_on(other)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("wrong", "code"), [*WRONGS, (None, "backend_cut"), (Heard("partial"), "backend_cut")])
async def test_speech_that_cannot_be_transcribed(engines: Make, serving: Serving, wrong: Any, code: str) -> None:
    parts = engines()
    broken = type(parts)(vad=parts.vad, stt=Once(parts.stt, wrong), llm=parts.llm, tts=parts.tts)
    async with serving(Hub(broken)) as url, connect(url) as client, connect(url) as other:
        await ask(client, HEARD, "session.updated")
        for verdict in ("failed", "completed"):
            await client.send(json.dumps(append(to_pcm16(tone(220, 0.2, 24_000)))))
            await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
            told = await until(client, f"conversation.item.input_audio_transcription.{verdict}")
            if verdict == "failed":
                assert told["error"]["code"] == code
        await goes_on(client)
        await goes_on(other)


async def test_voice_that_makes_noise_of_no_numbers(engines: Make, serving: Serving) -> None:
    class Broken:
        sample_rate = 24_000
        voices = ("low",)

        async def speak(self, sentence, *, voice=None, speed=1.0):
            yield np.array([np.nan, np.inf, 0.0, -np.inf] * 600, np.float32)

    parts = engines()
    async with serving(Hub(type(parts)(vad=parts.vad, stt=parts.stt, llm=parts.llm, tts=Broken()))) as url:
        async with connect(url) as client:
            await goes_on(client)


async def test_model_that_says_nothing(engines: Make, serving: Serving) -> None:
    llm = ScriptedLanguageModel([[], [Text("")], [Call("", "not JSON")], "Well."])
    async with serving(Hub(engines(llm=llm))) as url, connect(url) as client:
        for _ in range(4):
            with fail_after(5):
                await until_done(client)
        await goes_on(client)


async def until_done(client: ClientConnection) -> None:
    assert (await ask(client, TEXT, "response.done"))["response"]["status"] in ("completed", "failed")
