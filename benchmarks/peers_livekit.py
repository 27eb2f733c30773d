"""An agent of LiveKit for `peers.py`: in its own process and environment, over a WebSocket of bare sound.

LiveKit's transport is WebRTC and needs a server; here the agent's session is joined to the socket directly, which saves
it the network and its jitter buffer. PCM of 16 bits comes in at 16 kHz and goes out at 24 kHz; "clear" says that what
was sent is not to be played on.
"""
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import sys
import time

from livekit import rtc
from livekit.agents import Agent, AgentSession, inference
from livekit.agents.voice import io
from livekit.plugins import openai
from websockets.asyncio.server import serve

RATE_IN, RATE_OUT = 16_000, 24_000
TUNED = {
    "turn_detection": "vad",
    "endpointing": {"min_delay": 0.3, "max_delay": 0.3},
    "interruption": {"mode": "vad", "min_duration": 0.2},
    "preemptive_generation": {"enabled": True, "preemptive_tts": True},
}
"""For speed: silence alone, everything begun ahead, interruptions as soon as Pipecat sees them."""
PAUSE_S = 0.1
"""Silence after which transcription begins, and with it the answer ahead; shipped are 0.25."""


class Ear(io.AudioInput):
    def __init__(self, socket):
        super().__init__(label="socket")
        self._socket = socket

    async def __anext__(self):
        data = await self._socket.recv()
        return rtc.AudioFrame(data, RATE_IN, 1, len(data) // 2)


class Mouth(io.AudioOutput):
    """Sends sound at once, and tells when it would have been heard."""

    def __init__(self, socket):
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="socket", capabilities=capabilities, sample_rate=RATE_OUT)
        self._socket = socket
        self._began = self._seconds = 0.0
        self._playing = None

    async def capture_frame(self, frame):
        await super().capture_frame(frame)
        if not self._seconds:
            self._began = time.time()
            self.on_playback_started(created_at=self._began)
        self._seconds += frame.duration
        await self._socket.send(bytes(frame.data))

    def flush(self):
        super().flush()
        if self._seconds:
            left = max(self._began + self._seconds - time.time(), 0)
            self._playing = asyncio.get_running_loop().call_later(left, self._finish, False)  # noqa: FBT003

    def clear_buffer(self):
        if self._seconds:
            if self._playing:
                self._playing.cancel()
            self._sending = asyncio.ensure_future(self._socket.send("clear"))
            self._finish(True)  # noqa: FBT003

    def _finish(self, interrupted):
        heard = min(time.time() - self._began, self._seconds)
        self._seconds, self._playing = 0.0, None
        self.on_playback_finished(playback_position=heard, interrupted=interrupted)


async def main(port, models, manner):
    async def talk(socket):
        where = {"base_url": models, "api_key": "none"}
        tuned = {"vad": inference.VAD(min_silence_duration=PAUSE_S), "turn_handling": TUNED}
        session = AgentSession(
            stt=openai.STT(use_realtime=False, **where),
            llm=openai.LLM(**where),
            tts=openai.TTS(response_format="pcm", **where),
            **(tuned if manner == "tuned" else {}),
        )
        session.input.audio, session.output.audio = Ear(socket), Mouth(socket)
        await session.start(Agent(instructions="Answer briefly."))
        await socket.wait_closed()
        await session.aclose()

    async with serve(talk, "127.0.0.1", int(port), compression=None) as server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
