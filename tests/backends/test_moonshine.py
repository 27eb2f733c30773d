from __future__ import annotations

import threading
from itertools import pairwise

import anyio
import jiwer
import numpy as np
import pytest

from vivavoce.backends.hibari import Hibari
from vivavoce.backends.moonshine import Moonshine, looping, read_vocabulary
from vivavoce.ports import BackendError, Heard
from vivavoce.speech.pcm import resample

pytestmark = [pytest.mark.anyio, pytest.mark.speech]

RATE = Moonshine.sample_rate
PAUSE = np.zeros(0, np.float32)


async def stream(*sounds):
    """The sounds in chunks of 20 ms; an empty one is a pause."""
    size = RATE // 50
    for sound in sounds:
        for at in range(0, max(1, len(sound)), size):
            yield sound[at : at + size]


async def final(moonshine, *sounds):
    heard = [one async for one in moonshine.transcribe(stream(*sounds))]
    assert [one.final for one in heard] == [False] * (len(heard) - 1) + [True]
    return heard[-1].text


@pytest.fixture
def decodings(moonshine):
    """The lengths in seconds of the sounds that were decoded."""
    found, read = [], moonshine._read

    def spy(sound, abandoned):
        found.append(len(sound) / RATE)
        return read(sound, abandoned)

    moonshine._read = spy
    return found


async def test_word_error_rate(moonshine, recordings, words):
    heard = [words(await final(moonshine, recording.sound)) for recording in recordings]
    assert jiwer.wer([recording.words for recording in recordings], heard) < 0.18


async def test_what_was_heard_at_the_pause_is_final_at_once(moonshine, recordings, decodings):
    sound = recordings[0].sound
    heard = [one async for one in moonshine.transcribe(stream(sound, PAUSE))]
    assert heard[-1] == Heard(heard[-2].text, final=True)
    assert decodings == [pytest.approx(len(sound) / RATE)]


async def test_what_was_heard_so_far_grows_with_the_speech(moonshine, recordings, words):
    sound = max((recording.sound for recording in recordings), key=len)
    parts = [part for second in np.split(sound, range(RATE, len(sound), RATE)) for part in (second, PAUSE)]
    heard = [words(one.text).split() async for one in moonshine.transcribe(stream(*parts))]
    assert len(heard) == len(parts) // 2 + 1
    assert all(len(earlier) <= len(later) + 1 for earlier, later in pairwise(heard))
    assert len(heard[0]) < len(heard[-1]) / 2
    assert heard[-2] == heard[-1]


async def test_two_streams_at_once(moonshine, recordings):
    alone = [await final(moonshine, recording.sound) for recording in recordings[:2]]
    together = {}

    async def hear(index):
        together[index] = await final(moonshine, recordings[index].sound)

    async with anyio.create_task_group() as tasks:
        for index in range(2):
            tasks.start_soon(hear, index)
    assert [together[0], together[1]] == alone


async def test_a_long_utterance_is_read_to_its_end(moonshine, recordings, words, decodings):
    pause = np.zeros(RATE // 2, np.float32)
    chosen = [recordings[index] for index in (0, 3, 4, 6, 7, 8)] * 2
    sound = np.concatenate([part for recording in chosen for part in (recording.sound, pause)])
    heard = words(await final(moonshine, sound))
    assert len(decodings) > 1
    assert max(decodings) <= 25
    assert jiwer.wer(" ".join(recording.words for recording in chosen), heard) < 0.2


@pytest.mark.parametrize(
    "sound",
    [
        PAUSE,
        np.zeros(10, np.float32),
        np.zeros(2 * RATE, np.float32),
        np.random.default_rng(0).normal(0, 0.01, 2 * RATE).astype(np.float32),
        (0.05 * np.sin(2 * np.pi * 100 * np.arange(2 * RATE) / RATE)).astype(np.float32),
    ],
    ids=["nothing", "a moment", "silence", "noise", "hum"],
)
async def test_nothing_is_heard_where_nobody_speaks(moonshine, sound):
    assert await final(moonshine, sound) == ""


async def test_a_cancelled_decoding_stops_at_its_next_token(moonshine, recordings):
    await moonshine.warm_up()
    model, stopped, begun = moonshine._loaded(), threading.Event(), anyio.Event()
    greedy = model._greedy

    def spy(sound, limit, abandoned):
        anyio.from_thread.run_sync(begun.set)
        while not abandoned():
            threading.Event().wait(0.01)
        tokens = greedy(sound, limit, abandoned)
        assert tokens == []
        stopped.set()
        return tokens

    model._greedy = spy
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(final, moonshine, recordings[0].sound)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(stopped.wait, 10)
    model._greedy = greedy
    assert await final(moonshine, recordings[0].sound)


@pytest.mark.parametrize("language", ["en", "en-GB", "English", None])
async def test_english_by_any_name(moonshine, recordings, language):
    heard = [one async for one in moonshine.transcribe(stream(recordings[0].sound), language=language)]
    assert heard[-1].text


def test_another_language_is_refused_with_a_remedy():
    with pytest.raises(BackendError, match="--stt"):
        Moonshine().transcribe(stream(PAUSE), language="ru")


async def test_an_unknown_model_is_refused(recordings):
    with pytest.raises(BackendError):
        await final(Moonshine("moonshine-gigantic"), recordings[0].sound)


def test_vocabulary():
    long = b"x" * 300
    packed = b"\x02hi" + b"\x00" + bytes([300 % 128 + 128, 300 // 128]) + long
    assert read_vocabulary(packed) == [b"hi", b"", long]


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([], 0),
        ([1, 2, 3], 0),
        ([7] * 7, 0),
        ([7] * 8, 7),
        ([9, 1, 2, 1, 2, 1, 2], 0),
        ([9, 1, 2, 1, 2, 1, 2, 1, 2], 6),
        ([1, 2, 3] * 4, 9),
        ([1, 2, 3] * 4 + [4], 0),
    ],
)
def test_loops(tokens, loop):
    assert looping(tokens) == loop


async def test_something_else_may_have_been_said(moonshine):
    voice = Hibari()
    sound = resample(np.concatenate([part async for part in voice.speak("right")]), voice.sample_rate, RATE)
    assert await moonshine.compare(sound, ["Stop.", "Right.", "Right?", "Right,"]) == pytest.approx(0, abs=0.01)
    assert await moonshine.compare(sound, ["Mm-hmm.", "I see."]) < -5
