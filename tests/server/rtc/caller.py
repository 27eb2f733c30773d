"""Somebody who calls: aiortc in the client's place, over loopback."""

from __future__ import annotations

import asyncio
import fractions
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from vivavoce.server.rtc import peer as ours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from vivavoce.ports import Samples

RATE = 48_000
FRAME = RATE // 50
LOOPBACK = ("127.0.0.1",)


class Mouth(MediaStreamTrack):
    """Says what it is given, and is silent otherwise."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sound: Samples = np.zeros(0, np.float32)
        self._began: float | None = None
        self._given = 0

    def say(self, sound: Samples) -> None:
        self._sound = np.concatenate([self._sound, sound])

    async def recv(self) -> AudioFrame:
        self._began = self._began or time.monotonic()
        await asyncio.sleep(self._began + self._given / RATE - time.monotonic())
        piece, self._sound = self._sound[:FRAME], self._sound[FRAME:]
        samples = np.pad(piece, (0, FRAME - len(piece)))
        frame = AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._given, fractions.Fraction(1, RATE)
        self._given += FRAME
        return frame


class Caller:
    """One call as its client sees it."""

    def __init__(self) -> None:
        self.mouth = Mouth()
        self.events: list[dict[str, Any]] = []
        self.heard: list[Samples] = []
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._news = asyncio.Event()
        self.peer.addTrack(self.mouth)
        self.channel = self.peer.createDataChannel("oai-events")
        self.channel.on("message", self._take)
        self.peer.on("track", lambda track: setattr(self, "_ear", asyncio.ensure_future(self._listen(track))))

    def send(self, **event: Any) -> None:
        self.channel.send(json.dumps(event))

    async def until(self, kind: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the first event of a kind that has come or comes, and forget it and those before it."""
        while True:
            for number, event in enumerate(self.events):
                if event["type"] == kind and wanted(event):
                    del self.events[: number + 1]
                    return event
            self._news.clear()
            await self._news.wait()

    async def ended(self) -> None:
        """Wait until an answer has been played; forget nothing."""
        while not any(event["type"] == "output_audio_buffer.stopped" for event in self.events):
            self._news.clear()
            await self._news.wait()

    @property
    def loudness(self) -> Samples:
        """The level of each 20 ms that was heard."""
        return np.array([np.sqrt(np.mean(np.square(frame))) for frame in self.heard], np.float32)

    def _take(self, text: str) -> None:
        self.events.append(json.loads(text))
        self._news.set()

    async def _listen(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame: Any = await track.recv()
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1)
                self.heard.append(samples.astype(np.float32) / 32768)
        except MediaStreamError:
            pass


def base(url: str) -> str:
    return url.replace("ws", "http", 1).removesuffix("/v1/realtime")


@asynccontextmanager
async def calling(
    url: str, *, path: str = "/v1/realtime/calls", **request: Any
) -> AsyncIterator[tuple[Caller, httpx.Response]]:
    """Call a server, and hang up at the end."""
    caller = Caller()
    ours._addresses.set(LOOPBACK)
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        sdp = caller.peer.localDescription.sdp
        body: dict[str, Any] = {"content": sdp, "headers": {"Content-Type": "application/sdp"}}
        if "session" in request:
            body = {"files": {"sdp": (None, sdp), "session": (None, json.dumps(request.pop("session")))}}
        body["headers"] = {**body.get("headers", {}), **request.pop("headers", {})}
        async with httpx.AsyncClient() as http:
            response = await http.post(base(url) + path, **body, **request)
        if response.status_code == 201:
            await caller.peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        yield caller, response
    finally:
        await caller.peer.close()
