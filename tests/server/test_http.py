"""The HTTP side, as the official client and plain HTTP see it."""

from __future__ import annotations

import io
import json
import wave
from base64 import b64decode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import jsonschema  # type: ignore[import-untyped]
import numpy as np
import openai
import pytest
import soundfile
from anyio import fail_after
from tests.server.clients import http, raw_socket

from vivavoce.ports import BackendError, Call, Heard, Text, Usage
from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool, ToolCall
from vivavoce.server import guard
from vivavoce.server.http import sound
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from tests.server.conftest import Serving

    from vivavoce.ports import Samples
    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]
    Client = Callable[..., AbstractAsyncContextManager[openai.AsyncOpenAI]]

pytestmark = pytest.mark.anyio

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello?"}]


@pytest.fixture
def client(engines: Make, serving: Serving) -> Client:
    """Return a context with the official client of a server."""

    @asynccontextmanager
    async def run(given: Engines | None = None, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
        async with serving(Hub(given or engines(), **options)) as url:
            async with openai.AsyncOpenAI(api_key="none", base_url=http(url) + "/v1", max_retries=0) as made:
                yield made

    return run


def recording(seconds: float = 1.0, *, rate: int = 24_000, channels: int = 1, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    samples = np.repeat(tone(220, seconds, rate)[:, np.newaxis], channels, axis=1)
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


# Models ---------------------------------------------------------------------------------------------------------------


async def test_models(client: Client) -> None:
    async with client(models=["moonshine", "acme/voice"]) as api:
        listed = [model.id async for model in api.models.list()]
        assert listed == ["vivavoce", "moonshine", "acme/voice"]
        for name in listed:
            assert (await api.models.retrieve(name)).id == name
        with pytest.raises(openai.NotFoundError) as wrong:
            await api.models.retrieve("gpt")
        assert (wrong.value.code, wrong.value.param) == ("model_not_found", "model")


# Transcriptions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
async def test_transcription(client: Client, engines: Make, kind: str) -> None:
    parts = engines()
    async with client(parts) as api:
        answer = await api.audio.transcriptions.create(
            model="whisper-1", file=("speech", recording(2.0, rate=44_100, channels=2, kind=kind))
        )
    assert answer.text == "what time is it"
    assert answer.usage is not None
    (heard,) = parts.stt.heard  # type: ignore[attr-defined]
    assert len(heard) / parts.stt.sample_rate == pytest.approx(2.0, abs=0.1)
    crossings = np.count_nonzero(np.diff(np.signbit(heard[8_000:24_000])))
    assert crossings == pytest.approx(2 * 220, rel=0.02)


class Listener(ScriptedSpeechToText):
    """Remembers the hints that it was given."""

    hints: Any = None

    def transcribe(self, audio, *, language=None, prompt=None):
        self.hints = language, prompt
        return super().transcribe(audio, language=language, prompt=prompt)


async def test_transcription_in_each_shape(client: Client, engines: Make) -> None:
    parts, stt = engines(), Listener(["Hello."])
    file = ("a.wav", recording(1.5))
    async with client(type(parts)(vad=parts.vad, stt=stt, llm=parts.llm, tts=parts.tts)) as api:
        create = api.audio.transcriptions.create
        verbose = await create(
            model="m", file=file, response_format="verbose_json", language="en", prompt="names: Anna", temperature=0.5
        )
        assert (verbose.text, verbose.duration, verbose.language) == ("Hello.", 1.5, "en")
        assert verbose.segments is not None
        assert [(segment.start, segment.end, segment.text) for segment in verbose.segments] == [(0, 1.5, "Hello.")]
        assert stt.hints == ("en", "names: Anna")
        assert await create(model="m", file=file, response_format="text") == "Hello.\n"
        events = [event async for event in await create(model="m", file=file, stream=True)]
        assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
        assert stt.hints == (None, None)


async def test_recording_without_sound(client: Client) -> None:
    async with client() as api:
        assert (await api.audio.transcriptions.create(model="m", file=("a.wav", recording(0.0)))).text == ""


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"data": {"model": "m"}}, "invalid_content_type", None),
        ({"files": {"model": (None, "m")}}, "missing_required_parameter", "file"),
        ({"files": {"file": ("a.wav", b"RIFF, but no more")}}, "invalid_audio", "file"),
        ({"files": {"file": ("a.wav", b"")}}, "invalid_audio", "file"),
        ({"files": {"file": b"x"}, "data": {"response_format": "srt"}}, "invalid_value", "response_format"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "invalid_form", None),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, "invalid_content_type", None),
        (
            {"content": b"--x\r\n\r\na\r\n--x--", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            "invalid_form",
            None,
        ),
        ({"files": [("file", b"")] * 70}, "invalid_form", None),
    ],
)
async def test_transcription_that_cannot_be(client: Client, form: Any, code: str, param: str | None) -> None:
    async with client() as api, httpx.AsyncClient() as web:
        answer = await web.post(f"{api.base_url}audio/transcriptions", **form)
    wrong = answer.json()["error"]
    assert (answer.status_code, wrong["code"], wrong["param"]) == (400, code, param)


async def test_recording_that_is_too_long(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "MAX_S", 1.0)
    async with client() as api:
        for seconds, kind in ((1.1, "WAV"), (30.0, "FLAC")):
            with pytest.raises(openai.BadRequestError, match="longer than"):
                await api.audio.transcriptions.create(model="m", file=("a", recording(seconds, kind=kind)))


async def test_recording_that_lies_about_its_length(client: Client, engines: Make) -> None:
    parts = engines()
    lying = bytearray(recording(1.0, rate=16_000))
    lying[40:44] = (0x7FFFFFF0).to_bytes(4, "little")
    async with client(parts) as api:
        assert (await api.audio.transcriptions.create(model="m", file=("a.wav", bytes(lying)))).text
    assert len(parts.stt.heard[0]) <= 16_000  # type: ignore[attr-defined]


# Speech ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
async def test_speech(client: Client, kind: Any) -> None:
    async with client() as api:
        async with api.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice="high",
            input="One two three four five. Six seven eight nine ten.",
            response_format=kind,
        ) as answer:
            assert answer.headers["content-type"].startswith("audio/")
            pieces = [piece async for piece in answer.iter_bytes()]
    samples, rate = soundfile.read(io.BytesIO(b"".join(pieces)), dtype="float32")
    assert rate == 24_000
    assert len(samples) / rate == pytest.approx(0.6, abs=0.15)
    crossings = np.count_nonzero(np.diff(np.signbit(samples[4_800:9_600])))
    assert crossings == pytest.approx(2 * 440 * 0.2, rel=0.1)


async def test_speech_as_plain_samples(client: Client) -> None:
    async with client() as api:
        create = api.audio.speech.create
        plain = (await create(model="m", voice="low", input="One two.", response_format="pcm")).content
        quick = (await create(model="m", voice="nobody", input="One two.", response_format="pcm", speed=2.0)).content
        assert (len(plain), len(quick)) == (2 * 2880, 2880)
        with wave.open(
            io.BytesIO((await create(model="m", voice="low", input="Hi.", response_format="wav")).content)
        ) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)


async def test_speech_as_events(client: Client) -> None:
    body = {"model": "m", "voice": {"id": "low"}, "input": "One two.", "response_format": "pcm", "stream_format": "sse"}
    async with client() as api, httpx.AsyncClient() as web:
        answer = await web.post(f"{api.base_url}audio/speech", json=body)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert events[-1]["type"] == "speech.audio.done"
    assert len(b"".join(b64decode(event["audio"]) for event in events[:-1])) == 2 * 2880


class Slow(ScriptedTextToSpeech):
    """A voice that stops after its first sentence until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = anyio.Event()
        self.stopped = anyio.Event()

    async def speak(self, sentence, *, voice=None, speed=1.0):
        try:
            if self.spoken:
                await self.go_on.wait()
            async for samples in super().speak(sentence, voice=voice, speed=speed):
                yield samples
        except BaseException:
            self.stopped.set()
            raise


def speaking(engines: Make, tts: Any) -> Engines:
    parts = engines()
    return type(parts)(vad=parts.vad, stt=parts.stt, llm=parts.llm, tts=tts)


@pytest.mark.parametrize("kind", ["wav", "pcm", "mp3", "opus"])
async def test_speech_begins_before_it_ends(client: Client, engines: Make, kind: Any) -> None:
    tts, words = Slow(), "one " * 30 + ". And so on."
    async with client(speaking(engines, tts)) as api:
        async with api.audio.speech.with_streaming_response.create(
            model="m", voice="low", input=words, response_format=kind
        ) as answer:
            pieces = answer.iter_bytes()
            received = 0
            while received < 200:
                received += len(await anext(pieces))
            assert not tts.go_on.is_set()
            tts.go_on.set()
            assert sum([len(piece) async for piece in pieces]) > 0


async def test_speech_stops_when_the_client_goes(client: Client, engines: Make) -> None:
    tts = Slow()
    async with client(speaking(engines, tts)) as api:
        async with api.audio.speech.with_streaming_response.create(
            model="m", voice="low", input="Once upon a time. There was.", response_format="pcm"
        ) as answer:
            await anext(answer.iter_bytes())
        await tts.stopped.wait()


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"input": "a" * 4097}, "string_above_max_length", "input"),
        ({"input": " "}, "invalid_value", "input"),
        ({}, "missing_required_parameter", "input"),
        ({"input": "a", "response_format": "aac"}, "invalid_value", "response_format"),
        ({"input": "a", "speed": 5}, "integer_above_max_value", "speed"),
        ({"input": 1}, "invalid_type", "input"),
    ],
)
async def test_speech_that_cannot_be(client: Client, asked: Any, code: str, param: str) -> None:
    async with client() as api, httpx.AsyncClient() as web:
        answer = await web.post(f"{api.base_url}audio/speech", json={"model": "m", "voice": "low"} | asked)
    wrong = answer.json()["error"]
    assert (answer.status_code, wrong["code"], wrong["param"]) == (400, code, param)


# Chat -----------------------------------------------------------------------------------------------------------------

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "clock", "description": "Tell the time.", "parameters": {"type": "object", "properties": {}}},
}


async def test_chat(client: Client, engines: Make) -> None:
    llm = ScriptedLanguageModel(["It is noon."])
    async with client(engines(llm=llm)) as api:
        answer = await api.chat.completions.create(model="mine", messages=HELLO, max_tokens=7, temperature=0.1)
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == ("It is noon.", "assistant", "stop")
    assert (answer.object, answer.model) == ("chat.completion", "mine")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1, 3, 4)
    assert llm.prompts[0].max_output_tokens == 7


async def test_chat_streamed(client: Client) -> None:
    async with client() as api:
        stream = await api.chat.completions.create(
            model="mine", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        plain = await api.chat.completions.create(model="mine", messages=HELLO, stream=True)
        assert {chunk.usage async for chunk in plain} == {None}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "It is noon. Time to eat."
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert len({chunk.id for chunk in chunks}) == 1


async def test_chat_calls_tools(client: Client, engines: Make) -> None:
    calls = [Call("clock", '{"zone": "UTC"}', "c1"), Call("clock", "{}")]
    async with client(engines(llm=ScriptedLanguageModel([[Text("Wait. "), *calls]]))) as api:
        whole = (await api.chat.completions.create(model="m", messages=HELLO, tools=[TOOL])).choices[0]
        assert (whole.message.content, whole.finish_reason) == ("Wait. ", "tool_calls")
        assert whole.message.tool_calls is not None
        assert (whole.message.tool_calls[0].id, whole.message.tool_calls[0].type) == ("c1", "function")
        async with api.chat.completions.stream(model="m", messages=HELLO, tools=[TOOL]) as stream:
            streamed = (await stream.get_final_completion()).choices[0]
    assert streamed.finish_reason == "tool_calls"
    for choice in (whole, streamed):
        made = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]  # type: ignore[union-attr]
        assert made == [("clock", '{"zone": "UTC"}'), ("clock", "{}")]
        assert len({call.id for call in choice.message.tool_calls or ()}) == 2


async def test_chat_is_told_to_the_model_as_it_is(client: Client, engines: Make) -> None:
    llm = ScriptedLanguageModel(["Yes."])
    call: Any = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    async with client(engines(llm=llm)) as api:
        await api.chat.completions.create(
            model="m",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
                {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "noon"},
                {"role": "system", "content": "Hurry."},
            ],
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "clock"}},
            parallel_tool_calls=False,
            max_completion_tokens=5,
        )
        await api.chat.completions.create(model="m", messages=HELLO, tools=[TOOL], tool_choice="none")
    assert llm.prompts[0] == Prompt(
        instructions="Be brief.\n\nBe kind.",
        messages=(
            PromptMessage(role="user", text="What time?"),
            PromptMessage(role="assistant", calls=(ToolCall("c1", "clock", "{}"),)),
            PromptMessage(role="tool", text="noon", call_id="c1"),
            PromptMessage(role="system", text="Hurry."),
        ),
        tools=(
            PromptTool(name="clock", description="Tell the time.", parameters={"type": "object", "properties": {}}),
        ),
        tool_choice="clock",
        parallel_tool_calls=False,
        max_output_tokens=5,
    )
    assert (llm.prompts[1].tool_choice, llm.prompts[1].parallel_tool_calls) == ("none", True)


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"messages": []}, None, "messages"),
        ({"messages": [{"role": "king", "content": "a"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "missing_required_parameter", "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "invalid_value",
            "messages[0].content",
        ),
        ({"n": 2}, "invalid_value", "n"),
        ({"stop": ["."]}, "unsupported_parameter", "stop"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, "invalid_value", "tool_choice"),
        ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    ],
)
async def test_chat_that_cannot_be(client: Client, asked: Any, code: str | None, param: str) -> None:
    async with client() as api, httpx.AsyncClient() as web:
        answer = await web.post(f"{api.base_url}chat/completions", json={"model": "m", "messages": HELLO} | asked)
    wrong = answer.json()["error"]
    assert (answer.status_code, wrong["type"], wrong["param"]) == (400, "invalid_request_error", param)
    assert code is None or wrong["code"] == code


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"messages": NaN}', b'{"a":' * 20_000, b"null"])
async def test_body_that_is_no_request(client: Client, body: bytes) -> None:
    async with client() as api, httpx.AsyncClient() as web:
        answer = await web.post(f"{api.base_url}chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


class Endless:
    """A language model that goes on until it is stopped."""

    def __init__(self) -> None:
        self.stopped = anyio.Event()
        self.begun = anyio.Event()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text | Call | Usage, None]:
        try:
            self.begun.set()
            while True:
                await anyio.sleep(0.01)
                yield Text("word ")
        finally:
            self.stopped.set()


@pytest.mark.parametrize("streamed", [True, False])
async def test_chat_stops_when_the_client_goes(engines: Make, serving: Serving, streamed: bool) -> None:
    llm = Endless()
    body = json.dumps({"messages": HELLO, "stream": streamed}).encode()
    async with serving(Hub(engines(llm=llm))) as url:
        with fail_after(5):
            async with await raw_socket(url) as stream:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
                await stream.send(head.encode() + body)
                await llm.begun.wait()
            await llm.stopped.wait()


# What engines do wrong ------------------------------------------------------------------------------------------------


HANG = object()


class Failing:
    """Engines that fail at once, or after a while, in one of many ways."""

    sample_rate = 24_000
    voices = ("low",)

    def __init__(self, wrong: Any, after: int = 0) -> None:
        self.wrong = wrong
        self.after = after

    async def _run(self, piece: Any) -> AsyncGenerator[Any, None]:
        for _ in range(self.after):
            yield piece
        if self.wrong is HANG:
            await anyio.sleep_forever()
        if isinstance(self.wrong, Exception):
            raise self.wrong
        yield self.wrong

    def generate(self, prompt):
        return self._run(Text("word "))

    def transcribe(self, audio, *, language=None, prompt=None):
        return self._run(Heard("word"))

    def speak(self, sentence, *, voice=None, speed=1.0):
        return self._run(tone(220, 0.1, 24_000))


WRONGS = [
    (BackendError("connection_failed", "The endpoint cannot be reached; start it."), 502, "connection_failed"),
    (ZeroDivisionError("oops"), 502, "backend_failed"),
    (HANG, 504, "backend_timeout"),
    ("garbage", 502, "backend_garbage"),
    (None, 502, "backend_garbage"),
]


@pytest.mark.parametrize(("wrong", "status", "code"), WRONGS)
async def test_engine_that_fails(
    client: Client, engines: Make, monkeypatch: pytest.MonkeyPatch, wrong: Any, status: int, code: str
) -> None:
    for limit in ("HEARING_S", "THINKING_S", "SPEAKING_S"):
        monkeypatch.setattr(guard, limit, 0.1)
    failing, parts = Failing(wrong), engines()
    parts = type(parts)(vad=parts.vad, stt=failing, llm=failing, tts=failing)
    async with client(parts) as api:
        for asking in (
            lambda: api.chat.completions.create(model="m", messages=HELLO),
            lambda: api.chat.completions.create(model="m", messages=HELLO, stream=True),
            lambda: api.audio.speech.create(model="m", voice="low", input="Hi."),
            lambda: api.audio.transcriptions.create(model="m", file=("a.wav", recording(0.05))),
        ):
            with pytest.raises(openai.InternalServerError) as refused, fail_after(5):
                await asking()
            assert (refused.value.status_code, refused.value.code, refused.value.type) == (status, code, "server_error")
            assert "oops" not in refused.value.message


async def test_engine_that_fails_in_the_midst(client: Client, engines: Make) -> None:
    failing, parts = Failing(BackendError("cut", "The endpoint broke off."), after=3), engines()
    async with client(type(parts)(vad=parts.vad, stt=failing, llm=failing, tts=failing)) as api:
        stream = await api.chat.completions.create(model="m", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            assert [chunk async for chunk in stream] == []
        with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
            await api.audio.speech.create(model="m", voice="low", input="Hi.", response_format="pcm")
        with pytest.raises(openai.InternalServerError):
            await api.audio.transcriptions.create(model="m", file=("a.wav", recording(0.05)))


async def test_sound_that_is_no_number(client: Client, engines: Make) -> None:
    samples = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    async with client(speaking(engines, Failing(samples))) as api:
        for kind in ("pcm", "flac", "mp3"):
            answer = await api.audio.speech.create(model="m", voice="low", input="Hi.", response_format=kind)
            if kind == "pcm":
                assert np.frombuffer(answer.content, "<i2").tolist() == [0, 32767, -32768, 16384]


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.float32), np.zeros(4), np.zeros(4, np.int16)])
async def test_sound_of_the_wrong_kind(client: Client, engines: Make, wrong: Samples) -> None:
    async with client(speaking(engines, Failing(wrong))) as api:
        with pytest.raises(openai.InternalServerError) as refused:
            await api.audio.speech.create(model="m", voice="low", input="Hi.")
        assert refused.value.code == "backend_garbage"


async def test_nothing_is_made_while_the_models_load(engines: Make) -> None:
    from vivavoce.server.app import create_app

    app = create_app(Hub(engines()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as web:
        answer = await web.post("/v1/chat/completions", json={"messages": HELLO})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_warming_up")
        assert (await web.get("/v1/models")).status_code == 200


# The rest -------------------------------------------------------------------------------------------------------------


async def test_paths_and_methods_that_are_not(client: Client) -> None:
    async with client() as api, httpx.AsyncClient(base_url=str(api.base_url)) as web:
        missing, other = await web.get("no/such/path"), await web.get("chat/completions")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (other.status_code, other.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_document(client: Client) -> None:
    async with client() as api, httpx.AsyncClient() as web:
        document = (await web.get(http(str(api.base_url)).replace("/v1/", "/openapi.json"))).json()
        assert document["openapi"].startswith("3.1.")
        for path, operations in document["paths"].items():
            for method in operations:
                answer = await web.request(method, str(api.base_url).removesuffix("/v1/") + path, json=1)
                assert answer.status_code != 405, path
                assert "no such path" not in answer.text, path
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}
    assert "ChatRequest" in schemas
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        named = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return named.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


async def test_answers_are_as_the_document_says(client: Client) -> None:
    async with client() as api, httpx.AsyncClient(base_url=str(api.base_url)) as web:
        document = (await web.get(str(api.base_url).replace("/v1/", "/openapi.json"))).json()
        answers = {
            "ModelList": await web.get("models"),
            "ChatCompletion": await web.post("chat/completions", json={"messages": HELLO}),
            "ClientSecret": await web.post("realtime/client_secrets"),
            "ErrorBody": await web.post("audio/speech", json={}),
            "Transcript": await web.post("audio/transcriptions", files={"file": recording(0.2)}),
        }
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)
