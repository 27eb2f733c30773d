"""Golden conversations: every line says who did what, and the session must do it again, to the letter.

A line is `{"client": event}`, `{"server": event}`, `{"fact": …}` (the engine found out) or `{"command": …}` (the
engine is asked). Silence is spelled `<100 ms>`; `now` is the time in seconds, where it matters; a first line names
the dialect that the client speaks. After a wanted change
of behaviour, `python -m tests.realtime.replay` writes the answers anew; the difference is the review.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
from tests.realtime.harness import BYTES_PER_MS, Server, sound

from vivavoce.realtime import facts
from vivavoce.realtime.beta import Beta
from vivavoce.realtime.dialect import Dialect
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import AnyServerEvent, ServerEvent, decode_client
from vivavoce.realtime.values import AnySession, McpError, RemoteTool, Source
from vivavoce.realtime.yandex import Yandex

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))
DIALECTS: dict[str, type[Dialect]] = {"ga": Dialect, "yandex": Yandex, "beta": Beta}
FACTS = {kind.__name__: kind for kind in get_args(facts.AnyFact)}


def replay(path: Path) -> list[dict[str, Any]]:
    """Give a session what the client and the engine did, and return the whole conversation."""
    greeting, *rest = map(json.loads, path.read_text().splitlines())
    dialect = DIALECTS[greeting.get("dialect", "ga")]()
    told_at_first = greeting.get("session") or greeting["server"]["session"]
    server = Server(msgspec.convert(told_at_first, AnySession), strict="dialect" not in greeting)

    def lines_of(outputs: list[Any]) -> list[dict[str, Any]]:
        return [line for output in outputs for line in _lines(output, dialect)]

    lines = lines_of(server.greeting)
    if "dialect" in greeting:
        lines.insert(0, greeting)
    for told in rest:
        now = told.get("now", 0.0)
        if event := told.get("client"):
            text = json.dumps(_spelled_out(event))
            try:
                asked = decode_client(text, dialect.read)
            except ProtocolError as wrong:
                lines += [told, *lines_of(server.refuse(wrong))]
            else:
                lines += [told, *lines_of(server(asked, now=now))]
        elif fact := told.get("fact"):
            lines += [told, *lines_of(server(_fact(fact), now=now))]
    return lines


def _lines(output: Any, dialect: Dialect) -> list[dict[str, Any]]:
    if isinstance(output, ServerEvent):
        return [{"server": _abbreviated(json.loads(text))} for text in dialect.write(cast("AnyServerEvent", output))]
    return [{"command": _abbreviated(json.loads(msgspec.json.encode(output)))}]


def _fact(told: dict[str, Any]) -> Any:
    fields = _spelled_out({name: value for name, value in told.items() if name != "type"})
    if "audio" in fields:
        fields["audio"] = base64.b64decode(fields["audio"])
    for name, kind in (("tools", tuple[RemoteTool, ...]), ("error", McpError), ("sources", tuple[Source, ...])):
        if told["type"] in {"Listed", "Returned", "Searched"} and fields.get(name):
            fields[name] = msgspec.convert(fields[name], kind)
    return FACTS[told["type"]](**fields)


def _abbreviated(value: Any) -> Any:
    match value:
        case dict():
            return {name: _abbreviated(inner) for name, inner in value.items()}
        case list():
            return [_abbreviated(inner) for inner in value]
        case str() if re.fullmatch("A{16,}=*", value):
            return f"<{len(base64.b64decode(value)) / BYTES_PER_MS:g} ms>"
        case _:
            return value


def _spelled_out(value: Any) -> Any:
    match value:
        case dict():
            return {name: _spelled_out(inner) for name, inner in value.items()}
        case list():
            return [_spelled_out(inner) for inner in value]
        case str() if silence := re.fullmatch(r"<(\d+) ms>", value):
            return base64.b64encode(sound(float(silence[1]))).decode()
        case _:
            return value


def record(path: Path) -> None:
    """Write a conversation with the answers of today."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in replay(path)))


if __name__ == "__main__":
    for golden in GOLDEN:
        record(golden)
