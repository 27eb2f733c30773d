"""Spoken questions over indexed documentation: `uv run python benchmarks/answers.py [--profile fast|quality]`.

The documentation is the Debian FAQ (`apt-get install debian-faq`; it may be copied freely), cut into a file a chapter
and indexed in a library of its own. Each question of questions.tsv is spoken by the embedded voice to an agent with the
embedded models, in a conversation of its own. An answer is right where it has the words that it must have, and sourced
where it names the chapter. Questions that the FAQ does not answer must be refused.
"""

from __future__ import annotations

import argparse
import gzip
import re
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from rich.console import Console

from vivavoce.testing import AsyncTalk

FAQ = Path("/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz")
QUESTIONS = Path(__file__).with_name("questions.tsv")
TALK = (
    "Hello, how are you today?",
    "Tell me a joke.",
    "Thank you, that is very kind of you.",
    "What is the capital of France?",
    "I am a bit tired today.",
)
"""Nothing of this is to be looked up."""
REFUSED = "I can't find that"
A_TALK = 10
"""Questions in one conversation."""


class Question(NamedTuple):
    """A line of questions.tsv."""

    text: str
    facts: str
    chapter: str


def chapters(faq: Path) -> dict[str, str]:
    """Return the chapters of the FAQ by the names of their files."""
    text = gzip.decompress(faq.read_bytes()).decode().replace("\xa0", " ")
    parts = re.split(r"\nChapter \d+\. ", text)[1:]
    told = {title: body for title, _, body in (part.partition("\n") for part in parts)}
    return {f"{re.sub(r'[^a-z]+', '-', title.lower()).strip('-')}.txt": body for title, body in told.items()}


def questions() -> list[Question]:
    """Read the questions."""
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return [Question(*line.split("\t")) for line in lines if line and not line.startswith("#")]


def right(question: Question, answer: str) -> bool:
    """Tell whether an answer has the words that it must have."""
    said = answer.lower()
    return all(any(word in said for word in fact.split("|")) for fact in question.facts.split(";"))


async def main(profile: str, faq: Path, *, typed: bool) -> None:
    """Ask, and print what came of it."""
    console = Console(highlight=False, width=200)
    asked, latencies = questions(), list[float]()
    answered = sourced = refused = small = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "faq"
        folder.mkdir()
        for name, text in chapters(faq).items():
            (folder / name).write_text(text, encoding="utf-8")
        for start in range(0, len(asked), A_TALK):
            async with _talk(place, profile) as talk:
                for question in asked[start : start + A_TALK]:
                    turn = await (talk.type if typed else talk.say)(question.text)
                    named = question.chapter in turn.meant.lower()
                    good = right(question, turn.meant) if question.facts else REFUSED in turn.meant
                    answered += bool(question.facts) and good
                    sourced += bool(question.facts) and good and named
                    refused += not question.facts and good
                    latencies.append(turn.latency or 0.0)
                    console.print("right" if good else "WRONG", repr(turn.heard), "→", turn.meant, markup=False)
        async with _talk(place, profile) as talk:
            for text in TALK:
                turn = await talk.say(text)
                small += "ccording to" not in turn.meant and REFUSED not in turn.meant
                console.print("talk ", repr(turn.heard), "→", turn.meant, markup=False)
    known = sum(bool(question.facts) for question in asked)
    console.print(f"{profile}: {answered} of {known} answered rightly, {sourced} of them naming the source")
    console.print(
        f"{refused} of {len(asked) - known} that they do not answer refused, {small} of {len(TALK)} just talk"
    )
    console.print(f"first sound after {statistics.median(latencies):.2f} s of sound time (median)")


def _talk(place: str, profile: str) -> AsyncTalk:
    return AsyncTalk(models="embedded", profile=profile, files=f"{place}/faq", library=f"{place}/library")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["fast", "quality"], default="fast")
    parser.add_argument("--faq", type=Path, default=FAQ)
    parser.add_argument("--typed", action="store_true", help="type the questions: what the recogniser costs")
    options = parser.parse_args()
    anyio.run(partial(main, options.profile, options.faq, typed=options.typed))
