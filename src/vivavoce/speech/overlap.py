"""Whether somebody who is heard over an answer means to interrupt it: what is known goes in, a verdict comes out."""
# ruff: noqa: RUF001 - words of other scripts are meant

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["addressed", "backchannel", "aside"]
"""Meant for us, the sign of a listener, or none of our business: a noise, a cough, talk with somebody else."""

SUSTAINED_MS, UNDERSTOOD_MS = 512, 416
"""Who has spoken so long without a pause says more than that they listen, if so much of it is understood."""
TAIL_MS = 128
"""Words that lack no more than this at the end are all that was said."""
WORDLESS_MS = 640
"""A sound without words that lasts so long is none of a voice."""
LONGEST_BACKCHANNEL_MS = 1200
"""Whoever goes on longer is to be heard, whatever the words."""
UNHEARD_MS = 900
"""Speech so long interrupts where the recogniser has told nothing yet."""
BLIP_MS = 240
"""Too short for a word that is neither an order nor the sign of a listener; a recogniser makes one of it all the same.
"""
FAINT_DB = 12.0
"""Who is weaker by this than the person's own turns is somewhere else."""
FAINT_MS = 192
"""Speech by which its level is known."""
SURE_MS = 288
"""Before this a recogniser guesses."""

ALIKE: Final = -4.0
"""Log likelihood ratio from which a sign of a listener may have been said where something else was understood."""
SIGNS: Final = (
    "Mm-hmm.",
    "Mm.",
    "Hmm.",
    "Uh-huh.",
    "Ah.",
    "Oh.",
    "Okay.",
    "Yeah.",
    "Yes.",
    "Right.",
    "Right?",
    "I see.",
    "Sure.",
    "Wow.",
    "Oh, really?",
    "Really?",
    "Good.",
    "Got it.",
)
"""The commonest signs of a listener, as recognisers write them."""

_SIGNS: Final = (
    r"m+|m+h+u?m+|h+m+|aha|a+h*|o+h*|u+h+|u+m+|e+h|huh|ok|okay|okey|o k|"
    r"ye+a*h|yep|yup|yes|ye|right|alright|all right|sure|wow|whoa|really|i see|i know|got it|gotcha|of course|exactly|"
    r"indeed|absolutely|definitely|totally|true|nice|great|cool|good|fine|interesting|makes sense|fair enough|go on|"
    r"very|that s|so|"
    r"угу|ага|м+|хм+|гм+|да|так|ну|а+|о+|э+|понятно|ясно|ого|ух ты|хорошо|точно|конечно|верно|правда|понял|поняла|"
    r"ладно|надо же|вот как|вот это да|интересно|здорово|отлично|ничего себе"
)
_ORDERS: Final = (
    r"stop|wait|no|nope|hey|hold on|hang on|enough|quiet|be quiet|shut up|listen|excuse me|sorry|actually|never mind|"
    r"one (?:moment|second)|just a (?:moment|second|minute)|cancel|pause|"
    r"стоп|стой|стойте|подожди|подождите|погоди|погодите|постой|постойте|нет|эй|хватит|тихо|замолчи|слушай|послушай|"
    r"минутку|секунду|секундочку|минуточку|отмена|остановись"
)
_QUESTION: Final = re.compile(r"(?:why|what|who|whose|where|when|how|which|зачем|почему|что|кто|где|когда|как)\b")
_BACKCHANNEL: Final = re.compile(rf"(?:(?:{_SIGNS})(?:$| ))+")
_ORDER: Final = re.compile(rf"(?:(?:{_SIGNS}) )*(?:{_ORDERS})(?:$| )")


@dataclass(frozen=True)
class Evidence:
    """What is known by now of the speech over an answer."""

    spoken_ms: float
    """How long it is, without the silence after it."""
    silent_ms: float = 0.0
    """How long nobody has spoken by now."""
    words: str | None = None
    """What the recogniser understood last; None before it has told anything."""
    covered_ms: float = 0.0
    """How much had been said when the recogniser was asked for them."""
    settled: bool = False
    """Whether somebody has paused and these are all the words up to the pause."""
    ended: bool = False
    """Whether the silence was so long that nothing more belongs to it."""
    faint_db: float = 0.0
    """By how much it is weaker than the person's turns usually are; 0 where that is not known."""
    alike: float | None = -math.inf
    """How much likelier one of `SIGNS` is than the words, as a log likelihood ratio; None while that is found out."""


def judge(evidence: Evidence) -> Verdict | None:
    """Return what the speech is, as far as can be told; None where that is not known yet.

    A verdict may be followed by another one as long as the speech has not ended: what began as "right" may go on. Once
    it has ended there is a verdict, and in doubt it is that we are addressed.
    """
    if evidence.faint_db >= FAINT_DB and (evidence.spoken_ms >= FAINT_MS or evidence.ended):
        return "aside"
    whole = evidence.settled or evidence.covered_ms >= evidence.spoken_ms - TAIL_MS
    if evidence.words is None or (evidence.ended and not whole):
        return "addressed" if evidence.ended or evidence.spoken_ms >= UNHEARD_MS else None
    return _by_words(evidence, plain(evidence.words))


def _by_words(evidence: Evidence, words: str) -> Verdict | None:
    whole = evidence.settled or evidence.ended
    if not words:
        return "aside" if whole or evidence.spoken_ms >= WORDLESS_MS else None
    if is_order(words):
        return "addressed" if whole or evidence.spoken_ms >= SURE_MS else None
    backchannel = is_backchannel(words)
    if whole and not backchannel:
        return "aside" if evidence.spoken_ms < BLIP_MS else _by_sound(evidence, words)
    if whole:
        return "backchannel"
    patience_ms = LONGEST_BACKCHANNEL_MS if backchannel else SUSTAINED_MS
    sustained = evidence.spoken_ms >= patience_ms and evidence.covered_ms >= UNDERSTOOD_MS
    return "addressed" if sustained and not evidence.silent_ms else None


def _by_sound(evidence: Evidence, words: str) -> Verdict | None:
    """Judge what may have been the sign of a listener, of which a recogniser likes to make a word."""
    if not may_be_sign(evidence.spoken_ms, words):
        return "addressed"
    if evidence.alike is None:
        return "addressed" if evidence.ended else None
    return "backchannel" if evidence.alike >= ALIKE else "addressed"


def may_be_sign(spoken_ms: float, words: str) -> bool:
    """Tell whether it is worth asking how much plain words that are none sound like the sign of a listener."""
    plainly = not words or is_order(words) or is_backchannel(words) or _QUESTION.match(words) is not None
    return not plainly and BLIP_MS <= spoken_ms <= LONGEST_BACKCHANNEL_MS


def is_backchannel(words: str) -> bool:
    """Tell whether plain words are no more than signs that somebody listens."""
    return _BACKCHANNEL.fullmatch(words) is not None


def is_order(words: str) -> bool:
    """Tell whether plain words begin with what makes anybody stop talking."""
    return _ORDER.match(words) is not None


def plain(words: str) -> str:
    """Return words in lower case without punctuation, one space between them."""
    return " ".join(re.sub(r"[\W_]+", " ", words.lower()).split())
