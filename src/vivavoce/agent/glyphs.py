"""The signs that the views draw with, and their plain substitutes for a terminal that lacks them."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Glyphs:
    """One sign for each thing; strings of several are steps from little to much."""

    steps: str = "▁▂▃▄▅▆▇█"
    """Of the level meter."""
    parts: str = "▏▎▍▌▋▊▉█"
    """Of one cell of a bar."""
    spinner: str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    rule: str = "─"
    good: str = "✓"
    bad: str = "✗"
    arrow: str = "→"
    dot: str = "·"
    more: str = "…"
    record: str = "●"
    enter: str = "↵"

    def bar(self, share: float, cells: int) -> str:
        """Return a bar of at most that many cells; whatever took place is seen.

        Args:
            share: of the whole, 0..1.
            cells: that the whole would take.
        """
        steps = max(round(min(share, 1.0) * cells * len(self.parts)), 1)
        full, rest = divmod(steps, len(self.parts))
        return self.parts[-1] * full + (self.parts[rest - 1] if rest else "")


ROUND = Glyphs()
ASCII = Glyphs(
    steps="_.-:=+*#",
    parts="#",
    spinner="|/-\\",
    rule="-",
    good="+",
    bad="x",
    arrow="->",
    dot="|",
    more="~",
    record="*",
    enter="\\",
)
CUT = "//"
"""Stands where an answer was interrupted, as linguists write it; every terminal has it."""


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the signs that the encoding of a stream can write."""
    try:
        "".join(astuple(ROUND)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return ROUND
