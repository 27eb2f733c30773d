"""What happens to a session besides client events, and what it asks to be done besides server events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.realtime.events import ResponseTimings
    from vivavoce.realtime.values import AudioFormat, McpError, McpTool, RemoteTool, Source


class Fact(msgspec.Struct, frozen=True, tag=True):
    """Something that an engine found out."""


class Started(Fact, frozen=True):
    """The user began to speak."""

    ms: int
    """Since the session's first sample."""


class Paused(Fact, frozen=True):
    """The user stopped for a moment; perhaps the turn is over."""

    ms: int


class Stopped(Fact, frozen=True):
    """The user's turn is over."""

    ms: int


class Overheard(Fact, frozen=True):
    """What the speech over an answer is, as far as is known by now."""

    item_id: str
    verdict: Literal["addressed", "backchannel", "aside"]
    """Meant for us, the sign of a listener, or none of our business: a noise, a cough, talk with somebody else."""


class Heard(Fact, frozen=True):
    """What the user seems to have said so far, or in the end."""

    item_id: str
    text: str
    final: bool = True


class Unheard(Fact, frozen=True):
    """What the user said could not be transcribed."""

    item_id: str
    code: str
    message: str


class Said(Fact, frozen=True):
    """The model goes on with these words."""

    response_id: str
    text: str


class Spoke(Fact, frozen=True):
    """The next sound of the answer, in the response's format."""

    response_id: str
    audio: bytes


class Called(Fact, frozen=True):
    """The model calls a function."""

    response_id: str
    name: str
    arguments: str
    call_id: str | None = None


class Searched(Fact, frozen=True):
    """The server searches something for the answer, or has done so."""

    response_id: str
    tool: str
    query: str
    sources: tuple[Source, ...] | None = None
    """What was found, None while it is looked for."""


class Listed(Fact, frozen=True):
    """A remote server told its tools, or did not."""

    item_id: str
    tools: tuple[RemoteTool, ...] | None
    """None where it did not."""


class Returned(Fact, frozen=True):
    """A remote tool returned, or failed."""

    item_id: str
    output: str = ""
    error: McpError | None = None


class Finished(Fact, frozen=True, kw_only=True):
    """The model has ended its answer, or failed."""

    response_id: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    truncated: bool = False
    """It ended at the token limit."""
    error: tuple[str, str] | None = None
    """Code and sentence, where it failed."""


class Timed(Fact, frozen=True):
    """Where the time of a response went."""

    timings: ResponseTimings


class Tick(Fact, frozen=True):
    """Time has passed."""


AnyFact: TypeAlias = (
    Started
    | Paused
    | Stopped
    | Overheard
    | Heard
    | Unheard
    | Said
    | Spoke
    | Called
    | Searched
    | Listed
    | Returned
    | Finished
    | Timed
    | Tick
)


class Command(msgspec.Struct, frozen=True, tag=True):
    """Something that the engine is asked to do."""


class Listen(Command, frozen=True):
    """Begin to transcribe an utterance that is still being spoken."""

    item_id: str
    start_ms: int
    """Of the utterance, since the session's first sample."""


class Transcribe(Command, frozen=True):
    """The utterance is whole: say what was said."""

    item_id: str
    audio: bytes
    format: AudioFormat


class Forget(Command, frozen=True):
    """The utterance will not be an item after all."""

    item_id: str


class Generate(Command, frozen=True, kw_only=True):
    """Answer a prompt."""

    response_id: str
    prompt: Prompt
    spoken: bool
    """Whether the answer is wanted as speech, else as text."""
    voice: str
    speed: float
    format: AudioFormat
    item_id: str | None = None
    """The spoken turn that it answers, if any."""
    say: str = ""
    """Words to speak as they are; empty to ask the model."""


class ListTools(Command, frozen=True):
    """Ask a remote server for its tools."""

    item_id: str
    server: McpTool


class CallTool(Command, frozen=True):
    """Run a tool of a remote server."""

    item_id: str
    server: McpTool
    name: str
    arguments: dict[str, Any]


class Cancel(Command, frozen=True):
    """Stop working on a response; what comes late is ignored."""

    response_id: str


class Close(Command, frozen=True):
    """End the session."""

    code: int
    """WebSocket close code (RFC 6455 section 7.4)."""
    reason: str


AnyCommand: TypeAlias = Listen | Transcribe | Forget | Generate | ListTools | CallTool | Cancel | Close
CancelReason: TypeAlias = Literal["turn_detected", "client_cancelled"]
