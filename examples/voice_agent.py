"""A voice agent in one file: configuration, microphone, speaker, uplink, downlink, tools, Ctrl+C.

python examples/voice_agent.py                    the embedded server, in this process
python examples/voice_agent.py --service yandex   YANDEX_CLOUD_API_KEY, YANDEX_CLOUD_FOLDER_ID, VECTOR_STORE_ID
python examples/voice_agent.py --service openai   OPENAI_API_KEY
python examples/voice_agent.py --url ws://127.0.0.1:8080/v1/realtime
python examples/voice_agent.py --input question.wav --output answer.wav   without a sound card

`vivavoce.Agent` is all this and more; here are its parts, put together by hand. Use headphones: without them the
microphone hears the answer, and the agent interrupts itself.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

import vivavoce
from vivavoce.agent.devices import SoundMicrophone, SoundSpeaker
from vivavoce.agent.files import AudioClock, WavMicrophone, WavSpeaker
from vivavoce.agent.services import IN_RATE, find, session_settings
from vivavoce.agent.toolbox.weather import get_weather
from vivavoce.config import load
from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import (
    Captured,
    Cite,
    ClientSession,
    Duck,
    Hush,
    Play,
    Played,
    Renew,
    Report,
    Returned,
    Run,
    Show,
    Stop,
    Unduck,
    Warn,
)
from vivavoce.realtime.events import ClientEvent
from vivavoce.realtime.server import Ids
from vivavoce.speech.pcm import from_pcm16, to_pcm16

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vivavoce.agent.lasting import ClientLink
    from vivavoce.agent.services import Service
    from vivavoce.ports import Microphone, Speaker
    from vivavoce.realtime.client import Input, Output

SETTLED_S = 1.0
"""Quiet after the end of a recording that ends the conversation."""


@vivavoce.tool(examples=["what time is it"])
def current_time() -> str:
    """Tell the time of day."""
    return datetime.now().astimezone().strftime("%H:%M")


TOOLS = vivavoce.Toolbox([get_weather, current_time])


class VoiceAgent:
    """Moves sound and events; what to do about them, the pure `ClientSession` decides."""

    def __init__(self, link: ClientLink, session: dict[str, Any], microphone: Microphone, speaker: Speaker) -> None:
        self.link, self.microphone, self.speaker = link, microphone, speaker
        self.session = ClientSession(session, mint=Ids("example"))
        self.door = anyio.Lock()

    async def run(self) -> None:
        """Converse until the recording ends or the server goes."""
        async with anyio.create_task_group() as self.tasks:
            self.tasks.start_soon(self.uplink)
            await self.downlink()
            self.tasks.cancel_scope.cancel()

    async def uplink(self) -> None:
        """Take what the microphone hears to the server; at the end of a recording, wait for the last answer."""
        async for frame in self.microphone.frames():
            await self.step(Captured(to_pcm16(frame)))
        settled = anyio.current_time()
        while anyio.current_time() < settled + SETTLED_S:
            await anyio.sleep(0.05)
            await self.note_heard()
            if not self.session.quiet:
                settled = anyio.current_time()
        self.tasks.cancel_scope.cancel()

    async def downlink(self) -> None:
        """Take what the server says to the session."""
        try:
            while True:
                event = await self.link.receive()
                await self.note_heard()
                await self.step(event)
        except LinkClosed as closed:
            print(f"— {closed}")

    async def note_heard(self) -> None:
        """Tell the session how much of the answer has left the speaker: an interruption reports it to the server."""
        if heard := self.speaker.heard():
            await self.step(Played(*heard, all_played=self.speaker.idle()))

    async def step(self, happened: Input) -> None:
        """Tell the session what happened and do what it says, one thing at a time."""
        async with self.door:
            for output in self.session.step(happened):
                await self.do(output)

    async def do(self, output: Output) -> None:
        """Send an event, or do something at this end."""
        match output:
            case ClientEvent():
                await self.link.send(output)
            case Play():
                await self.speaker.play(output.item_id, from_pcm16(output.audio))
            case Hush():
                self.speaker.hush()
            case Run():
                self.tasks.start_soon(self.call, output)
            case Show():
                if output.final:
                    print(f"{output.role}: {output.text}{' — interrupted' if output.cut else ''}")
            case Warn():
                print(f"! {output.message}")
            case Duck() | Unduck() | Report() | Cite() | Stop() | Renew():
                pass  # this speaker cannot pause; times, sources, interrupted calls, sessions about to expire

    async def call(self, run: Run) -> None:
        """Run a tool and return its result."""
        result = await TOOLS.run(run.name, run.arguments)
        print(f"tool: {run.name} {run.arguments} → {result.output}")
        await self.step(Returned(run.call_id, result.output))


@asynccontextmanager
async def reach(service: Service, flags: dict[str, Any]) -> AsyncIterator[ClientLink]:
    """Connect to the service, or start the embedded server in this process."""
    if service.url:
        async with vivavoce.connect(service.url, headers=service.headers) as link:
            yield link
    else:
        async with vivavoce.embedded(**flags) as hub, vivavoce.in_process(hub) as link:
            yield link


async def talk(input_file: str | None, output_file: str | None, flags: dict[str, Any]) -> None:
    """Open the devices and the link, and converse."""
    settings = load(flags)
    service = find(settings)
    session = session_settings(settings, service, [msgspec.to_builtins(each) for each in TOOLS.definitions()])
    clock, rate = AudioClock(realtime=True), service.out_rate
    hears = WavMicrophone(input_file, clock=clock) if input_file else SoundMicrophone(sample_rate=IN_RATE)
    speaks = WavSpeaker(output_file, clock=clock, sample_rate=rate) if output_file else SoundSpeaker(sample_rate=rate)
    async with reach(service, flags) as link, hears as microphone, speaks as speaker:
        await VoiceAgent(link, session, microphone, speaker).run()


@click.command()
@click.option("--service", type=click.Choice(["local", "yandex", "openai", "azure"]))
@click.option("--url")
@click.option("--voice")
@click.option("--instructions")
@click.option("--input", "input_file")
@click.option("--output", "output_file")
def main(input_file: str | None, output_file: str | None, **flags: Any) -> None:
    """Talk until Ctrl+C."""
    try:
        with suppress(KeyboardInterrupt):
            anyio.run(talk, input_file, output_file, flags)
    except* vivavoce.VivavoceError as group:
        wrong: BaseException = group
        while isinstance(wrong, BaseExceptionGroup):
            wrong = wrong.exceptions[0]
        sys.exit(str(wrong))


if __name__ == "__main__":
    main()
