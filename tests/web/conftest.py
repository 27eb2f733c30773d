"""A real browser with a microphone that plays a recording, and servers for its page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import numpy as np
import pytest
import soundfile
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Page, sync_playwright
from tests.scenarios.command import COMMAND, environment

from vivavoce.ports import Call
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import from_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Playwright

    from vivavoce.ports import Samples
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.testing import Reply

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HERE = Path(__file__).parent
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
RATE = 24_000
"""Of the sound that is overheard, Hz."""
PATIENCE_MS = 60_000
TIME = "It is noon. Time to eat."
STORY = " ".join(["Once upon a time there was a very long story."] * 100)
HEARD = "What time is it?"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver; for one module only, as its loop would be in the way of tests with loops of their own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing; install chromium")
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of nothing."""
    path = tmp_path_factory.mktemp("silence") / "silence.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    return path


@contextmanager
def browsing(playwright: Playwright, recording: Path) -> Iterator[Browser]:
    """Open a browser whose microphone plays a recording again and again, from its beginning on when it is opened."""
    arguments = [*FLAGS, f"--use-file-for-fake-audio-capture={recording}"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def browser(playwright: Playwright, silence: Path) -> Iterator[Browser]:
    with browsing(playwright, silence) as browser:
        yield browser


class Console:
    """The page in a browser, and what a test does with it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        """What the browser complained of: errors of scripts, breaches of the policy."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda told: self.wrong.append(told.text) if told.type == "error" else None)
        page.add_init_script(path=HERE / "overhear.js")
        page.goto(url)

    def start(self) -> None:
        self.page.click("#start")
        self.waits_for("#state", "listening")

    def types(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def waits_for(self, selector: str, text: str) -> None:
        self.page.locator(selector).filter(has_text=text).first.wait_for()

    def said(self, role: str) -> list[str]:
        return self.page.locator(f'#transcript > [data-role="{role}"] > p').all_inner_texts()

    def log(self, folder: Path) -> Path:
        """Export the events and return the file."""
        with self.page.expect_download() as download:
            self.page.click("#export")
        path = folder / "session.jsonl"
        download.value.save_as(path)
        return path

    def events(self, folder: Path) -> list[tuple[str, dict[str, Any]]]:
        """Return all events with their direction."""
        lines = [json.loads(line) for line in self.log(folder).read_text("utf-8").splitlines()]
        return [(way, line[way]) for line in lines for way in ("in", "out") if way in line]

    def heard(self) -> Samples:
        """Return what has left the page's output so far, at `RATE`."""
        return from_pcm16(base64.b64decode(self.page.evaluate("overheard()")))


@pytest.fixture
def console(browser: Browser) -> Iterator[Callable[..., Console]]:
    """Return what opens the page of a server; at the end nothing may have been wrong in it."""
    with opening(browser) as opened:
        yield opened


@contextmanager
def opening(browser: Browser) -> Iterator[Callable[..., Console]]:
    consoles: list[Console] = []

    def opened(url: str, **options: Any) -> Console:
        page = browser.new_context(accept_downloads=True, **options).new_page()
        consoles.append(Console(page, url))
        return consoles[-1]

    yield opened
    for one in consoles:
        one.page.context.close()
        assert one.wrong == []


class Server:
    """A server with scripted engines in a thread of its own, which may be stopped and started again."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @contextmanager
    def running(self, **options: Any) -> Iterator[None]:
        hub = Hub(
            Engines(
                vad=ScriptedVad(),
                stt=ScriptedSpeechToText([HEARD]),
                llm=ScriptedLanguageModel(self._reply, delay=0.01),
                tts=ScriptedTextToSpeech(),
            )
        )
        with start_blocking_portal() as portal:
            ready = portal.call(anyio.Event)

            def listening(url: str) -> None:
                self.port = urlsplit(url).port or 0
                ready.set()

            task = portal.start_task_soon(partial(serve, hub, port=self.port, grace_s=0, on_ready=listening, **options))
            portal.call(ready.wait)
            try:
                yield
            finally:
                task.cancel()

    def _reply(self, prompt: Prompt) -> Reply:
        self.prompts.append(prompt)
        last = prompt.messages[-1]
        if last.role == "tool":
            return f"It says: {last.text}."
        if "dark" in last.text:
            return [Call("page_colours", '{"scheme": "dark"}')]
        if "weather" in last.text:
            return [Call("get_weather", '{"city": "Oslo"}')]
        return STORY if "story" in last.text else TIME


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()
    with scripted.running():
        yield scripted


@contextmanager
def served(*arguments: str, **variables: str) -> Iterator[str]:
    """Run `vivavoce serve` and return the address of its page."""
    command = [str(COMMAND), "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment(**variables), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            told = ""
            for line in process.stderr:
                told += line
                if found := re.search(r"in a browser: (\S+)", line):
                    yield found[1]
                    break
            else:
                pytest.fail(told)
        finally:
            process.kill()
