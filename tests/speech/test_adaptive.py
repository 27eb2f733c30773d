"""The filter that learns the way of the echo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vivavoce.speech.adaptive import EchoFilter
from vivavoce.speech.pcm import level_db

if TYPE_CHECKING:
    from vivavoce.speech.pcm import Samples

BLOCK, BLOCKS, FRAMES = 160, 10, 200
RANDOM = np.random.default_rng(0)
RESPONSE = (0.1 * RANDOM.standard_normal(8 * BLOCK) * np.exp(-np.arange(8 * BLOCK) / BLOCK)).astype(np.float32)
PLAYED = (0.1 * RANDOM.standard_normal(FRAMES * BLOCK)).astype(np.float32)
ECHO: Samples = np.convolve(PLAYED, RESPONSE)[: len(PLAYED)].astype(np.float32)
LATE = slice(-50 * BLOCK, None)


def left(captured: Samples, played: Samples) -> Samples:
    filter_ = EchoFilter(BLOCK, BLOCKS)
    frames = zip(captured.reshape(-1, BLOCK), played.reshape(-1, BLOCK), strict=True)
    return np.concatenate([filter_.feed(*frame) for frame in frames])


def test_an_echo_is_learnt_and_taken_off() -> None:
    rest = left(ECHO, PLAYED)
    assert level_db(rest[LATE]) < level_db(ECHO[LATE]) - 30


def test_a_voice_over_the_echo_stays_as_it_is() -> None:
    voice: Samples = np.zeros_like(ECHO)
    voice[LATE] = 0.03 * RANDOM.standard_normal(50 * BLOCK)
    rest = left(ECHO + voice, PLAYED)
    assert level_db((rest - voice)[LATE]) < level_db(voice[LATE]) - 10


def test_a_change_of_the_room_is_followed() -> None:
    changed: Samples = ECHO.copy()
    changed[len(ECHO) // 3 :] *= 0.3
    rest = left(changed, PLAYED)
    assert level_db(rest[LATE]) < level_db(changed[LATE]) - 6


def test_what_was_played_long_ago_costs_nothing_and_changes_nothing() -> None:
    captured = (0.1 * RANDOM.standard_normal(4 * BLOCK)).astype(np.float32)
    assert left(captured, np.zeros_like(captured)).tolist() == captured.tolist()
    filter_ = EchoFilter(BLOCK, 1)
    silence = np.zeros(BLOCK, np.float32)
    filter_.feed(captured[:BLOCK], PLAYED[:BLOCK])
    for _ in range(2):
        filter_.feed(silence, silence)
    assert filter_.feed(captured[:BLOCK], silence) is not None
    assert filter_.feed(captured[:BLOCK], silence).tolist() == captured[:BLOCK].tolist()
