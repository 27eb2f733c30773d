# ruff: noqa: INP001
"""Takes pictures of the console in each of its states: `uv run python scripts/screenshots.py [FOLDER]`.

A real browser, a real server with the embedded models, and people who speak to it. Without a folder only the picture
of the README is taken.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from playwright.sync_api import ViewportSize, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from tests.scenarios.command import QUESTION, vivavoce  # noqa: E402 - found only now
from tests.web.conftest import Console, browsing, served  # noqa: E402

from vivavoce.speech.pcm import resample  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from vivavoce.ports import Samples

PICTURE = ROOT / "docs" / "images" / "console.png"
RATE = 24_000
DESK = ViewportSize(width=1280, height=800)
TELEPHONE = ViewportSize(width=390, height=844)
UNDECIDED = "void (navigator.mediaDevices.getUserMedia = () => new Promise(() => {}))"
"""A browser in which the person has not answered yet."""
MANNER = "You are friendly. Stories have at least eight sentences."
ENOUGH = "Thank you. What is the capital of Norway?"
STORY = "Tell me a long story about a lighthouse."


def speech() -> Samples:
    """Return what the person says: a question."""
    question, rate = soundfile.read(QUESTION, dtype="float32")
    return np.concatenate(
        [np.zeros(RATE, np.float32), resample(question, rate, RATE), np.zeros(120 * RATE, np.float32)]
    )


@contextmanager
def opened(browser: Browser, url: str, *, dark: bool = False, narrow: bool = False) -> Iterator[Console]:
    """Open the page."""
    context = browser.new_context(
        viewport=TELEPHONE if narrow else DESK, color_scheme="dark" if dark else "light", device_scale_factor=1
    )
    yield Console(context.new_page(), url)
    context.close()


def converse(talk: Console, folder: Path, name: str = "") -> None:
    """Speak, type, interrupt, and take a picture of each state."""

    def picture(state: str) -> None:
        talk.page.screenshot(path=folder / f"{name}{state}.png")

    picture("idle")
    talk.page.click("[popovertarget=settings]")
    talk.page.fill("[name=instructions]", MANNER)
    talk.page.keyboard.press("Escape")
    talk.page.click("#start")
    talk.waits_for("#state", "listening")
    picture("listening")
    talk.waits_for("#state", "hearing")
    talk.page.wait_for_timeout(1200)
    picture("hearing")
    talk.page.locator('#transcript [data-role="assistant"]').first.wait_for()
    talk.waits_for("#latency .spoken-only", "playout")
    talk.waits_for("#state", "listening")
    talk.types("What time is it?")
    talk.page.locator('#transcript [data-role="assistant"]').nth(1).wait_for()
    talk.waits_for("#state", "listening")
    talk.types(STORY)
    talk.page.locator('#transcript [data-role="assistant"]').nth(2).wait_for()
    talk.waits_for("#state", "speaking")
    talk.page.wait_for_timeout(1500)
    picture("speaking")
    talk.types(ENOUGH)
    talk.page.locator("#transcript s").first.wait_for()
    picture("interrupted")
    talk.page.locator('#transcript [data-role="assistant"]').nth(3).wait_for()
    talk.page.wait_for_timeout(1000)
    picture("conversation")


def others(browser: Browser, url: str, folder: Path, recording: Path) -> None:
    """Take pictures of what no conversation shows."""
    with opened(browser, url) as talk:
        talk.page.evaluate(UNDECIDED)
        talk.page.click("#start")
        talk.waits_for("#banner", "allow it")
        talk.page.screenshot(path=folder / "permission.png")
    with opened(browser, url) as talk:
        for panel in ("settings", "files", "help"):
            talk.page.click(f"[popovertarget={panel}]")
            talk.page.wait_for_timeout(400)
            talk.page.screenshot(path=folder / f"{panel}.png")
            talk.page.keyboard.press("Escape")
        talk.page.set_input_files("#recording", [recording / "session.jsonl", recording / "conversation.wav"])
        talk.page.click("#play")
        talk.page.locator('#transcript [data-role="assistant"]').first.wait_for()
        talk.page.wait_for_timeout(500)
        talk.page.screenshot(path=folder / "replay.png")


def main() -> None:
    """Take the pictures."""
    whole = len(sys.argv) > 1
    with TemporaryDirectory() as scratch, served("--profile", "fast") as url, sync_playwright() as driver:
        folder = Path(sys.argv[1]) if whole else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(Path(scratch, "speech.wav"), speech(), RATE)
        with browsing(driver, Path(scratch, "speech.wav")) as browser:
            if whole:
                recordings = Path(scratch, "recordings")
                recording = ("--record", recordings, "--output", Path(scratch, "answer.wav"))
                vivavoce("talk", "--profile", "fast", "--input", QUESTION, *recording, cwd=Path(scratch))
                others(browser, url, folder, *recordings.iterdir())
            with opened(browser, url) as talk:
                converse(talk, folder)
            if whole:
                with opened(browser, url, dark=True) as talk:
                    converse(talk, folder, "dark-")
                with opened(browser, url, narrow=True) as talk:
                    converse(talk, folder, "narrow-")
        (PICTURE if not whole else folder / "console.png").write_bytes((folder / "conversation.png").read_bytes())


if __name__ == "__main__":
    main()
