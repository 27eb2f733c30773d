"""What of the protocol is done, as a page: `python -m vivavoce.realtime.support > docs/protocol.md`.

The rows come from the types, the errors from a session that is provoked; only what is not simply done is said here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect

from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, Error, decode_client, tags
from vivavoce.realtime.server import Ids, ServerSession
from vivavoce.realtime.values import Item, Part, Response, ResponseParams, Session, TranscriptionSession

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE: Final = "done"
ECHOED: Final = "stored and echoed; nothing follows from it"
FIXED: Final = "set by the server; in an update it is ignored"
SERVER_SOUND: Final = "only where the server plays (WebRTC, SIP), which it does not: never sent"
NEVER: Final = "never sent"

CLIENT_EVENTS: Final = {
    "output_audio_buffer.clear": "refused: `invalid_value`, param `type`; nothing is played at the server",
}
SERVER_EVENTS: Final = {
    "conversation.created": "never sent, as at OpenAI, where it is only documented",
    "conversation.item.created": "dialects of the beta (in place of `added`) and of Yandex (beside it)",
    "conversation.item.input_audio_transcription.segment": "never sent: nobody tells speakers apart",
    "input_audio_buffer.dtmf_event_received": "never sent: there is no telephone line",
    "output_audio_buffer.started": SERVER_SOUND,
    "output_audio_buffer.stopped": SERVER_SOUND,
    "output_audio_buffer.cleared": SERVER_SOUND,
    "rate_limits.updated": "done; empty where no limits are configured",
    "vivavoce.input_transcript.partial": "extension: only where `session.vivavoce.partials` asks for it",
    "vivavoce.input_audio_buffer.overlap_started": "extension: only where `session.vivavoce.considerate` asks for it; "
    "the answer goes on and is to be paused until `overlap_ended` or `input_audio_buffer.speech_started`",
    "vivavoce.input_audio_buffer.overlap_ended": "extension: likewise; the answer was not interrupted, no item follows",
    "vivavoce.response.timings": "extension: only where `session.vivavoce.timings` asks for it",
    "vivavoce.search.started": "extension: only where `session.vivavoce.sources` asks for it",
    "vivavoce.search.done": "extension: likewise; `sources` is empty where nothing answers",
}
SETTINGS: Final = {
    "object": FIXED,
    "id": FIXED,
    "model": FIXED,
    "expires_at": FIXED,
    "audio.input.transcription.model": "any name; the configured engine transcribes",
    "audio.input.transcription.languages": ECHOED,
    "audio.input.transcription.keywords": ECHOED,
    "audio.input.transcription.delay": ECHOED,
    "audio.input.noise_reduction": ECHOED,
    "audio.input.languages": ECHOED,
    "audio.output.voice": "done; an unknown voice is spoken by the default one",
    "audio.output.role": ECHOED,
    "tools": "done: functions, and servers of remote tools (`mcp`)",
    "reasoning": ECHOED,
    "prompt": ECHOED,
    "tracing": ECHOED,
    "include": ECHOED,
    "truncation": "done: `auto`, `disabled` (`context_length_exceeded`), `retention_ratio`; tokens are estimated",
    "vivavoce": "extension: `partials`, `timings`, `any_rate`, `adaptive`, `considerate`, `hosted`, `search` "
    "(the server searches `files`, the `web`), `sources` (names them: events, `annotations` of the answer); "
    "told in return: `voices`, `context_tokens`",
}
ITEMS: Final = {
    "item_reference": "done in the `input` of a response; as an item refused: `invalid_value`, param `item.type`",
    "input_image": "stored and echoed; the model does not see it",
}
IGNORED: Final = "accepted; nothing follows from it"
RESPONSES: Final = {
    "prompt": IGNORED,
    "reasoning": IGNORED,
    "vivavoce": "extension: `say`, words that are spoken as they are, without asking the model",
} | {"tools": SETTINGS["tools"]}

_ITEM: Final = {"type": "message", "role": "user", "content": []}
_CREATE: Final = "conversation.item.create"
_TAKEN: Final = {"type": _CREATE, "item": _ITEM | {"id": "item_1"}}
PROBES: Final[tuple[tuple[str, tuple[Any, ...]], ...]] = (
    ("not JSON", ("{",)),
    ("unknown type of event", ({"type": "bogus"},)),
    ("event without a type", ({},)),
    ("missing field", ({"type": "conversation.item.retrieve"},)),
    ("unknown field", ({"type": "response.create", "bogus": 1},)),
    ("field of the wrong type", ({"type": "conversation.item.retrieve", "item_id": 5},)),
    ("`event_id` of more than 512 characters", ({"type": "response.cancel", "event_id": "x" * 513},)),
    ("`session.type` missing", ({"type": "session.update", "session": {}},)),
    ("`session.type` of the other kind", ({"type": "session.update", "session": {"type": "transcription"}},)),
    ("unknown setting", ({"type": "session.update", "session": {"type": "realtime", "bogus_field": 1}},)),
    (
        "both modalities",
        ({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},),
    ),
    (
        "PCM of another rate",
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            },
        ),
    ),
    ("odd number of bytes of 16-bit sound", ({"type": "input_audio_buffer.append", "audio": "AA=="},)),
    ("commit of less than 100 ms", ({"type": "input_audio_buffer.commit"},)),
    ("id of an item taken", (_TAKEN, _TAKEN)),
    ("`previous_item_id` unknown", (_TAKEN | {"previous_item_id": "nowhere"},)),
    ("retrieval of an unknown item", ({"type": "conversation.item.retrieve", "item_id": "nowhere"},)),
    ("deletion of an unknown item", ({"type": "conversation.item.delete", "item_id": "nowhere"},)),
    (
        "truncation of an unknown item",
        ({"type": "conversation.item.truncate", "item_id": "nowhere", "content_index": 0, "audio_end_ms": 0},),
    ),
    (
        "truncation of what was not spoken",
        (_TAKEN, {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 0}),
    ),
    ("second response", ({"type": "response.create"}, {"type": "response.create"})),
    ("nothing to cancel", ({"type": "response.cancel"},)),
    (
        "more than 16 pairs of metadata",
        ({"type": "response.create", "response": {"metadata": {str(number): "" for number in range(17)}}},),
    ),
    ("`max_output_tokens` above 4096", ({"type": "response.create", "response": {"max_output_tokens": 4097}},)),
    (
        "reference to an unknown item",
        ({"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "x"}]}},),
    ),
)
LATER: Final = (
    ("voice changed after the first sound", "`cannot_update_voice`", "`session.audio.output.voice`", "open"),
    ("message not text", "`invalid_event`", "", "open"),
    ("more than ten minutes of sound uncommitted", "`input_audio_buffer_full`", "", "open"),
    ("session older than its lifetime", "`session_expired`", "", "close 1001"),
    ("key missing or wrong", "none or `invalid_api_key`", "", "close 3000"),
)
"""Errors that take time, sound or a socket; tests provoke them."""


DIALECTS: Final = (
    ("GA", "every connection that shows nothing else; the beta's input fields are accepted too"),
    ("Yandex AI Studio", "model `gpt://…`, authorization `Api-Key …`, or settings with both modalities and no `type`:"),
    ("", "any PCM rate, a transcript without asking, `output_text` beside the sound's transcript, few and long deltas"),
    ("", "the functions `web_search` and `file_search` (description: id of the index) are run by the server, unseen"),
    ("beta", "header `OpenAI-Beta: realtime=v1` or sub-protocol `openai-beta.realtime-v1`: its names and shapes"),
)


def page() -> str:
    """Return the page."""
    return "\n".join((*_head(), *_events(), *_settings(), *_things(), *_errors())) + "\n"


def _head() -> Iterator[str]:
    yield "# The protocol: what is done"
    yield ""
    yield "Generated by `python -m vivavoce.realtime.support`; a test compares. A field or an event that is not listed"
    yield "is refused by name (`unknown_parameter`, `invalid_value`), and the session lives."
    yield from ("", "## Dialects", "", "| dialect | who speaks it, and what is different |", "|---|---|")
    for row in DIALECTS:
        yield f"| {' | '.join(row)} |"


def _events() -> Iterator[str]:
    yield from _table("Client events", tags(AnyClientEvent), CLIENT_EVENTS)
    yield from _table("Server events", tags(AnyServerEvent), SERVER_EVENTS)


def _settings() -> Iterator[str]:
    yield from _table("Settings of a realtime session", _fields(Session), SETTINGS)
    yield from _table(
        "Settings of a transcription session (`?intent=transcription`)", _fields(TranscriptionSession), SETTINGS
    )


def _things() -> Iterator[str]:
    yield from _table("Items", tags(Item), ITEMS)
    yield from _table("Parts of a message", tags(Part), ITEMS)
    yield from _table("`response.create`", _fields(ResponseParams), RESPONSES)
    yield from _table("Response", _fields(Response), {})


def _errors() -> Iterator[str]:
    yield from ("", "## Errors", "", "| situation | code | param | socket |", "|---|---|---|---|")
    for situation, told in PROBES:
        code, param = provoke(told)
        yield f"| {situation} | {_code(code)} | {_code(param)} | open |"
    for row in LATER:
        yield f"| {' | '.join(row)} |"


def _table(title: str, names: tuple[str, ...], notes: dict[str, str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| name | support |", "|---|---|")
    for name in names:
        yield f"| `{name}` | {_note(name, notes)} |"


def _note(name: str, notes: dict[str, str]) -> str:
    return next((notes[key] for key in _prefixes(name) if key in notes), DONE)


def _prefixes(name: str) -> Iterator[str]:
    steps = name.split(".")
    return (".".join(steps[:end]) for end in range(len(steps), 0, -1))


def _fields(kind: Any, path: str = "") -> tuple[str, ...]:
    """List the fields of a struct, those of nested structs with their way."""
    found: list[str] = []
    for field in msgspec.structs.fields(kind):
        name = f"{path}{field.encode_name}"
        found.append(name)
        if name not in SETTINGS:
            for struct in _structs(inspect.type_info(field.type)):
                found += _fields(struct, f"{name}.")
    return tuple(dict.fromkeys(found))


def _structs(info: inspect.Type) -> list[Any]:
    match info:
        case inspect.StructType(cls=kind):
            return [kind]
        case inspect.UnionType(types=types):
            return [struct for one in types for struct in _structs(one)]
        case _:
            return []


def provoke(told: tuple[Any, ...]) -> tuple[str | None, str | None]:
    """Return the code and the parameter of the error that a new session answers the last of these events with."""
    session = ServerSession(Session(), mint=Ids(""))
    wrong: ProtocolError | None = None
    for message in told:
        text = message if isinstance(message, str) else msgspec.json.encode(message)
        try:
            outputs = session.step(decode_client(text))
        except ProtocolError as refused:
            return refused.code, refused.param
        wrong = next((_as_error(output) for output in outputs if isinstance(output, Error)), None)
    return (wrong.code, wrong.param) if wrong else (None, None)


def _as_error(event: Error) -> ProtocolError:
    return ProtocolError(event.error.code, event.error.message, param=event.error.param)


def _code(text: str | None) -> str:
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    sys.stdout.write(page())
