"""How the ears cut sound into frames."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.backends.silero import Silero
from vivavoce.realtime.values import AudioFormat, Pcm, Pcma, Pcmu
from vivavoce.server.detector import Detector
from vivavoce.server.ears import Ears, decode
from vivavoce.speech import pcm


@pytest.mark.parametrize("sound", [Pcm(), Pcmu(), Pcma()])
@pytest.mark.parametrize("ms", [10, 20, 30, 100])
def test_no_frame_waits_for_more_sound_than_it_needs(sound: AudioFormat, ms: int) -> None:
    ears = Ears(Detector(Silero()), sound)
    resampler, framer = pcm.PromptResampler(sound.rate, Silero.sample_rate), pcm.Framer(Silero.frame)
    size = round(sound.bytes_per_second * ms / 1000)
    noise = np.random.default_rng(3)
    for _ in range(200):
        message = noise.integers(0, 256, size, dtype=np.uint8).tobytes()
        got = list(ears.frames(message))
        wanted = list(framer.feed(resampler.feed(decode(message, sound))))
        assert len(got) == len(wanted)
        np.testing.assert_allclose(np.array(got), np.array(wanted), atol=1e-5)
