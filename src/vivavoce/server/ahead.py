"""What a session begins before anybody knows that it is wanted; what is not wanted leaves no trace.

While the user speaks the model reads what has been understood so far. At a pause it begins to answer, and the first
sentence is spoken to nobody. If the user goes on, all of that is dropped; if the turn is over, it is there already.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from vivavoce.ports import BackendError, Primed
from vivavoce.server.thinking import Manner, Reciter, Rehearsal, Thinking

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.ports import LanguageModel, TextToSpeech
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.realtime.facts import Generate

UNSETTLED_WORDS = 2
"""At the end of what was understood so far; more sound may change them."""

log = logging.getLogger("vivavoce.server")


@dataclass
class Budget:
    """How much may be begun ahead by all sessions of a server."""

    tries: int = 4
    """Answers that are begun in one turn; 0 for none."""
    at_once: int = 4
    """Answers that are being made ahead at the same time."""
    used: int = 0
    """Of those."""
    begun: int = 0
    """Answers that were begun ahead since the start."""
    wanted: int = 0
    """Of those, how many were given."""


def settled(words: str) -> str:
    """Return what more sound will hardly change of a transcript."""
    return " ".join(words.split()[:-UNSETTLED_WORDS])


class Ahead:
    """The head start of one session."""

    def __init__(self, llm: LanguageModel, tts: TextToSpeech, budget: Budget, start: Callable[..., object]) -> None:
        """Get ready.

        Args:
            llm: thinks.
            tts: speaks.
            budget: what all sessions share.
            start: starts a task of the session.
        """
        self._llm = llm
        self._tts = tts
        self._budget = budget
        self._start = start
        self._reading = CancelScope()
        self._thinking: Thinking | None = None
        self._tries = 0

    def begin_turn(self) -> None:
        """Note that the user has begun to speak."""
        self._tries = 0

    def read(self, prompt: Prompt) -> None:
        """Let the model read what the next prompt begins with, while nobody waits for it."""
        self._reading.cancel()
        if isinstance(self._llm, Primed):
            self._reading = CancelScope()
            self._start(self._prime, self._llm, prompt, self._reading)

    def think(self, prompt: Prompt, manner: Manner) -> None:
        """Begin the answer to a prompt, unless it is begun already or has been tried often enough."""
        if self._thinking is not None and self._thinking.answers(prompt, manner):
            return
        self.drop()
        if self._tries < self._budget.tries and self._budget.used < self._budget.at_once:
            self._reading.cancel()
            self._tries += 1
            self._budget.used += 1
            self._budget.begun += 1
            self._thinking = self._begin(prompt, manner, self._llm, rehearse=self._rehearse)

    def drop(self) -> None:
        """Forget the answer that was begun."""
        if thinking := self._released():
            thinking.stop()

    def take(self, generate: Generate) -> Thinking:
        """Return the answer that was begun ahead, if it is the one that is wanted, else begin it now."""
        self._reading.cancel()
        manner = Manner(spoken=generate.spoken, voice=generate.voice, speed=generate.speed)
        if generate.say:
            return self._begin(generate.prompt, manner, Reciter(generate.say))
        thinking = self._released()
        if thinking is not None and thinking.answers(generate.prompt, manner):
            self._budget.wanted += 1
            return thinking
        if thinking is not None:
            thinking.stop()
        return self._begin(generate.prompt, manner, self._llm)

    def _released(self) -> Thinking | None:
        thinking, self._thinking = self._thinking, None
        self._budget.used -= thinking is not None
        return thinking

    def _begin(self, prompt: Prompt, manner: Manner, llm: LanguageModel, **options: Any) -> Thinking:
        thinking = Thinking(prompt, manner, **options)
        self._start(thinking.run, llm)
        return thinking

    def _rehearse(self, text: str, manner: Manner) -> Rehearsal:
        rehearsal = Rehearsal(self._tts, text, manner)
        self._start(rehearsal.run)
        return rehearsal

    async def _prime(self, llm: Primed, prompt: Prompt, scope: CancelScope) -> None:
        with scope:
            try:
                await llm.prime(prompt)
            except BackendError as failed:
                log.warning("the model cannot read ahead: %s", failed)
