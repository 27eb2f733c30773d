"""Speech by an endpoint."""

from __future__ import annotations

import io
import struct
from contextlib import aclosing

import numpy as np
import pytest
import soundfile
from anyio import to_thread

from vivavoce.backends.openai_tts import OpenAISpeech
from vivavoce.ports import BackendError
from vivavoce.testing import tone, tts_contract

pytestmark = pytest.mark.anyio

SOUND = tone(440, 0.5, 24_000)
PCM = (SOUND * 32767).astype("<i2").tobytes()


@pytest.fixture
async def engine(server):
    engine = OpenAISpeech(url=server.url, model="voice", key="sk-secret")
    yield engine
    await engine.aclose()


async def speak(engine, sentence="Hello.", **options):
    async with aclosing(engine.speak(sentence, **options)) as stream:
        return [chunk async for chunk in stream]


def wav(sound, rate, subtype="PCM_16", kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format=kind)
    return file.getvalue()


def in_pieces(data, *sizes):
    """Cut at odd places, with a little time between so that each is a chunk of its own."""
    cut, start = [], 0
    for size in sizes:
        cut += [data[start : start + size], 0.03]
        start += size
    return [*cut, data[start:]]


def is_tone(samples, seconds=0.5):
    """Tell whether it is the tone of SOUND: its length and its pitch."""
    spectrum = np.abs(np.fft.rfft(samples))
    pitch = spectrum.argmax() * 24_000 / len(samples)
    return abs(len(samples) / 24_000 - seconds) < 0.02 and abs(pitch - 440) < 5


async def test_what_is_asked(server, engine):
    server.answer(server.body(PCM))
    await speak(engine, "Hello there.", voice="nova", speed=1.5)
    (seen,) = server.seen
    assert seen.path == "/v1/audio/speech"
    assert seen.json == {
        "model": "voice",
        "input": "Hello there.",
        "voice": "nova",
        "speed": 1.5,
        "response_format": "pcm",
    }


@pytest.mark.parametrize(("voice", "sent"), [(None, "alloy"), ("nobody", "alloy"), ("echo", "echo")])
async def test_an_unknown_voice_is_the_default_one(server, engine, voice, sent):
    server.answer(server.body(PCM))
    await speak(engine, voice=voice)
    assert server.seen[0].json["voice"] == sent


async def test_other_voices_and_fields(server):
    server.answer(server.body(PCM))
    engine = OpenAISpeech(url=server.url, voices=["af_heart", "am_adam"], extra={"lang_code": "a"})
    await speak(engine, speed=9.0)
    await engine.aclose()
    body = server.seen[0].json
    assert (body["voice"], body["lang_code"], body["speed"]) == ("af_heart", "a", 4.0)


async def test_sound_cut_at_odd_bytes(server, engine):
    server.answer(server.body(*in_pieces(PCM, 1, 3, 1001, 2)))
    chunks = await speak(engine)
    assert len(chunks) > 2
    assert all(chunk.dtype == np.float32 for chunk in chunks)
    assert np.allclose(np.concatenate(chunks), SOUND, atol=1e-4)


async def test_the_first_sound_does_not_wait_for_the_last(server, engine):
    server.answer(server.body(PCM, 60, PCM))
    async with aclosing(engine.speak("Hello.")) as stream:
        assert len(await anext(stream))
    assert await to_thread.run_sync(server.gone.wait, 10), "the server sees that nobody listens"


@pytest.mark.parametrize("rate", [24_000, 22_050, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "FLOAT"])
async def test_a_server_that_sends_wav_anyway(server, engine, rate, channels, subtype):
    sound = np.repeat(tone(440, 0.5, rate)[:, None], channels, axis=1)
    server.answer(server.body(*in_pieces(wav(sound, rate, subtype), 3, 10, 20, 2001), kind="audio/wav"))
    samples = np.concatenate(await speak(engine))
    assert is_tone(samples)
    assert np.abs(samples).max() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
async def test_a_wav_that_does_not_know_its_length(server, engine, size):
    header = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24000, 48000, 2, 16)
    server.answer(server.body(header + b"data" + struct.pack("<I", size) + PCM))
    assert is_tone(np.concatenate(await speak(engine)))


async def test_what_follows_the_sound_in_a_wav_is_not_played(server, engine):
    server.answer(server.body(wav(SOUND, 24_000) + b"LIST" + struct.pack("<I", 400) + b"\x7f" * 400))
    assert len(np.concatenate(await speak(engine))) == len(SOUND)


async def test_extensible_wav(server, engine):
    server.answer(server.body(wav(SOUND, 24_000, kind="WAVEX")))
    assert is_tone(np.concatenate(await speak(engine)))


async def test_headerless_sound_of_another_rate(server):
    engine = OpenAISpeech(url=server.url, pcm_rate=16_000)
    server.answer(server.body((tone(440, 0.5, 16_000) * 32767).astype("<i2").tobytes()))
    assert is_tone(np.concatenate(await speak(engine)))
    await engine.aclose()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"ID3\x04\x00", "audio/pcm"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"<html>", "text/html"),
        (b'{"ok": true}', "application/json"),
        (wav(SOUND, 24_000, "PCM_24"), "audio/wav"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
    ],
)
async def test_what_is_not_plain_sound(server, engine, body, kind):
    server.answer(server.body(body, kind=kind))
    with pytest.raises(BackendError, match="something else") as refused:
        await speak(engine)
    assert refused.value.code == "bad_answer"


async def test_nothing_to_say_is_not_asked(server, engine):
    assert await speak(engine, " \n") == []
    assert not server.seen


async def test_sound_cut_half_way(server, engine, cut):
    server.answer(server.body(PCM, 0.05, cut))
    with pytest.raises(BackendError, match="broke off"):
        await speak(engine)


async def test_a_refused_key_is_not_told(server, engine, refuse):
    server.answer(refuse(401, "sk-secret is wrong"))
    with pytest.raises(BackendError, match="VIVAVOCE_TTS_KEY") as refused:
        await speak(engine)
    assert "sk-secret" not in str(refused.value)


async def test_it_keeps_the_contract(server):
    server.react = lambda _: server.body(PCM[:9999], PCM[9999:])
    await tts_contract(lambda: OpenAISpeech(url=server.url))()
