"""An agent whose loudspeaker is heard by its own microphone, through PulseAudio, with real ears and voice."""

from __future__ import annotations

import subprocess
import time
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.recordings import recorded
from tests.scenarios.people import Onlooker
from tests.system import pulse as pulse_audio

from vivavoce import compose, run
from vivavoce.agent import devices, services
from vivavoce.agent.devices import SoundSpeaker
from vivavoce.agent.echo import HEARD_MYSELF
from vivavoce.agent.tools import Toolbox
from vivavoce.config import Settings
from vivavoce.realtime.events import SpeechStarted
from vivavoce.run import TalkOptions
from vivavoce.testing import ScriptedLanguageModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from tests.system.pulse import Pulse

    from vivavoce.agent.agent import Agent
    from vivavoce.server.hub import Hub

pytestmark = [pytest.mark.speech, pytest.mark.devices, pytest.mark.anyio]

RATE = 24_000
ECHO_MS = 120
"""Between the loudspeaker and the microphone, which PulseAudio tells nobody of."""
ANSWERS = [
    "Your train leaves from the second platform in a few minutes, so you have time for a coffee.",
    "The library is closed on Monday and on Friday, but it is open on Sunday afternoon.",
    "Please turn left after the bridge and walk along the river until you see the old mill.",
    "It will rain in the afternoon, so take an umbrella, and perhaps another pair of shoes.",
]
PATIENCE_S = 60.0
ALSA = '\npcm.{name} {{ type pulse server "unix:{socket}" device {device} }}\n'


@contextmanager
def echoing(folder: Path) -> Iterator[Pulse]:
    """Run a daemon in which what is played into "loudspeaker" is heard at "cable end", later and softer."""
    with pulse_audio.running(folder) as pulse:
        with (folder / "asound.conf").open("a") as alsa:
            alsa.write(ALSA.format(name="loudspeaker", socket=pulse.socket, device="loudspeaker"))
        sink = ["module-null-sink", "sink_name=loudspeaker", "rate=48000"]
        loop = ["module-loopback", "source=loudspeaker.monitor", "sink=cable", f"latency_msec={ECHO_MS}"]
        for module in (sink, loop):
            subprocess.run(["pactl", "load-module", *module], check=True, stdout=subprocess.DEVNULL)
        time.sleep(2.2)  # what the sink renders before the loop hurries it
        devices.refresh_devices()
        yield pulse


@asynccontextmanager
async def around(manager: AbstractContextManager[Any]) -> AsyncIterator[None]:
    with manager:
        yield


@asynccontextmanager
async def warm(hub: Hub) -> AsyncIterator[None]:
    await hub.warm_up()
    yield


@asynccontextmanager
async def talking(
    folder: Path, answers: Sequence[str] = ANSWERS, **chosen: Any
) -> AsyncIterator[tuple[Agent, list[Any], Onlooker]]:
    """Open an agent at the devices, and the server beside it."""
    settings = Settings(input_device="cable end", output_device="loudspeaker", greeting="", **chosen)
    engines = replace(compose.build_engines(settings), llm=ScriptedLanguageModel(answers))
    service, seen, view = services.Service(""), list[Any](), Onlooker()
    async with (
        compose.open_hub(settings, engines=engines) as hub,
        warm(hub),
        around(echoing(folder)),
        run.open_sound(settings, TalkOptions(), service) as sound,
        compose.in_process(hub) as link,
        anyio.create_task_group() as tasks,
    ):
        with run.assemble(
            view, settings, TalkOptions(), service, Toolbox(), sound, link, watchers=[seen.append]
        ) as agent:
            tasks.start_soon(agent.run)
            yield agent, seen, view
            tasks.cancel_scope.cancel()


async def until(happens: Callable[[], Any]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not happens():  # noqa: ASYNC110 - devices and views announce nothing
            await anyio.sleep(0.05)


async def answered(agent: Agent, view: Onlooker, number: int) -> None:
    """Wait until so many answers have been heard."""
    await until(lambda: len(view.said("assistant")) >= number and agent.quiet)
    await anyio.sleep(1.0)


def turns(seen: list[Any]) -> int:
    return sum(isinstance(event, SpeechStarted) for event in seen)


async def test_the_agent_does_not_interrupt_itself_and_can_be_interrupted(tmp_path: Path) -> None:
    async with talking(tmp_path) as (agent, seen, view):
        for number in range(1, len(ANSWERS)):
            agent.say("And then?")
            await answered(agent, view, number)
        assert turns(seen) == 0
        assert not any(show.cut for show in view.said("assistant"))
        agent.say("And then?")
        await interrupt(seen, view, len(ANSWERS))
    assert HEARD_MYSELF not in view.notes


async def interrupt(seen: list[Any], view: Onlooker, number: int) -> None:
    """Speak over the answer of this number, which is coming, until it stops."""
    person, before = recorded(RATE)[0], turns(seen)
    async with SoundSpeaker("cable", sample_rate=RATE) as mouth:
        await until(lambda: len(view.said("assistant")) >= number)
        await anyio.sleep(1.0)
        await mouth.play("person", person.sound[round(person.starts * RATE) :])
        await until(lambda: turns(seen) > before)
        await until(lambda: view.said("assistant")[number - 1].cut)
