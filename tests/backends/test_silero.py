from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vivavoce.backends.silero import CONTEXT, MEMORY, SETTLING, Silero

pytestmark = pytest.mark.speech

PUBLISHED = Path(__file__).parents[1] / "data" / "silero_vad_16k_op15.onnx"
SECOND = 16_000


@pytest.fixture(scope="module")
def silero():
    return Silero()


def scores(silero, sound):
    """Score a whole sound as one stream."""
    state, found = silero.state(), []
    for at in range(0, len(sound) - silero.frame + 1, silero.frame):
        score, (state,) = silero.score(sound[np.newaxis, at : at + silero.frame], [state])
        found.append(float(score[0]))
    return np.array(found)


def test_speech_is_noticed_when_it_starts(silero, recordings):
    noise = np.random.default_rng(0).normal(0, 3e-4, 2 * SECOND).astype(np.float32)
    late = []
    for recording in recordings:
        found = scores(silero, np.concatenate([noise, recording.sound]))
        start = float(np.argmax(found > 0.5)) * silero.frame / SECOND
        late.append(start - 2 - recording.starts)
    assert max(map(abs, late)) < 0.2, dict(zip((r.name for r in recordings), late, strict=True))


def test_most_of_the_speech_and_nothing_else_is_found(silero, recordings):
    for recording in recordings:
        found = scores(silero, np.concatenate([recording.sound, np.zeros(2 * SECOND, np.float32)]))
        spoken = len(recording.sound) // silero.frame
        assert np.mean(found[:spoken] > 0.5) > 0.4, recording.name
        assert np.max(found[spoken + SETTLING :]) < 0.5, recording.name


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(SECOND, np.float32),
        np.random.default_rng(0).normal(0, 0.02, 2 * SECOND).astype(np.float32),
        (0.2 * np.sin(2 * np.pi * 100 * np.arange(2 * SECOND) / SECOND)).astype(np.float32),
    ],
    ids=["silence", "noise", "hum"],
)
def test_what_is_not_speech_is_not_taken_for_it(silero, sound):
    assert scores(silero, sound).max() < 0.5


def test_streams_in_one_batch_do_not_touch_each_other(silero, recordings):
    sounds = [recording.sound[: 2 * SECOND] for recording in recordings[:4]]
    sounds[1] = np.zeros(2 * SECOND, np.float32)
    states, found = [silero.state() for _ in sounds], []
    for at in range(0, 2 * SECOND - silero.frame + 1, silero.frame):
        score, states = silero.score(np.stack([sound[at : at + silero.frame] for sound in sounds]), states)
        found.append(score)
    alone = np.stack([scores(silero, sound) for sound in sounds], axis=1)
    np.testing.assert_allclose(np.stack(found), alone, atol=1e-4)
    assert alone.max(axis=0).tolist()[1] == 0


def test_silence_costs_nothing_once_the_memory_has_settled(silero, recordings, monkeypatch):
    runs = []
    run = Silero._run

    def spy(self, *given):
        runs.append(len(given[0]))
        return run(self, *given)

    monkeypatch.setattr(Silero, "_run", spy)
    scores(silero, np.zeros(SECOND, np.float32))
    assert not runs
    spoken = recordings[0].sound
    scores(silero, spoken)
    while_speaking = len(runs)
    runs.clear()
    scores(silero, np.concatenate([spoken, np.zeros(5 * SECOND, np.float32)]))
    assert while_speaking <= len(runs) <= while_speaking + SETTLING + 1


def test_speech_cut_off_by_silence_is_forgotten(silero, recordings):
    """What follows a digital silence is not taken for speech because speech came before the silence."""
    gap = np.zeros(100 * silero.frame, np.float32)
    cut_off = 0
    for recording in recordings:
        cut = round((recording.starts + 1) * SECOND) // silero.frame * silero.frame
        breath = recording.sound[: round((recording.starts - 0.05) * SECOND)]
        found = scores(silero, np.concatenate([recording.sound[:cut], gap, breath]))
        cut_off += found[cut // silero.frame - 1] > 0.5
        assert found[(cut + len(gap)) // silero.frame :].max() < 0.5, recording.name
    assert cut_off > len(recordings) / 2


def test_a_state_is_not_changed_by_scoring(silero, recordings):
    state = silero.state()
    before = state.copy()
    first, _ = silero.score(recordings[0].sound[np.newaxis, 8000 : 8000 + silero.frame], [state])
    again, _ = silero.score(recordings[0].sound[np.newaxis, 8000 : 8000 + silero.frame], [state])
    np.testing.assert_array_equal(state, before)
    np.testing.assert_array_equal(first, again)


@pytest.mark.anyio
async def test_warm_up_loads(silero):
    await Silero().warm_up()


def test_the_network_says_what_the_published_one_says(silero, recordings):
    import onnxruntime

    published = onnxruntime.InferenceSession(PUBLISHED, providers=["CPUExecutionProvider"])
    rate = np.array(silero.sample_rate, np.int64)
    for recording in recordings:
        state, memory, found, wanted = np.zeros((2, 1, 128), np.float32), np.zeros((1, MEMORY), np.float32), [], []
        for at in range(0, len(recording.sound) - silero.frame - CONTEXT, silero.frame):
            heard = recording.sound[np.newaxis, at : at + CONTEXT + silero.frame]
            score, state = published.run(None, {"input": heard, "state": state, "sr": rate})
            wanted.append(float(score[0, 0]))
            score, memory = silero._run(heard, memory)
            found.append(float(score[0]))
        np.testing.assert_allclose(found, wanted, atol=1e-3, err_msg=recording.name)
