"""The nouns of the protocol: session, audio formats, turn detection, tools, items, parts, response, usage.

A field is three-valued: `UNSET` is absent on the wire, `None` is null, else the value. Structs are frozen; a change
is a new struct. A `bytes` field is base64 on the wire and sound in the session's format in memory.

Source: OpenAI Realtime API reference (GA), https://platform.openai.com/docs/api-reference/realtime
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vivavoce.realtime.errors import ProtocolError, explain

UTTERANCES = "x-utterances"
"""Keyword of a tool's JSON schema: sentences of a user that should lead to a call."""

StructT = TypeVar("StructT", bound=msgspec.Struct)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A noun of the protocol."""


# Audio ---------------------------------------------------------------------------------------------------------------


class Pcm(Value, frozen=True, kw_only=True, tag_field="type", tag="audio/pcm"):
    """Signed 16-bit little-endian mono PCM."""

    rate: Annotated[int, Meta(ge=8000, le=48000)] = 24000
    """Hz."""
    channels: Literal[1] | UnsetType = UNSET

    @property
    def bytes_per_second(self) -> int:
        """Return the size of one second of sound."""
        return 2 * self.rate


class G711(Value, frozen=True, kw_only=True, tag_field="type"):
    """Telephone sound: 8,000 samples a second of 8 bits, logarithmic (ITU-T G.711)."""

    rate = 8000
    bytes_per_second = 8000


class Pcmu(G711, frozen=True, kw_only=True, tag="audio/pcmu"):
    """G.711, µ-law."""


class Pcma(G711, frozen=True, kw_only=True, tag="audio/pcma"):
    """G.711, A-law."""


AudioFormat: TypeAlias = Pcm | Pcmu | Pcma


class Transcription(Value, frozen=True, kw_only=True):
    """How the user's speech is transcribed for the client."""

    model: str | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET
    languages: tuple[str, ...] | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    delay: str | UnsetType = UNSET


class NoiseReduction(Value, frozen=True, kw_only=True):
    """Where the microphone is; stored and echoed."""

    type: Literal["near_field", "far_field"]
    strength: float | UnsetType = UNSET


class SilenceVad(Value, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    """A turn ends after a fixed silence; nothing follows from it but a transcript."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """Probability of speech above which a frame counts as speech."""
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=5000)] = 300
    """Sound before the detected start that belongs to the turn, milliseconds."""
    silence_duration_ms: Annotated[int, Meta(ge=0, le=10000)] = 400
    """Silence that ends the turn, milliseconds."""


class ServerVad(SilenceVad, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    """A turn ends after a fixed silence and is answered."""

    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | None = None
    """Silence after an answer that calls for another one, milliseconds."""
    create_response: bool = True
    interrupt_response: bool = True


class MeaningVad(Value, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when it sounds finished; nothing follows from it but a transcript."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"

    @property
    def max_wait_ms(self) -> int:
        """Return the silence that ends a turn however unfinished it sounds, milliseconds."""
        return {"low": 8000, "medium": 4000, "high": 2000, "auto": 4000}[self.eagerness]


class SemanticVad(MeaningVad, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when it sounds finished and is answered."""

    create_response: bool = True
    interrupt_response: bool = True


TurnDetection: TypeAlias = ServerVad | SemanticVad
TurnEnd: TypeAlias = SilenceVad | MeaningVad
"""Of either kind of session."""


class AudioInput(Value, frozen=True, kw_only=True):
    """How the user's sound arrives and what is made of it."""

    format: AudioFormat = Pcm()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = None
    languages: tuple[str, ...] | UnsetType = UNSET


class AudioOutput(Value, frozen=True, kw_only=True):
    """How the answer sounds."""

    format: AudioFormat = Pcm()
    voice: str = "default"
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    role: str | UnsetType = UNSET


class Audio(Value, frozen=True, kw_only=True):
    """Both directions of sound."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


# Tools ---------------------------------------------------------------------------------------------------------------


class FunctionTool(Value, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the client runs."""

    name: str
    description: str | UnsetType = UNSET
    parameters: dict[str, Any] | str | UnsetType | None = UNSET
    """JSON schema of the arguments."""


class ToolFilter(Value, frozen=True, kw_only=True):
    """Which tools of a remote server are meant: those that fit all that is given."""

    tool_names: tuple[str, ...] | UnsetType | None = UNSET
    read_only: bool | UnsetType | None = UNSET
    """Whether the server says of the tool that it changes nothing."""


class ApprovalFilter(Value, frozen=True, kw_only=True):
    """Which tools of a remote server may only run with consent."""

    always: ToolFilter | UnsetType | None = UNSET
    never: ToolFilter | UnsetType | None = UNSET


class McpTool(Value, frozen=True, kw_only=True, tag_field="type", tag="mcp"):
    """A remote server of tools (Model Context Protocol)."""

    server_label: str
    server_url: str | UnsetType = UNSET
    connector_id: str | UnsetType = UNSET
    tunnel_id: str | UnsetType = UNSET
    authorization: str | UnsetType | None = UNSET
    """Access token for the server; no event shows it."""
    headers: dict[str, str] | UnsetType | None = UNSET
    """For the server; no event shows them."""
    allowed_tools: tuple[str, ...] | ToolFilter | UnsetType | None = UNSET
    require_approval: Literal["always", "never"] | ApprovalFilter | UnsetType | None = UNSET
    server_description: str | UnsetType = UNSET
    defer_loading: bool | UnsetType = UNSET
    allowed_callers: tuple[str, ...] | UnsetType | None = UNSET

    def __repr__(self) -> str:
        """Name the server without its credentials, which must not reach a log."""
        return f"McpTool({self.server_label!r})"


AnyTool: TypeAlias = FunctionTool | McpTool


class FunctionChoice(Value, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """The model must call this function."""

    name: str


class McpChoice(Value, frozen=True, kw_only=True, tag_field="type", tag="mcp"):
    """The model must call a tool of this server."""

    server_label: str
    name: str | UnsetType | None = UNSET


ToolChoice: TypeAlias = Literal["auto", "none", "required"] | FunctionChoice | McpChoice
Tokens: TypeAlias = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Modality: TypeAlias = Literal["text", "audio"]
Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]

# Session -------------------------------------------------------------------------------------------------------------


class Reasoning(Value, frozen=True, kw_only=True):
    """How hard the model thinks; stored and echoed."""

    effort: str


class PromptReference(Value, frozen=True, kw_only=True):
    """A stored prompt; stored and echoed."""

    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class Tracing(Value, frozen=True, kw_only=True):
    """Where traces go; stored and echoed."""

    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class RetentionRatio(Value, frozen=True, kw_only=True, tag_field="type", tag="retention_ratio"):
    """Keep this share of the context when the oldest items are dropped."""

    retention_ratio: Annotated[float, Meta(ge=0.0, le=1.0)]
    token_limits: dict[str, int] | UnsetType = UNSET


class TranscriptionInput(Value, frozen=True, kw_only=True):
    """How sound arrives that is only transcribed."""

    format: AudioFormat = Pcm()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnEnd | None = None
    languages: tuple[str, ...] | UnsetType = UNSET


class TranscriptionAudio(Value, frozen=True, kw_only=True):
    """The one direction of sound."""

    input: TranscriptionInput = TranscriptionInput()


class FileSearch(Value, frozen=True, kw_only=True):
    """The server searches vector stores for the model; named as in OpenAI's Responses API."""

    vector_store_ids: tuple[str, ...]
    """At least one."""
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: dict[str, Any] | None = None
    """Comparisons of attributes."""


class WebSearch(Value, frozen=True, kw_only=True):
    """The server searches the web for the model."""

    allowed_domains: tuple[str, ...] = ()
    """Only these sites and those below them; all where it is empty."""
    region: Annotated[str, Meta(max_length=64)] | None = None
    """ISO 3166 country that the person is in."""
    context_size: Literal["low", "medium", "high"] = "medium"
    """How much is read of each page."""


class Searches(Value, frozen=True, kw_only=True):
    """What the server searches for the model."""

    files: FileSearch | None = None
    web: WebSearch | None = None


class Extensions(Value, frozen=True, kw_only=True):
    """What our own clients may ask for, and no other client ever sees."""

    partials: bool = False
    """Send `vivavoce.input_transcript.partial` while the user speaks."""
    timings: bool = False
    """Send `vivavoce.response.timings` after each response."""
    any_rate: bool = False
    """Take and give PCM of any rate."""
    adaptive: bool = False
    """Let `server_vad` wait less for who has finished and more for who has not, from half of its silence to 1.5 s."""
    considerate: bool = False
    """Go on with an answer over which somebody coughs, says "mm-hm" or talks to somebody else; see `speech.overlap`."""
    hosted: tuple[str, ...] = ()
    """Names of functions that the server runs; the client never sees them called."""
    search: Searches | None = None
    """Search for the model; the client sees nothing of it but the answer."""
    sources: bool = False
    """Send `vivavoce.search.started` and `vivavoce.search.done`, and name the sources of an answer in its item."""
    voices: tuple[str, ...] = ()
    """Told by the server: what `audio.output.voice` may be."""
    context_tokens: int | None = None
    """Told by the server: what the model takes in a prompt."""


class Session(Value, frozen=True, kw_only=True, tag_field="type", tag="realtime"):
    """A conversation's settings, as they are in effect."""

    object: Literal["realtime.session"] = "realtime.session"
    id: str = ""
    model: str = ""
    expires_at: int = 0
    """Unix time, seconds."""
    output_modalities: tuple[Modality, ...] = ("audio",)
    instructions: str = ""
    audio: Audio = Audio()
    tools: tuple[AnyTool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | UnsetType = UNSET
    reasoning: Reasoning | UnsetType | None = UNSET
    max_output_tokens: Tokens = "inf"
    prompt: PromptReference | None = None
    tracing: Literal["auto"] | Tracing | None = None
    include: tuple[str, ...] | None = None
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    vivavoce: Extensions | UnsetType = UNSET


class TranscriptionSession(Value, frozen=True, kw_only=True, tag_field="type", tag="transcription"):
    """The settings of a session that only transcribes."""

    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    id: str = ""
    expires_at: int = 0
    """Unix time, seconds."""
    audio: TranscriptionAudio = TranscriptionAudio()
    include: tuple[str, ...] | None = None
    vivavoce: Extensions | UnsetType = UNSET


AnySession: TypeAlias = Session | TranscriptionSession


# Items ---------------------------------------------------------------------------------------------------------------


class InputText(Value, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """Text from the client."""

    text: str


class InputAudio(Value, frozen=True, kw_only=True, tag_field="type", tag="input_audio"):
    """Speech from the user."""

    transcript: str | UnsetType | None = UNSET
    audio: bytes | UnsetType | None = UNSET


class InputImage(Value, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """A picture from the client."""

    image_url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class Source(Value, frozen=True, kw_only=True):
    """Where an answer has something from."""

    title: str = ""
    url: str | None = None
    file_id: str | None = None
    quote: str | None = None
    """The words that were found there."""
    page: int | None = None
    """From 1, where there are pages."""


class Annotation(Value, frozen=True, kw_only=True):
    """A source named at a place of an answer, as in OpenAI's Responses API: `url_citation` or `file_citation`."""

    type: str
    title: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    file_id: str | UnsetType = UNSET
    filename: str | UnsetType = UNSET
    quote: str | UnsetType = UNSET
    page: int | UnsetType | None = UNSET

    @property
    def source(self) -> Source:
        """Return the source that it names."""
        title, url, file_id, filename, quote = (
            value or None for value in (self.title, self.url, self.file_id, self.filename, self.quote)
        )
        name = title or filename or url or file_id or ""
        return Source(title=name, url=url, file_id=file_id, quote=quote, page=self.page or None)

    @classmethod
    def of(cls, source: Source) -> Annotation:
        """Return the annotation that names a source."""
        quote, page = source.quote or UNSET, source.page or UNSET
        if source.url:
            return cls(type="url_citation", url=source.url, title=source.title, quote=quote, page=page)
        file_id = source.file_id or UNSET
        return cls(type="file_citation", file_id=file_id, filename=source.title, quote=quote, page=page)


class OutputText(Value, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """Text of the answer."""

    text: str
    annotations: tuple[Annotation, ...] | UnsetType = UNSET


class OutputAudio(Value, frozen=True, kw_only=True, tag_field="type", tag="output_audio"):
    """Speech of the answer."""

    transcript: str | UnsetType = UNSET
    audio: bytes | UnsetType = UNSET
    annotations: tuple[Annotation, ...] | UnsetType = UNSET


Part: TypeAlias = InputText | InputAudio | InputImage | OutputText | OutputAudio
Role: TypeAlias = Literal["system", "user", "assistant"]
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class AnyItem(Value, frozen=True, kw_only=True, tag_field="type"):
    """One thing in a conversation."""

    id: str | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: ItemStatus | UnsetType = UNSET


class Message(AnyItem, frozen=True, kw_only=True, tag="message"):
    """Something that was said or written."""

    role: Role
    content: tuple[Part, ...]


class FunctionCall(AnyItem, frozen=True, kw_only=True, tag="function_call"):
    """The model calls a function."""

    name: str
    arguments: str
    """A JSON object."""
    call_id: str | UnsetType = UNSET


class FunctionCallOutput(AnyItem, frozen=True, kw_only=True, tag="function_call_output"):
    """What the function returned."""

    call_id: str
    output: str


class RemoteTool(Value, frozen=True, kw_only=True):
    """A tool of a remote server."""

    name: str
    description: str | None = ""
    input_schema: dict[str, Any]
    """JSON schema of the arguments."""
    annotations: dict[str, Any] | UnsetType | None = UNSET
    """What the server says of the tool, such as `readOnlyHint`."""


class McpListTools(AnyItem, frozen=True, kw_only=True, tag="mcp_list_tools"):
    """The tools that a remote server offers."""

    server_label: str
    tools: tuple[RemoteTool, ...]


class McpProtocolError(Value, frozen=True, kw_only=True, tag_field="type", tag="protocol_error"):
    """A remote server and we did not understand each other."""

    code: int
    """Of JSON-RPC."""
    message: str


class McpToolError(Value, frozen=True, kw_only=True, tag_field="type", tag="tool_execution_error"):
    """A remote tool ran and failed, or was not allowed to run."""

    message: str


class McpHttpError(Value, frozen=True, kw_only=True, tag_field="type", tag="http_error"):
    """A remote server refused a request."""

    code: int
    """HTTP status."""
    message: str


McpError: TypeAlias = McpProtocolError | McpToolError | McpHttpError


class McpCall(AnyItem, frozen=True, kw_only=True, tag="mcp_call"):
    """The model calls a tool of a remote server."""

    server_label: str
    name: str
    arguments: str
    output: str | UnsetType | None = UNSET
    error: McpError | UnsetType | None = UNSET
    approval_request_id: str | UnsetType | None = UNSET


class McpApprovalRequest(AnyItem, frozen=True, kw_only=True, tag="mcp_approval_request"):
    """A remote call waits for consent."""

    server_label: str
    name: str
    arguments: str


class McpApprovalResponse(AnyItem, frozen=True, kw_only=True, tag="mcp_approval_response"):
    """Consent, or its refusal."""

    approval_request_id: str
    approve: bool
    reason: str | UnsetType | None = UNSET


class ItemReference(AnyItem, frozen=True, kw_only=True, tag="item_reference"):
    """An item of the conversation, named in the input of a response."""


Item: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | McpListTools
    | McpCall
    | McpApprovalRequest
    | McpApprovalResponse
    | ItemReference
)

# Responses -----------------------------------------------------------------------------------------------------------


class CachedTokenDetails(Value, frozen=True, kw_only=True):
    """What the cached tokens were."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokenDetails(Value, frozen=True, kw_only=True):
    """What the input tokens were."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_details: CachedTokenDetails = CachedTokenDetails()


class OutputTokenDetails(Value, frozen=True, kw_only=True):
    """What the output tokens were."""

    text_tokens: int = 0
    audio_tokens: int = 0


class Usage(Value, frozen=True, kw_only=True):
    """What a response took."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: InputTokenDetails = InputTokenDetails()
    output_token_details: OutputTokenDetails = OutputTokenDetails()


class TranscriptionSeconds(Value, frozen=True, kw_only=True, tag_field="type", tag="duration"):
    """What a transcription took, in sound."""

    seconds: float


class TranscriptionTokens(Value, frozen=True, kw_only=True, tag_field="type", tag="tokens"):
    """What a transcription took, in tokens."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokenDetails | UnsetType = UNSET


TranscriptionUsage: TypeAlias = TranscriptionSeconds | TranscriptionTokens


class ErrorDetail(Value, frozen=True, kw_only=True):
    """What went wrong."""

    type: str
    code: str | None = None
    message: str
    param: str | None = None
    event_id: str | UnsetType | None = UNSET
    """The client's event that caused it."""


class StatusDetails(Value, frozen=True, kw_only=True):
    """Why a response did not complete."""

    type: Literal["cancelled", "incomplete", "failed"]
    reason: str | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class VoiceOutput(Value, frozen=True, kw_only=True):
    """How one response sounds."""

    format: AudioFormat | UnsetType = UNSET
    voice: str | UnsetType = UNSET


class ResponseAudio(Value, frozen=True, kw_only=True):
    """The sound of one response."""

    output: VoiceOutput | UnsetType = UNSET


ResponseStatus: TypeAlias = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]


class Response(Value, frozen=True, kw_only=True):
    """One answer of the model."""

    object: Literal["realtime.response"] = "realtime.response"
    id: str
    status: ResponseStatus = "in_progress"
    status_details: StatusDetails | None = None
    output: tuple[Item, ...] = ()
    conversation_id: str | None = None
    output_modalities: tuple[Modality, ...] = ("audio",)
    max_output_tokens: Tokens = "inf"
    audio: ResponseAudio = ResponseAudio()
    usage: Usage | None = None
    metadata: Metadata | None = None


class ResponseExtensions(Value, frozen=True, kw_only=True):
    """What our own clients may ask of one response."""

    say: str = ""
    """Speak these words instead of asking the model; out of the conversation where `conversation` is `none`."""


class ResponseParams(Value, frozen=True, kw_only=True):
    """What a client asks of one response; what is absent or null is taken from the session."""

    conversation: Literal["auto", "none"] = "auto"
    input: tuple[Item, ...] | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    max_output_tokens: Tokens | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    output_modalities: tuple[Modality, ...] | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    audio: ResponseAudio | UnsetType | None = UNSET
    prompt: PromptReference | UnsetType | None = UNSET
    reasoning: Reasoning | UnsetType | None = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    tools: tuple[AnyTool, ...] | UnsetType | None = UNSET
    vivavoce: ResponseExtensions | UnsetType = UNSET


# Merging -------------------------------------------------------------------------------------------------------------


def public_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's JSON schema as others know it: without the example utterances that only our gate reads."""
    return {name: value for name, value in schema.items() if name != UTTERANCES}


def merge(value: StructT, patch: dict[str, Any], *, path: str) -> StructT:
    """Return the value with only the fields of the patch changed, nested objects merged.

    A null puts the field back to its default. An object of another `type` replaces the old one instead of inheriting
    its fields.

    Args:
        value: what is in effect.
        patch: decoded JSON.
        path: what the client calls the value, for the error's `param`.

    Raises:
        ProtocolError: a field is unknown or has a bad value; nothing has changed then.
    """
    try:
        merged = msgspec.convert(_merged(msgspec.to_builtins(value), patch), type(value))
    except msgspec.ValidationError as wrong:
        raise explain(wrong, path=path) from None
    if bogus := unknown_field(patch, msgspec.to_builtins(merged)):
        param = f"{path}.{bogus}"
        raise ProtocolError("unknown_parameter", f"Unknown parameter: '{param}'.", param=param)
    return merged


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    if not isinstance(old, dict) or patch.get("type", old.get("type")) != old.get("type"):
        old = {}
    kept = {name: value for name, value in old.items() if name not in patch}
    return kept | {name: _merged(old.get(name), new) for name, new in patch.items() if new is not None}


def unknown_field(given: Any, understood: Any) -> str | None:
    """Return the path of a field that was given and not understood, or None.

    Args:
        given: decoded JSON as it was received.
        understood: the same after a round trip through its struct, which drops what the struct does not know.
    """
    if isinstance(given, list | tuple) and isinstance(understood, list | tuple):
        pairs = [(f"[{index}]", *both) for index, both in enumerate(zip(given, understood, strict=False))]
    elif isinstance(given, dict) and isinstance(understood, dict):
        told = {str(name): value for name, value in given.items() if value is not None}
        if bogus := next((name for name in told if name not in understood), None):
            return bogus
        pairs = [(name, value, understood[name]) for name, value in told.items()]
    else:
        return None
    for name, old, new in pairs:
        if bogus := unknown_field(old, new):
            return f"{name}{bogus}" if bogus.startswith("[") else f"{name}.{bogus}"
    return None
