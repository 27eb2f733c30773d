"""Whether a person agrees to what a tool is about to do: a fold over what is called and said, without a clock.

A call is held until the person says yes, in words or by a key. Whatever else happens, it is not run: a no, a minute
of silence or two turns about something else drop it. One call waits at a time, so that a yes can only mean that one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from vivavoce.realtime.client import Run

PATIENCE_S: Final = 60.0
"""Time in which the person must agree."""
TURNS: Final = 2
"""Turns about something else after which a call is dropped."""

Word: TypeAlias = Literal["yes", "no", "other"]

_YES: Final = (
    "yes yeah yep yup sure ok okay alright absolutely definitely certainly agreed correct confirm confirmed "
    "go+ahead do+it do+that please+do of+course all+right i+agree "
    "да ага конечно давай давайте хорошо ок окей подтверждаю согласен согласна разрешаю выполняй выполняйте валяй"  # noqa: RUF001
)
_NO: Final = (
    "no nope nah never don't dont not stop cancel abort wait forget+it never+mind "
    "нет не неа отмена отмени отменить стоп нельзя передумал передумала подожди"
)
_COURTESY: Final = (
    "please thanks thank you it that this now i a an the to and so just right well um uh go ahead do "
    "пожалуйста спасибо это так ну вот же и"
)


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.replace("+", " ") for phrase in text.split())


_AGREES: Final = re.compile(rf"\b(?:{'|'.join(map(re.escape, _phrases(_YES)))})\b")
_REFUSES: Final = re.compile(rf"\b(?:{'|'.join(map(re.escape, _phrases(_NO)))})\b")
_POLITE: Final = frozenset(_phrases(_COURTESY))


def understand(said: str, question: str) -> Word:
    """Tell what an utterance answers to a question.

    Any word of refusal refuses. Only an utterance that says nothing but yes agrees: what else is in it must be
    courtesy or words of the question, and it must not be a question itself.
    """
    words = _words(said)
    if _REFUSES.search(words):
        return "no"
    rest = _AGREES.sub(" ", words).split()
    if rest == words.split() or "?" in said:
        return "other"
    return "yes" if set(rest) <= _POLITE | set(_words(question).split()) else "other"


def _words(text: str) -> str:
    """Return the words in small letters, with the signs taken away."""
    return " ".join(re.findall(r"[\w']+", text.lower().replace("ё", "е").replace("’", "'")))  # noqa: RUF001


class Ask(msgspec.Struct, frozen=True):
    """Ask the person; the call is held."""

    question: str


class Again(msgspec.Struct, frozen=True):
    """The call waits already: it is asked once."""

    question: str


class Busy(msgspec.Struct, frozen=True):
    """Another call waits: this one is not held, and never run."""

    question: str


class Join(msgspec.Struct, frozen=True):
    """The person has agreed to this very call, and it runs or ran: its one result is this call's, too."""

    run: Run


Held: TypeAlias = Ask | Again | Busy | Join
Verdict: TypeAlias = Literal["agreed", "refused", "forgotten", "unanswered"]


class Decision(NamedTuple):
    """What becomes of a call that waited."""

    run: Run
    verdict: Verdict
    """Only a call that is agreed to may be run, and once."""


@dataclass
class _Waiting:
    run: Run
    question: str
    until: float
    turns: int = 0
    """Of the person, about something else."""


@dataclass
class Consent:
    """The call that waits for a yes, and the one that got it last."""

    _waiting: _Waiting | None = None
    _agreed: Run | None = None
    _settled: bool = False
    """The agreed call has been answered; it is forgotten when the person speaks next."""

    @property
    def waiting(self) -> Run | None:
        """Return the call that waits."""
        return self._waiting.run if self._waiting else None

    @property
    def deadline(self) -> float | None:
        """Return when the call that waits is dropped, seconds."""
        return self._waiting.until if self._waiting else None

    def called(self, run: Run, question: str, now: float) -> Held:
        """Take a call that needs consent; it must not be run for now."""
        if self._agreed is not None and _same(self._agreed, run):
            return Join(self._agreed)
        if self._waiting is None:
            self._waiting = _Waiting(run, question, now + PATIENCE_S)
            return Ask(question)
        kind = Again if _same(self._waiting.run, run) else Busy
        return kind(self._waiting.question)

    def said(self, text: str) -> Decision | None:
        """Take what the person said, and return what it decides."""
        if self._settled:
            self._agreed, self._settled = None, False
        waiting = self._waiting
        if waiting is None or not text.strip():
            return None
        word = understand(text, waiting.question)
        if word == "other":
            waiting.turns += 1
            return self._decided("forgotten") if waiting.turns >= TURNS else None
        return self._decided("agreed" if word == "yes" else "refused")

    def chosen(self, *, yes: bool) -> Decision | None:
        """Take what the person chose by a key."""
        return self._decided("agreed" if yes else "refused")

    def tick(self, now: float) -> Decision | None:
        """Drop the call that nobody answered for too long."""
        late = self._waiting is not None and now >= self._waiting.until
        return self._decided("unanswered") if late else None

    def _decided(self, verdict: Verdict) -> Decision | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        if verdict == "agreed":
            self._agreed, self._settled = waiting.run, False
        return Decision(waiting.run, verdict)

    def settled(self, run: Run) -> None:
        """Take that the call that was agreed to has been answered."""
        self._settled = self._settled or run == self._agreed


def _same(one: Run, other: Run) -> bool:
    return one.name == other.name and decoded(one.arguments) == decoded(other.arguments)


def decoded(arguments: str) -> object:
    """Return the arguments of a call, or the text where it is no JSON."""
    try:
        return msgspec.json.decode(arguments.strip() or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return arguments
