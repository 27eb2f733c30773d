"""One turn of a talk: what was asked, heard, called, said, and when."""

from __future__ import annotations

import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import msgspec
import numpy as np

from vivavoce import plugins
from vivavoce.agent.conversation import Called, Event
from vivavoce.realtime.client import Run, Show, Warn
from vivavoce.speech.pcm import resample
from vivavoce.testing.person import RATE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Samples
    from vivavoce.testing.person import Person


class Moment(NamedTuple):
    """Something that happened, and when."""

    at: float
    """Seconds of sound from the beginning of the talk."""
    event: Event


class ToolCall(msgspec.Struct):
    """A call of a tool."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    result: str | None = None
    """What the model was told; None while it runs, and for one that waits for consent."""
    ok: bool | None = None

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({given}) → {self.result}"


class Turn:
    """What the person did, and all that came of it; it grows until the next one begins."""

    def __init__(self, asked: str, person: Person) -> None:
        self.asked = asked
        """What the person said or typed."""
        self.events: list[Moment] = []
        self.calls: list[ToolCall] = []
        self._person = person
        self._ended = max(person.now, person.spoke_until)
        self._items: dict[str, Show] = {}

    @property
    def heard(self) -> str:
        """What the agent heard of it."""
        heard = [each.text for each in self._items.values() if each.role == "user" and each.final]
        return " ".join(heard)

    @property
    def said(self) -> str:
        """What the agent said, as far as it was heard."""
        return " ".join(words for each in self._answers() if (words := each.text[: each.heard].strip()))

    @property
    def meant(self) -> str:
        """What the agent would have said had nobody interrupted."""
        return " ".join(each.text.strip() for each in self._answers())

    @property
    def cut(self) -> bool:
        """Whether the answer was interrupted."""
        return any(each.cut for each in self._answers())

    @property
    def warnings(self) -> list[str]:
        """What went wrong."""
        return [each.message for _, each in self.events if isinstance(each, Warn)]

    @property
    def answer(self) -> Samples:
        """The sound of the answer as far as it was heard, at 24 kHz."""
        return np.concatenate([np.zeros(0, np.float32), *(stretch.sound for stretch in self._stretches())])

    @property
    def latency(self) -> float | None:
        """Seconds of sound from the person's last to the agent's first; None without either.

        The work of the engines takes none, unless the talk is held in real time.
        """
        first = next(iter(self._stretches()), None)
        return None if first is None else round(first.at - self._ended, 3)

    def called(self, name: str, /, **arguments: Any) -> bool:
        """Tell whether a tool was called, with at least these arguments."""
        return any(each.name == name and arguments.items() <= each.arguments.items() for each in self.calls)

    def read_back(self) -> str:
        """Return what a recogniser hears in the answer: needs `vivavoce[local]`.

        Raises:
            PluginError: it is not installed.
        """
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.append(anyio.run(_read, self.answer)))
        reader.start()  # an event loop of its own: the test may run in one
        reader.join()
        return texts[0]

    def note(self, event: Event) -> None:
        """Take what happened."""
        self.events.append(Moment(round(self._person.now, 3), event))
        match event:
            case Show():
                self._items[event.item_id] = event
            case Run():
                self.calls.append(ToolCall(event.call_id, event.name, _arguments(event.arguments)))
            case Called():
                for call in self.calls:
                    if call.call_id == event.run.call_id:
                        call.result, call.ok = event.result.output, event.result.ok
            case _:
                pass

    def owns(self, key: str) -> bool:
        """Tell whether an item or a call is of this turn."""
        return key in self._items or any(call.call_id == key for call in self.calls)

    def _answers(self) -> list[Show]:
        return [each for each in self._items.values() if each.role == "assistant"]

    def _stretches(self) -> list[Any]:
        return [stretch for stretch in self._person.stretches if stretch.item_id in self._items]

    def __repr__(self) -> str:
        """Show the turn as a transcript: it is what a failed assertion prints."""
        lines = [("you", self.asked)] if self.asked else []
        if self.heard != self.asked:
            lines.append(("heard", self.heard))
        lines += [("tool", repr(call)) for call in self.calls]
        lines.append(("agent", self.said + (" — interrupted" if self.cut else "")))
        lines += [("warning", warning) for warning in self.warnings]
        told = "\n".join(f"    {who + ':':<9}{words}" for who, words in lines)
        after = "" if self.latency is None else f" answered after {self.latency:g} s"
        return f"<Turn{after}\n{told}>"


def _arguments(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {"": text}


async def _read(sound: Samples) -> str:
    recogniser = plugins.make("stt", "moonshine")

    async def once() -> AsyncGenerator[Samples, None]:
        yield resample(sound, RATE, recogniser.sample_rate)

    text = ""
    async with aclosing(recogniser.transcribe(once())) as results:
        async for heard in results:
            text = heard.text
    return text
