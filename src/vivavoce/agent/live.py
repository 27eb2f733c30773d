"""The terminal view: the conversation scrolls, and below it a block of a few lines shows what is happening now."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console as Terminal
from rich.text import Text

from vivavoce.agent.block import Block
from vivavoce.agent.drawing import GAP, METER, SILENT_DB, Pen, dim, height_of
from vivavoce.agent.editor import LineEditor
from vivavoce.agent.steering import KEYS, press_keys
from vivavoce.agent.transcript import Call, Note, Stopwatch, Transcript, Words, clean, redact, sound_words
from vivavoce.speech.pcm import SILENCE_DB

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from vivavoce.agent.steering import Steered
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.transcript import Entry
    from vivavoce.agent.view import SoundCounts
    from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn

DECAY_DB = 8.0
"""How far the meter falls between two frames."""
FLASH_S = 4.0
"""How long a passing line is shown in the place of the keys."""
SILENT_S = 8.0
"""A microphone that has given nothing but digital silence for so long is muted somewhere."""
CALLS_SHOWN = 4
"""Calls that the block shows at once; of more it shows the last."""
WORDS_SHARE = 2
"""An answer that is being heard takes at most one part in so many of the screen."""
MIN_HINTS = 2
"""Keys that are named even where that leaves no room for the devices."""
HINTS = ("Speak, or press Ctrl+T to type", "speak, or Ctrl+T")

_STATE_STYLES = {
    "connecting": "dim",
    "reconnecting": "yellow",
    "listening": "cyan",
    "hearing you": "bold cyan",
    "thinking": "yellow",
    "speaking": "green",
}
Name: TypeAlias = "str | Callable[[], str]"
"""Of a device; another may take its place while it is in use."""
_AT_WORK = ("connecting", "reconnecting", "thinking")


class Console:
    """The live view of a conversation (port `View`).

    Its methods only note what happened; `tick` draws, so that any number of events costs one frame.
    """

    def __init__(
        self,
        microphone_name: Name = "",
        speaker_name: Name = "",
        *,
        title: str = "",
        recording: bool = False,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get ready; entering the block starts to draw.

        Args:
            microphone_name: what the person's voice comes from, or what tells it; empty where nobody listens.
            speaker_name: what the answer is heard from, or what tells it; empty if it is only read.
            title: the service and its model.
            recording: whether the conversation is recorded.
            terminal: where to draw; standard output if absent.
            clock: seconds.
        """
        self.muted = False
        self.push_to_talk = False
        self.held = False
        """Whether push-to-talk is pressed."""
        self.help = False
        """Whether all keys are explained."""
        self.typing = False
        """Whether keys go to the typed line."""
        self.editor = LineEditor()
        self.recording = recording
        self._named = (microphone_name, speaker_name)
        self._title = clean(title)
        self._terminal = terminal or Terminal(highlight=False)
        self._pen = Pen(self._terminal)
        self._foot = Block(self._terminal)
        self._transcript = Transcript(self._tell)
        self._stopwatch = Stopwatch()
        self._state: State = "connecting"
        self._clock = clock
        self._peak_db = self._level_db = SILENT_DB
        self._meter = deque([0] * METER, maxlen=METER)
        self._frames = 0
        self._flash = ("", 0.0)
        """A passing line, and when it goes."""
        self._troubles = ""
        self._talked = False
        """Whether anyone has said anything."""
        self._silent_since: float | None = None
        """When the microphone was first heard, until it gives any sound."""
        self._sounded = False

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self._transcript.close()
        self.suspend()

    async def drive(self, agent: Steered) -> None:
        """Let the keys steer the agent, and keep the block moving, until cancelled."""
        await press_keys(agent, self)

    # View ------------------------------------------------------------------------------------------------------------

    def state(self, state: State) -> None:
        """Show what the conversation is doing."""
        self._state = state
        self._transcript.settle(state)

    def words(self, show: Show) -> None:
        """Show what was said; called again with more words of the same item, or more of them heard."""
        self._talked = True
        self._transcript.words(show)

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""
        self._transcript.calling(run)

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""
        self._transcript.called(run, result)

    def confirm(self, run: Run, question: str) -> None:
        """Show that a call waits for the person's consent."""
        self._transcript.questions.ask(run, question)

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Show what the person decided."""
        self._transcript.confirmed(run, yes=yes)

    def citing(self, cite: Cite) -> None:
        """Show what an answer cites."""
        self._transcript.citing(cite)

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        self._stopwatch.lap(report.timings)

    def sound(self, counts: SoundCounts) -> None:
        """Show what went wrong with the sound."""
        self._troubles = sound_words(counts)

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        self._transcript.note(Note("warning", redact(warn.message)))

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        self._transcript.note(Note("note", redact(text)))

    def level(self, db: float) -> None:
        """Show how loud the microphone is, dB below full scale."""
        self._peak_db = max(self._peak_db, db)
        if db > SILENCE_DB:
            self._sounded = True
        elif self._silent_since is None:
            self._silent_since = self._clock()

    # The block -------------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> bool:
        """Whether a question waits for y or n."""
        return bool(self._transcript.questions.first)

    def flash(self, text: str) -> None:
        """Show a line for a moment."""
        self._flash = (clean(text), self._clock() + FLASH_S)

    def tick(self) -> None:
        """Draw the next frame."""
        self._frames += 1
        self._level_db = max(self._peak_db, self._level_db - DECAY_DB)
        self._peak_db = SILENT_DB
        self._meter.append(0 if self._deaf else height_of(self._level_db))
        self._advise()
        self._foot.draw(self._block())

    def suspend(self) -> None:
        """Take the block away and leave the terminal as it was found."""
        self._foot.hide()

    def resume(self) -> None:
        """Draw the block again."""
        self._foot.show()
        self._foot.draw(self._block())

    @property
    def devices(self) -> tuple[str, str]:
        """What sound comes from and goes to now."""
        microphone, speaker = (clean(name if isinstance(name, str) else name()) for name in self._named)
        return microphone, speaker

    @property
    def _deaf(self) -> bool:
        """Whether the server hears nothing of the microphone."""
        return not self.held if self.push_to_talk else self.muted

    def _tell(self, entry: Entry) -> None:
        self._foot.tell(self._pen.entry(entry), self._block())

    def _advise(self) -> None:
        """Tell what to do about a microphone that gives nothing at all."""
        if self._sounded or self._silent_since is None or self._clock() - self._silent_since < SILENT_S:
            return
        self._sounded = True
        self._transcript.note(
            Note(
                "warning",
                f"{self.devices[0] or 'The microphone'} gives no sound at all: is it muted, by a switch or in the "
                "system's settings? `vivavoce doctor` looks what is wrong.",
            )
        )

    def _block(self) -> list[Text]:
        """Return what is open, the prompt and the status, less tall than the screen."""
        foot = self._status_lines()
        room = max(self._pen.height - len(foot) - 1, 0)
        now = self._now(max(room // WORDS_SHARE, 3))
        if question := self._transcript.questions.first:
            now += self._pen.question(question)
        lines = [*(now[-room:] if room else []), *foot]
        return [self._pen.fit(line, self._pen.width) for line in lines]

    def _now(self, room: int) -> list[Text]:
        """Return what is open: words in no more lines than there is room for each, and the last of many calls."""
        shown, entries = [], self._transcript.open
        hidden = [entry for entry in entries if isinstance(entry, Call)][:-CALLS_SHOWN]
        if hidden:
            shown = self._pen.entry(Note("note", f"{len(hidden)} more tools"))
        for entry in entries:
            if isinstance(entry, Words):
                shown += self._pen.glimpse(entry, room)
            elif entry not in hidden:
                shown += self._pen.entry(entry, self._frames)
        return shown + (self._pen.glimpse(self._transcript.hearing, room) if self._transcript.hearing else [])

    def _status_lines(self) -> list[Text]:
        """Return the lines that are always there; on a low terminal only that which says what happens."""
        pen = self._pen
        now = pen.prompt(self.editor) if self.typing else self._status()
        lines = [pen.rule(self._title), now, *([self._status()] if self.typing else [])]
        lines += [*filter(None, [pen.stages(self._stopwatch.stages)]), *self._footer()]
        if self.help and pen.height > len(lines) + len(KEYS):
            lines[1:1] = self._keys()
        return lines if pen.height > len(lines) + 1 else [now]

    def _status(self) -> Text:
        """Return the meter, the state, what is wrong, and how long the answers take."""
        left = Text()
        if self.devices[0]:
            left.append(self._pen.meter(self._meter), style="dim" if self._deaf else "green").append("  ")
        left.append_text(self._doing(self._pen.width - left.cell_len))
        times = self._pen.times(self._stopwatch)
        record = Text(f"{self._pen.glyphs.record} REC" if self.recording else "", "bold red")
        full, short = (
            [*filter(None, (record, Text(self._troubles, "yellow"), each))] for each in (times[0], times[-1])
        )
        rights = [full, short, short[:2], short[:1]]
        return self._pen.row(left, *(Text("   ").join(right) for right in rights if right))

    def _doing(self, room: int) -> Text:
        """Return the state in words, in the fullest way that there is room for."""
        said = self._ways()
        return next((way for way in said if way.cell_len <= room), said[-1])

    def _ways(self) -> list[Text]:
        """Return the state in words, longest first; how the microphone is held comes first."""
        dot = (f" {self._pen.glyphs.dot} ", "dim")
        busy = Text(self._state, style=_STATE_STYLES[self._state])
        if self._state in _AT_WORK:
            busy = Text.assemble((self._pen.spinner(self._frames) + " ", busy.style), busy)
        quiet = self._state in ("listening", "hearing you")
        if self.push_to_talk:
            name = ("push-to-talk held", "bold green") if self.held else ("push-to-talk", "bold cyan")
            key = Text(f"space {'ends' if self.held else 'begins'}", name[1])
            return (
                [Text.assemble(name, dot, key), key] if self.held or quiet else [Text.assemble(name, dot, busy), busy]
            )
        if self.muted:
            muted = Text("muted", "bold red")
            return [muted] if quiet else [Text.assemble(muted, dot, busy), busy]
        if self._state == "listening" and not self._talked and self.devices[0]:
            return [*(Text.assemble(busy, dot, (hint, "dim")) for hint in HINTS), busy]
        return [busy]

    def _footer(self) -> list[Text]:
        """Return the keys and the devices, or what has just happened."""
        if self._clock() < self._flash[1]:
            return self._pen.wrap(Text(self._flash[0], "cyan"))
        names = [Text(name) for name in self.devices if name]
        arrow = f" {self._pen.glyphs.arrow} "
        devices = [dim(arrow.join(self._pen.fit(name, cells).plain for name in names)) for cells in (40, 24, 16, 10)]
        return [self._pen.row(self._hints(self._pen.width - devices[-1].cell_len - GAP), *devices)]

    def _hints(self, room: int) -> Text:
        """Return the keys that matter now, the most important first, as many as there is room for."""
        if self.typing:
            hints = ["Enter send", "Esc back"]
        elif self._state == "speaking":
            hints = ["? keys", "q quit", "s skip", "m mute", "Ctrl+T type"]
        else:
            hints = ["? keys", "q quit", "m mute", "Ctrl+T type", "r replay"]
        joint = f" {self._pen.glyphs.dot} "
        while len(hints) > MIN_HINTS and len(joint.join(hints)) > room:
            hints.pop()
        return dim(joint.join(hints))

    def _keys(self) -> list[Text]:
        """Return every key and what it does, in two columns where there is room."""
        explained = [Text.assemble((f" {key:<7}", "bold"), (what, "dim")) for key, what in KEYS]
        column = max(line.cell_len for line in explained) + 2
        if 2 * column > self._pen.width:
            return explained
        half = -(-len(explained) // 2)
        rows = []
        for at, line in enumerate(explained[:half]):
            line.append(" " * (column - line.cell_len))
            rows.append(line.append_text(explained[half + at]) if half + at < len(explained) else line)
        return rows
