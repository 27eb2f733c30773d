"""Takes a conversation down while it happens: its sound, its words and its log, in a folder of its own.

    conversation.wav   left the person as the server heard them, right what left the loudspeaker
    transcript.md      who said what and when, what was looked up
    transcript.vtt     the same words as captions of the sound
    session.jsonl      what went in and out of the session, for `vivavoce replay`

Those who make the sound, and the session, only append to a queue; a thread of its own writes. What is on disk is
whole at any moment but for the last second.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections import deque
from contextlib import ExitStack
from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from vivavoce.agent import sessionlog
from vivavoce.agent.masking import Mask
from vivavoce.agent.minutes import Minutes
from vivavoce.agent.seams import AGENT, PERSON, RATE, SentFrames, SoundClock, Track, TrackLine
from vivavoce.agent.stereo import StereoFile, write_all
from vivavoce.errors import VivavoceError
from vivavoce.ports import Tapped
from vivavoce.realtime.client import Captured, Effect
from vivavoce.realtime.events import ClientEvent, InputAudioBufferAppend
from vivavoce.speech.pcm import from_pcm16, level_db, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from vivavoce.ports import Microphone, Samples, Speaker
    from vivavoce.realtime.client import Input, Output

SOUND = "conversation.wav"
MARKDOWN = "transcript.md"
CAPTIONS = "transcript.vtt"
WAITING = 30_000
"""Pieces of sound and things that happened which may wait for the disk, some minutes; then the recording ends."""
SAVE_S = 1.0
"""How much a crash may cost, of the sound."""
TRANSCRIPT_S = 3.0
"""How much it may cost of the transcript, which is written anew each time."""
CLOSING_S = 10.0
"""A disk that takes longer at the end is not waited for."""
OPENING_S = 1.0
"""Both tracks have begun by then; the earlier one begins the file."""
LATE_S = 3.0
"""In real time no sound comes later than that."""


_log = logging.getLogger(__name__)


class RecordError(VivavoceError):
    """A recording cannot begin; the message names the remedy."""


class _Event(NamedTuple):
    """Something went in or out of the session."""

    t: float
    """Seconds since the start."""
    when: float
    """By the clock of the sound."""
    what: Input | Output


class _Sound(NamedTuple):
    """A piece of one track."""

    track: Track
    when: float
    rate: int
    samples: Samples


class Recorder:
    """One recording; `with` begins and ends it."""

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        microphone: Microphone | None = None,
        speaker: Speaker | None = None,
        mask: Mask | None = None,
        complain: Callable[[str], None] = lambda _: None,
        in_step: bool = False,
    ) -> None:
        """Get ready.

        Args:
            folder: where recordings are kept; each gets a folder of its own there.
            about: what the log begins with: `session`, `greeting` and whatever else helps to understand it.
            microphone: what the person is heard by, not begun yet; it is recorded as the server hears it.
            speaker: what the answers are heard from.
            mask: knows what must not be written.
            complain: told, once, that the recording had to stop.
            in_step: whether only sound takes time in this conversation.
        """
        self.started = datetime.now().astimezone()
        self.folder = _new_folder(folder, self.started)
        self._start = time.monotonic()
        self._about = about
        self.mask = mask or Mask()
        self.in_step = in_step
        self._complain = complain
        self._microphone = SentFrames()
        self._clock = SoundClock(in_step=in_step)
        self.tracks: set[Track] = set()
        """Which of both can be recorded."""
        self._listen(microphone, speaker)
        self._queue: deque[_Event | _Sound] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._trouble: str | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._writer = _Writer(self)
        except OSError as refused:
            raise _refused(self.folder, refused) from refused
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            self._stop(f"The disk does not take the rest of the recording: {self.folder} is not complete.")
        self._tell_trouble()

    def head(self) -> bytes:
        """Return the first line of the log."""
        head = {
            "log": sessionlog.VERSION,
            "vivavoce": metadata.version("vivavoce"),
            "python": platform.python_version(),
            "system": platform.platform(),
            "started": self.started.isoformat(timespec="milliseconds"),
            "unix": time.time() - (time.monotonic() - self._start),
            "sound": SOUND if self.tracks else None,
        }
        return msgspec.json.encode(head | self.mask.value(dict(self._about)), enc_hook=str) + b"\n"

    # What happens ----------------------------------------------------------------------------------------------------

    def watch(self, what: Input | Output) -> None:
        """Take what goes in or out of the session; called by the event loop alone."""
        if self._stopped:
            self._tell_trouble()
            return
        when = self._clock.now()
        if isinstance(what, Captured):
            seconds = len(what.audio) / (2 * RATE)
            start = self._microphone.take(seconds)
            when = when if start is None else start + seconds
            self._put(_Sound(PERSON, when - seconds, RATE, from_pcm16(what.audio)))
        self._put(_Event(time.monotonic() - self._start, when, what))
        self._wake.set()

    def _listen(self, microphone: Microphone | None, speaker: Speaker | None) -> None:
        if microphone is not None:
            self.tracks.add(PERSON)
        if isinstance(microphone, Tapped):
            captured: Tapped = microphone
            captured.taps.append(lambda when, samples: self._capture(when, len(samples) / captured.tap_rate))
        if isinstance(speaker, Tapped):
            played: Tapped = speaker
            self.tracks.add(AGENT)
            played.taps.append(lambda when, samples: self._play(when, played.tap_rate, samples))

    def _capture(self, when: float, seconds: float) -> None:
        shift = self._clock.tell(PERSON, when + seconds)
        self._microphone.tap(when + shift, seconds)

    def _play(self, when: float, rate: int, samples: Samples) -> None:
        if len(samples) and not self._stopped:
            shift = self._clock.tell(AGENT, when + len(samples) / rate)
            self._put(_Sound(AGENT, when + shift, rate, samples))

    def _put(self, piece: _Event | _Sound) -> None:
        if len(self._queue) < WAITING:
            self._queue.append(piece)
        elif not self._stopped:
            self._stop("The disk is too slow for the recording: it ends here, the conversation goes on.")

    def _stop(self, trouble: str) -> None:
        self._trouble, self._stopped = trouble, True
        self._queue.clear()

    def _tell_trouble(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            self._complain(trouble)

    # The writer's thread ---------------------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            with self._writer as writer:
                while not self._stopped and not (self._closing and not self._queue):
                    self._wake.wait(SAVE_S / 5)
                    self._wake.clear()
                    while (piece := self._next()) is not None:
                        writer.take(piece)
                    writer.save(self._clock.now())
                writer.whole = not self._stopped
        except OSError as refused:
            self._stop(f"{self.folder} cannot be written ({refused.strerror}): the recording ends here.")
        except Exception:  # noqa: BLE001 - the conversation goes on
            _log.exception("The recording has failed.")
            self._stop("The recording ends here, by a mistake of vivavoce; the log says more.")

    def _next(self) -> _Event | _Sound | None:
        try:
            return self._queue.popleft()
        except IndexError:  # where there is none, or what waited has just been given up
            return None


class _Writer:
    """Writes what was taken from the queue; the only one that touches the files."""

    def __init__(self, recorder: Recorder) -> None:
        """Create the files.

        Raises:
            OSError: they cannot be written.
        """
        self.whole = True
        """Whether nothing is missing at the end."""
        self._folder = recorder.folder
        self._started = recorder.started
        self._mask = recorder.mask
        self._in_step = recorder.in_step
        self._minutes = Minutes(recorder.mask)
        self._fresh = True
        """Whether the transcript on disk is behind."""
        self._saved = self._transcribed = time.monotonic()
        self._lines: dict[Track, TrackLine] = {}
        self._opening: list[_Sound] | None = []
        """Pieces that wait until the file's beginning is known."""
        self._awaited = set(recorder.tracks)
        self._zero: float | None = None
        self._first: float | None = None
        """When something happened first, by the clock of the minutes."""
        self._t = 0.0
        with ExitStack() as stack:
            self._log = stack.enter_context((self._folder / sessionlog.NAME).open("xb", buffering=0))
            self._sound = StereoFile(self._folder / SOUND, RATE) if recorder.tracks else None
            self._write(recorder.head())
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            try:
                if error is None:
                    self._settle()
                    self._write(sessionlog.last_line(self._t) if self.whole else b"")
                    self._transcribe()
            finally:
                if self._sound is not None:
                    self._sound.close()

    def take(self, piece: _Event | _Sound) -> None:
        """Write one piece."""
        if isinstance(piece, _Event):
            self._take_event(piece)
        elif self._opening is None:
            self._lay(piece)
        else:
            self._opening.append(piece)
            self._awaited.discard(piece.track)
            if not self._awaited or piece.when - self._opening[0].when > OPENING_S:
                self._settle()

    def save(self, now: float) -> None:
        """Bring what is on disk up to date, now and then."""
        here = time.monotonic()
        if self._sound is not None and self._zero is not None and here - self._saved >= SAVE_S:
            self._saved = here
            settled = 0 if self._in_step else round((now - LATE_S - self._zero) * RATE)
            self._sound.save(max(settled, 0))
        if self._fresh and here - self._transcribed >= TRANSCRIPT_S:
            self._transcribed = here
            self._transcribe()

    def _take_event(self, event: _Event) -> None:
        self._t = event.t
        heard = isinstance(event.what, Captured)
        db = level_db(from_pcm16(event.what.audio)) if isinstance(event.what, Captured) else None
        at = None if self._zero is None else event.when - self._zero
        direction = "out" if isinstance(event.what, ClientEvent | Effect) else "in"
        self._write(sessionlog.line_of(event.t, direction, sessionlog.written(event.what, self._mask), at=at, db=db))
        when = event.t if self._sound is None else event.when
        self._first = when if self._first is None else self._first
        self._minutes.note(when, event.what)
        self._fresh = self._fresh or not (heard or isinstance(event.what, InputAudioBufferAppend))

    def _settle(self) -> None:
        """Let the file begin with what was first."""
        opening, self._opening = self._opening or [], None
        if opening:
            self._zero = min(piece.when for piece in opening)
        for piece in opening:
            self._lay(piece)

    def _lay(self, piece: _Sound) -> None:
        if self._sound is None or self._zero is None:
            return
        line = self._lines.get(piece.track)
        if line is None or line.rate != piece.rate:
            line = self._lines[piece.track] = TrackLine(piece.rate)
        start, samples = line.place(piece.when - self._zero, piece.samples)
        self._sound.put(piece.track, start, np.frombuffer(to_pcm16(samples), "<i2"))

    def _write(self, line: bytes) -> None:
        write_all(self._log.fileno(), line)

    def _transcribe(self) -> None:
        self._fresh = False
        offset = self._zero if self._zero is not None else self._first or 0.0
        self._replace(MARKDOWN, self._minutes.markdown(self._started, offset))
        if self._sound is not None:
            self._replace(CAPTIONS, self._minutes.webvtt(offset))

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that whoever reads it finds the old text or the new one."""
        new = self._folder / f".{name}"
        new.write_text(text, encoding="utf-8", errors="replace")
        new.replace(self._folder / name)


def _new_folder(folder: Path, started: datetime) -> Path:
    name = f"{started:%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 1000):
        path = folder / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if not folder.is_dir():
                break
        except OSError as refused:
            raise _refused(path, refused) from refused
        else:
            return path
    raise RecordError(f"{folder} is no folder for recordings: choose another one with --record.")


def _refused(path: Path, refused: OSError) -> RecordError:
    return RecordError(f"{path} cannot be written ({refused.strerror}): choose another folder with --record.")
