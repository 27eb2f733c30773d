"""OpenAI's own browser client, with nothing but its address changed, calls the server over WebRTC from Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from tests.npm import NODE, NPM, installed
from tests.scenarios.command import QUESTION
from tests.scenarios.speech import RATE, silence
from tests.web.conftest import CHROMIUM, FLAGS, TIME

from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Playwright
    from tests.web.conftest import Server

PACKAGES = Path(__file__).parents[1] / "conformance" / "node" / "package.json"
CLIENT = Path("@openai", "agents-realtime", "dist", "bundle", "openai-realtime-agents.umd.js")
LOOPBACK = "--allow-loopback-in-peer-connection"

pytestmark = pytest.mark.skipif(not (NODE and NPM), reason="Node and npm are missing; install nodejs and npm")

CONNECT = """async ({ address }) => {
  const { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebRTC } = OpenAIAgentsRealtime;
  const minted = await fetch('/v1/realtime/client_secrets', { method: 'POST', body: '{}' });
  const apiKey = (await minted.json()).value;
  window.transport = new OpenAIRealtimeWebRTC({ baseUrl: address });
  window.talk = new RealtimeSession(new RealtimeAgent({ name: 'clerk', instructions: 'Be brief.' }), { transport });
  window.told = [];
  talk.on('transport_event', (event) => told.push(event));
  talk.on('error', ({ error }) => told.push({ type: 'page.error', message: String(error?.message ?? error) }));
  await talk.connect({ apiKey });
}"""
ENERGY = """async () => {
  const stats = await transport.connectionState.peerConnection.getStats();
  return [...stats.values()].find(({ type }) => type === 'inbound-rtp').totalAudioEnergy;
}"""


@pytest.fixture
def page(playwright: Playwright, tmp_path: Path) -> Iterator[Page]:
    """A page of a browser whose microphone plays a question, once a minute."""
    question, rate = soundfile.read(QUESTION, dtype="float32")
    path = tmp_path / "question.wav"
    soundfile.write(path, np.concatenate([silence(2.0), resample(question, rate, RATE), silence(60.0)]), RATE)
    arguments = [*FLAGS, LOOPBACK, f"--use-file-for-fake-audio-capture={path}"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    # The console's policy lets in no script but its own.
    yield browser.new_context(bypass_csp=True).new_page()
    browser.close()


def heard(page: Page, kind: str) -> list[dict[str, Any]]:
    """Wait for an event of a kind and return all that have come."""
    page.wait_for_function("(kind) => told.some(({ type }) => type === kind)", arg=kind, timeout=40_000)
    events: list[dict[str, Any]] = page.evaluate("told")
    return events


def test_the_official_browser_client_speaks_and_hears(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.add_script_tag(path=installed(PACKAGES) / CLIENT)
    page.evaluate(CONNECT, {"address": f"{server.url}v1/realtime/calls"})
    events = heard(page, "output_audio_buffer.stopped")
    kinds = [event["type"] for event in events]
    assert not {"error", "page.error", "generic"} & set(kinds)
    turn = ("input_audio_buffer.speech_started", "input_audio_buffer.committed", "output_audio_buffer.started")
    assert [kind for kind in kinds if kind in turn] == [*turn]
    said = next(event for event in events if event["type"] == "response.output_audio_transcript.done")
    assert said["transcript"] == TIME
    assert page.evaluate(ENERGY) > 0
    page.evaluate("talk.close()")
