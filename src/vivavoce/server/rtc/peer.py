"""The only place that knows aiortc: a peer connection with one track each way and a data channel."""

from __future__ import annotations

import asyncio
import fractions
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import aioice.ice
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from vivavoce.server.rtc.link import RATE, CallLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiortc import RTCDataChannel

    from vivavoce.ports import Samples
    from vivavoce.realtime.answer import Mint

CHANNEL: Final = "oai-events"
FRAME: Final = RATE // 50
"""Samples."""

_addresses: ContextVar[Sequence[str]] = ContextVar("addresses")
_all_addresses = aioice.ice.get_host_addresses


def _offered(use_ipv4: bool, use_ipv6: bool) -> list[str]:  # noqa: FBT001 - aioice calls it
    """Return where a call may arrive: aioice itself offers every interface, and never loopback."""
    chosen = _addresses.get(())
    return list(chosen) or _all_addresses(use_ipv4, use_ipv6)


aioice.ice.get_host_addresses = _offered


class OfferError(ValueError):
    """An offer is no SDP, or offers neither sound nor events."""


class Playout(MediaStreamTrack):
    """What the client hears, 20 ms at a time."""

    kind = "audio"

    def __init__(self, link: CallLink) -> None:
        super().__init__()
        self._link = link
        self._began: float | None = None
        self._given = 0

    async def recv(self) -> AudioFrame:
        """Return the next frame when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        self._began = self._began or now
        await asyncio.sleep(self._began + self._given / RATE - now)
        samples, told = self._link.reel.give(FRAME)
        for each in told:
            self._link.tell_playout(each.response_id, begun=each.begun)
        frame = AudioFrame.from_ndarray((samples * 32767).clip(-32768, 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._given, fractions.Fraction(1, RATE)
        self._given += FRAME
        return frame


class Peer:
    """One call, from its offer to its end."""

    def __init__(self, mint: Mint) -> None:
        self.link = CallLink(self, mint)
        self.opened = asyncio.Event()
        """The data channel is open."""
        self.gone = asyncio.Event()
        """The connection is over, or never came about."""
        self._channel: RTCDataChannel | None = None
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.on("datachannel", self._take_channel)
        self._peer.on("connectionstatechange", self._follow)
        self._hearing: list[MediaStreamTrack] = []
        self._peer.on("track", self._hearing.append)

    async def answer(self, offer: str, addresses: Sequence[str]) -> str:
        """Return the answer to an offer.

        Args:
            offer: SDP (RFC 8866).
            addresses: of this machine at which the call may arrive; all where it is empty.

        Raises:
            OfferError: it cannot be answered.
        """
        _addresses.set(addresses)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            self._peer.addTrack(Playout(self.link))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as wrong:  # a parser of strangers' text may raise anything
            raise OfferError(f"{type(wrong).__name__}: {wrong}") from wrong
        if self._peer.sctp is None or not self._hearing:
            raise OfferError("it has no audio section, or no data channel")
        return str(self._peer.localDescription.sdp)

    async def hear(self) -> None:
        """Pass on what the client says, until it has gone."""
        for track in self._hearing:
            try:
                while True:
                    self.link.hear(_mono(await track.recv()))
            except MediaStreamError:
                continue

    @property
    def waiting(self) -> int:
        """Return the bytes that are on their way to the client."""
        return 0 if self._channel is None else int(self._channel.bufferedAmount)

    def send(self, text: str) -> None:
        """Send a message; a call that is over takes none."""
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(text)

    async def close(self) -> None:
        """End the call, once what was said has had time to leave."""
        for _ in range(20):
            if not self.waiting:
                break
            await asyncio.sleep(0.05)
        await self._peer.close()
        self._end()
        self.link.forget()

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is None:
            self._channel = channel
            channel.on("message", self.link.take)
            channel.on("close", self._end)
            self.opened.set()

    def _follow(self) -> None:
        if self._peer.connectionState in {"failed", "closed"}:
            self._end()

    def _end(self) -> None:
        self.link.hang_up()
        self.gone.set()


def _mono(frame: Any) -> Samples:
    channels = len(frame.layout.channels)
    samples: Samples = frame.to_ndarray().reshape(-1, channels).mean(axis=1, dtype=np.float32) / np.float32(32768)
    return samples
