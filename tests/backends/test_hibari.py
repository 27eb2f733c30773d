from __future__ import annotations

import anyio
import jiwer
import numpy as np
import pytest

from vivavoce.backends.hibari import CHUNK, LEAD, Hibari, in_latin
from vivavoce.speech.levels import levels

pytestmark = [pytest.mark.anyio, pytest.mark.speech]

RATE = Hibari.sample_rate
SENTENCES = [
    "The report is ready, and I have sent it to your inbox.",
    "Would you like me to book a table by the window?",
    "I am sorry, I did not catch that.",
    "It will rain in the afternoon, so take an umbrella.",
    "The library is closed on Monday and on Friday.",
    "She bought fresh bread and a bottle of milk.",
    "Please turn left after the bridge and walk along the river.",
    "**Good news**: the meeting was moved to Tuesday morning!",
]


@pytest.fixture(scope="module")
def hibari():
    return Hibari()


async def spoken(hibari, text, **options):
    chunks = [chunk async for chunk in hibari.speak(text, **options)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def spy(monkeypatch, engine, name):
    """Return a list of what the engine's function is called with from now on."""
    found, function = [], getattr(engine, name)

    def call(text, *more):
        found.append(text)
        return function(text, *more)

    monkeypatch.setattr(engine, name, call)
    return found


def silences(sound):
    """Return the seconds of silence before and after."""
    audible = np.flatnonzero(levels(sound, RATE) > -50)
    return audible[0] / 100, len(sound) / RATE - (audible[-1] + 1) / 100


async def test_what_it_says_can_be_understood(hibari, read_back, words):
    heard = [words(await read_back(await spoken(hibari, sentence), RATE)) for sentence in SENTENCES]
    assert jiwer.wer([words(sentence) for sentence in SENTENCES], heard) < 0.15


@pytest.mark.parametrize(
    ("text", "pause"), [("Well,", 0.12), ("I see", 0.12), ("I see.", 0.3), ("Do you?", 0.35), ("“I see.”", 0.3)]
)
async def test_the_pause_after_it_follows_from_the_mark(hibari, text, pause):
    before, after = silences(await spoken(hibari, text))
    assert before == pytest.approx(LEAD, abs=0.011)
    assert after == pytest.approx(pause, abs=0.011)


async def test_it_is_as_loud_as_other_voices_and_never_clips(hibari):
    for sentence in SENTENCES:
        sound = await spoken(hibari, sentence)
        assert np.abs(sound).max() < 1
        assert -23 < 20 * np.log10(np.sqrt(np.mean(sound**2))) < -16


async def test_chunks_are_a_tenth_of_a_second(hibari):
    chunks = [chunk async for chunk in hibari.speak(SENTENCES[0])]
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}
    assert {chunk.dtype for chunk in chunks} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "text", ["", "  \n", "...", "**", "😀", "Привет, как дела?", "Завтра в 10:30 есть 3 встречи.", "你好"]
)
async def test_what_cannot_be_spoken_is_silent(hibari, text):
    assert not (await spoken(hibari, text)).size


async def test_the_same_words_sound_the_same_whatever_was_said_before(hibari):
    first = await spoken(hibari, SENTENCES[0])
    await spoken(hibari, SENTENCES[1])
    np.testing.assert_array_equal(await spoken(hibari, SENTENCES[0]), first)


async def test_marks_and_unknown_voices_make_no_difference(hibari):
    plain = await spoken(hibari, "This is very good.")
    np.testing.assert_array_equal(await spoken(hibari, "- This is **very** `good`. 😀", voice="nobody"), plain)


async def test_speed(hibari):
    slow, normal, quick = [len(await spoken(hibari, SENTENCES[0], speed=speed)) for speed in (0.7, 1.0, 1.4)]
    assert slow > 1.2 * normal
    assert quick < 0.85 * normal


async def test_a_long_text_comes_in_pieces(hibari, monkeypatch):
    asked = spy(monkeypatch, hibari._engine("heart"), "_g2p")
    async for _ in hibari.speak("and so it goes on and on " * 20):
        pass
    assert len(asked) > 2
    assert max(map(len, asked)) <= 200


async def test_closing_stops_the_work(hibari, monkeypatch):
    made = spy(monkeypatch, hibari._engine("heart"), "from_phonemes")
    speech = hibari.speak(" ".join(SENTENCES))
    await anext(speech)
    await speech.aclose()
    assert len(made) == 1


async def test_cancellation(hibari):
    async with anyio.create_task_group() as tasks:
        async for _ in hibari.speak(" ".join(SENTENCES)):
            tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught
    assert (await spoken(hibari, "Still here.")).size


async def test_two_voices_at_once(hibari):
    alone = [await spoken(hibari, sentence) for sentence in SENTENCES[:2]]
    together = {}

    async def say(index):
        together[index] = await spoken(hibari, SENTENCES[index])

    async with anyio.create_task_group() as tasks:
        for index in range(2):
            tasks.start_soon(say, index)
    for index in range(2):
        np.testing.assert_array_equal(together[index], alone[index])


async def test_warm_up_loads_the_default_voice():
    hibari = Hibari()
    await hibari.warm_up()
    assert list(hibari._engines) == [hibari.voices[0]] == ["heart"]


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("Café, 10:30.", "Café, 10:30."),
        ("42", "42"),
        ("The word привет means hello.", "The word  means hello."),
        ("Слово hello значит привет.", ""),
    ],
)
def test_in_latin(text, latin):
    assert in_latin(text) == latin
