"""Transcription by an endpoint."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from vivavoce.backends.openai_stt import OpenAITranscription
from vivavoce.ports import BackendError, Heard
from vivavoce.testing import stt_contract, tone

pytestmark = pytest.mark.anyio

SOUND = tone(220, 0.5, 16_000)
PAUSE = np.zeros(0, np.float32)


@pytest.fixture
async def engine(server):
    engine = OpenAITranscription(url=server.url, model="whisper", key="sk-secret")
    yield engine
    await engine.aclose()


async def sound(*chunks):
    for chunk in chunks:
        yield chunk


async def hear(engine, *chunks, **hints):
    return [heard async for heard in engine.transcribe(sound(*chunks), **hints)]


def recording(seen):
    with wave.open(io.BytesIO(seen.form["file"])) as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        return shape, np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


async def test_the_utterance_is_sent_whole(server, engine):
    server.answer(JSONResponse({"text": " Hello there.\n"}))
    assert await hear(engine, SOUND[:1000], SOUND[1000:]) == [Heard("Hello there.", final=True)]
    (seen,) = server.seen
    shape, samples = recording(seen)
    assert seen.path == "/v1/audio/transcriptions"
    assert shape == (1, 2, 16_000)
    assert np.allclose(samples, SOUND, atol=1e-4)
    assert {name: seen.form[name] for name in ("model", "response_format")} == {
        "model": "whisper",
        "response_format": "json",
    }
    assert not {"language", "prompt"} & seen.form.keys()


async def test_hints_are_sent(server, engine):
    server.answer(JSONResponse({"text": "Bonjour."}))
    await hear(engine, SOUND, language="fr-FR", prompt="Names: Zoë.")
    assert (server.seen[0].form["language"], server.seen[0].form["prompt"]) == ("fr", "Names: Zoë.")


async def test_a_pause_is_worked_ahead_and_not_asked_twice(server, engine):
    server.answer(JSONResponse({"text": "Hello."}))
    assert await hear(engine, SOUND, PAUSE, PAUSE) == [Heard("Hello."), Heard("Hello."), Heard("Hello.", final=True)]
    assert len(server.seen) == 1


async def test_who_goes_on_is_heard_again(server, engine):
    server.answer(JSONResponse({"text": "I want"}), JSONResponse({"text": "I want tea."}))
    heard = await hear(engine, SOUND, PAUSE, SOUND)
    assert heard == [Heard("I want"), Heard("I want tea.", final=True)]
    assert len(recording(server.seen[1])[1]) == 2 * len(SOUND)


async def test_too_little_sound_is_not_sent(server, engine):
    assert await hear(engine, SOUND[:500]) == [Heard("", final=True)]
    assert not server.seen


async def test_loud_sound_does_not_wrap(server, engine):
    server.answer(JSONResponse({"text": ""}))
    await hear(engine, np.full(16_000, 1.5, np.float32))
    assert recording(server.seen[0])[1].min() == pytest.approx(1.0)


@pytest.mark.parametrize("answer", [PlainTextResponse("<html>"), JSONResponse({"no": "text"}), JSONResponse(["x"])])
async def test_garbage(server, engine, answer):
    server.answer(answer)
    with pytest.raises(BackendError, match="check the URL") as refused:
        await hear(engine, SOUND)
    assert refused.value.code == "bad_answer"


async def test_a_refused_key_is_not_told(server, engine, refuse):
    server.answer(refuse(401, "sk-secret is wrong"))
    with pytest.raises(BackendError, match="VIVAVOCE_STT_KEY") as refused:
        await hear(engine, SOUND)
    assert "sk-secret" not in str(refused.value)


async def test_a_busy_server_gets_the_recording_again(server, engine, refuse):
    server.answer(refuse(503, retry_after="0"), JSONResponse({"text": "Hello."}))
    assert await hear(engine, SOUND) == [Heard("Hello.", final=True)]
    assert recording(server.seen[0])[1].tolist() == recording(server.seen[1])[1].tolist()


async def test_it_keeps_the_contract(server):
    server.answer(JSONResponse({"text": "Hello."}))
    await stt_contract(lambda: OpenAITranscription(url=server.url))()
