# ruff: noqa: INP001
"""Draws the picture of a conversation for the README: `uv run python scripts/screenshot.py [FILE.svg]`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console as Terminal
from rich.terminal_theme import TerminalTheme

from vivavoce.agent.live import Console
from vivavoce.agent.tools import ToolResult
from vivavoce.realtime.client import Cite, Report, Run, Show
from vivavoce.realtime.events import ResponseTimings
from vivavoce.realtime.values import Source

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "talk.svg"
WIDTH, HEIGHT = 92, 40
FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
FONT_SIZE = 20.26
"""At which the letters of these fonts are as wide as the cells that they are placed in."""
THEME = TerminalTheme(
    (22, 24, 29),
    (214, 218, 226),
    [
        (22, 24, 29),
        (240, 113, 120),
        (152, 195, 121),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (214, 218, 226),
    ],
)
CELL = 12.2
"""Width of a letter in Rich's pictures, pixels."""
_INDENTED = re.compile(r' x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"( clip-path="[^"]*")?>((?:&#160;)+)')
WEATHER = Run("1", "get_weather", '{"city": "Lisbon"}')
LEVELS = (-62, -60, -58, -61, -55, -44, -33, -24, -29, -22, -18, -27, -36, -31, -45, -52)
"""Of the microphone, dB below full scale."""
RAIN = "It is eighteen degrees in Lisbon and partly cloudy, with a light wind from the sea. Tomorrow it may rain."
TRAM = "From the airport take the red line to Alameda, then the green line to Cais do Sodré. It takes forty minutes."


def converse(console: Console) -> None:
    """Play a conversation up to the middle of an answer."""
    console.state("listening")
    console.words(said("user", "What is the weather in Lisbon?"))
    console.calling(WEATHER)
    console.called(WEATHER, ToolResult('{"temperature": "18 °C", "sky": "partly cloudy"}', ok=True, seconds=0.31))
    console.report(Report(timings(402, 310, 118, 96)))
    console.words(said("assistant", RAIN, item="a1", heard=RAIN.index(" with"), cut=True))
    console.words(said("user", "Thanks. How do I get to the river from the airport?"))
    console.report(Report(timings(396, 264, 107, 91)))
    console.words(said("assistant", TRAM, item="a2", heard=TRAM.index(" green")))
    console.citing(Cite("a2", (Source(title="Lisbon metro, lines and times", url="https://metro.example/lines"),)))
    console.state("speaking")
    for db in LEVELS:
        console.level(db)
        console.tick()


def said(role: str, text: str, *, item: str = "u", heard: int | None = None, cut: bool = False) -> Show:
    """Return words that are complete."""
    return Show(
        role="user" if role == "user" else "assistant", item_id=item, text=text, final=True, cut=cut, heard=heard
    )


def timings(*milliseconds: float) -> ResponseTimings:
    """Return where the time of a turn went: waiting, first word, first sentence, voice."""
    waiting, word, sentence, voice = milliseconds
    return ResponseTimings(
        response_id="r",
        waiting_ms=waiting,
        transcription_ms=4,
        first_token_ms=word,
        first_sentence_ms=sentence,
        synthesis_ms=voice,
        total_ms=sum(milliseconds) + 4,
    )


def draw() -> str:
    """Return the picture as SVG."""
    terminal = Terminal(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        height=HEIGHT,
        force_terminal=True,
        color_system="standard",
        highlight=False,
        _environ={},
    )
    console = Console("USB microphone", "Headphones", title="local, llama and hibari", terminal=terminal)
    converse(console)
    terminal.print(*console._block(), sep="\n")  # noqa: SLF001 - the block alone, without the movements that redraw it
    svg = terminal.export_svg(title="vivavoce talk", theme=THEME, unique_id="talk")
    svg = svg.replace("Fira Code, monospace", FONTS).replace("font-size: 20px", f"font-size: {FONT_SIZE}px")
    svg = _INDENTED.sub(_outdented, svg)
    return re.sub(r"\s*@font-face \{.*?\}\n", "\n", svg, flags=re.DOTALL)  # no font from the network


def _outdented(found: re.Match[str]) -> str:
    """Return the beginning of a text that starts at its first letter: not every viewer keeps the blanks before it."""
    x, y, length, clip, blanks = found.groups()
    width = len(blanks) // len("&#160;") * CELL
    rest = max(float(length) - width, CELL)
    return f' x="{float(x) + width:.1f}" y="{y}" textLength="{rest:.1f}"{clip or ""}>'


def main() -> None:
    """Write the picture."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
