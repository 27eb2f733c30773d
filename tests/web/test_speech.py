"""People speak to the page, the embedded models answer, and what leaves the page's output is read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from anyio.from_thread import start_blocking_portal
from tests.recordings import recorded
from tests.scenarios.command import QUESTION
from tests.scenarios.speech import RATE, read, silence, wer, words
from tests.web.conftest import Console, browsing, opening, served

from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Playwright

    from vivavoce.ports import Samples

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

STORIES = "You tell long stories of at least eight sentences."
PAUSE_S = 12.0
"""Before the interrupting voice, again and again."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served("--profile", "fast") as url:
        yield url


@contextmanager
def speaking(playwright: Playwright, path: Path, sound: Samples, address: str) -> Iterator[Console]:
    """Open the page with a microphone that plays this."""
    soundfile.write(path, sound, RATE)
    with browsing(playwright, path) as browser, opening(browser) as opened:
        yield opened(address)


def reading(sound: Samples) -> str:
    """Return what the recogniser hears; in a thread, as the driver of the browser keeps a loop in this one."""
    with start_blocking_portal() as portal:
        return portal.call(read, sound)


def test_a_spoken_question_is_answered_aloud(playwright: Playwright, tmp_path: Path, address: str) -> None:
    question, rate = soundfile.read(QUESTION, dtype="float32")
    sound = np.concatenate([silence(1.0), resample(question, rate, RATE), silence(60.0)])
    with speaking(playwright, tmp_path / "question.wav", sound, address) as talk:
        talk.start()
        talk.page.locator('#transcript [data-role="assistant"]').wait_for()
        talk.waits_for("#latency .spoken-only", "playout")
        talk.waits_for("#state", "listening")
        asked, answered = " ".join(talk.said("user")), " ".join(talk.said("assistant"))
        heard = reading(talk.heard())
        account = talk.page.inner_text("#latency .spoken-only")
    assert "capital of france" in words(asked)
    assert "paris" in words(answered)
    assert wer([answered], [heard]) < 0.2
    assert all(stage in account for stage in ("waiting", "synthesis", "network", "playout"))


def test_a_voice_interrupts_the_answer(playwright: Playwright, tmp_path: Path, address: str) -> None:
    voice = next(each.sound for each in recorded(RATE) if each.name == "1688-142285-0002.flac")
    sound = np.concatenate([silence(PAUSE_S), voice])
    with speaking(playwright, tmp_path / "voice.wav", sound, address) as talk:
        talk.page.click("[popovertarget=settings]")
        talk.page.fill("[name=instructions]", STORIES)
        talk.page.keyboard.press("Escape")
        talk.start()
        talk.types("Tell me a very long story about a lighthouse.")
        talk.page.locator("#transcript s").first.wait_for()
        sound = talk.heard()
        answer = talk.page.locator('#transcript > [data-role="assistant"]:has(s)').first
        told, unheard = answer.locator("p").inner_text(), answer.locator("s").inner_text()
        truncations = [event for _, event in talk.events(tmp_path) if event["type"] == "conversation.item.truncated"]
        talk.page.click("#start")
    assert truncations[0]["audio_end_ms"] > 0
    remembered = words(told.removesuffix(unheard)).split()
    heard = words(reading(sound)).split()
    assert remembered[:2] == heard[:2]
    assert abs(len(remembered) - len(heard)) <= max(2, len(heard) // 8)
