"""A language model as Ollama, vLLM, llama.cpp, OpenAI and Yandex AI Studio stream it."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import msgspec
import pytest
from anyio import to_thread
from starlette.responses import JSONResponse

from vivavoce.backends.openai_llm import OpenAIChat, Unthought
from vivavoce.ports import BackendError, Call, Text, Usage
from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool, ToolCall
from vivavoce.testing import llm_contract

pytestmark = pytest.mark.anyio

HELLO = Prompt(messages=(PromptMessage(role="user", text="Hello"),))
WEATHER = PromptTool(
    name="get_weather",
    description="Weather now.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
PARIS = Call("get_weather", '{"city":"Paris"}', "call_1")


def delta(**fields):
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields}]}


def piece(arguments=None, *, name=None, **fields):
    """Return a delta with one piece of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"function": function, **fields}])


@pytest.fixture
async def chat(server):
    model = OpenAIChat(url=server.url, model="m", first_timeout=5, chunk_timeout=5)
    yield model
    await model.aclose()


async def ask(chat, prompt=HELLO):
    async with aclosing(chat.generate(prompt)) as pieces:
        return [piece async for piece in pieces]


def spoken(pieces):
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def calls(pieces):
    return [piece for piece in pieces if isinstance(piece, Call)]


async def test_text_arrives_as_it_is_said(server, chat):
    server.stream(delta(role="assistant", content=None), delta(content="Hel"), 0.05, delta(content="lo."), STOP)
    assert await ask(chat) == [Text("Hel"), Text("lo."), Usage()]


async def test_the_first_word_does_not_wait_for_the_last(server, chat):
    server.stream(delta(content="First"), 60, STOP)
    async with aclosing(chat.generate(HELLO)) as pieces:
        assert await anext(pieces) == Text("First")
    assert await to_thread.run_sync(server.gone.wait, 10), "the server sees that nobody listens"


async def test_cancellation_closes_the_stream(server, chat):
    server.stream(delta(content="First"), 60, STOP)
    with anyio.CancelScope() as scope:
        async with aclosing(chat.generate(HELLO)) as pieces:
            async for _ in pieces:
                scope.cancel()
    assert scope.cancelled_caught
    assert await to_thread.run_sync(server.gone.wait, 10)


async def test_cancellation_before_the_first_token(server, chat):
    server.stream(": thinking\n\n", 60, STOP)
    with anyio.move_on_after(0.3) as scope:
        await ask(chat)
    assert scope.cancelled_caught
    assert await to_thread.run_sync(server.gone.wait, 10)


async def test_usage_comes_from_a_chunk_without_choices(server, chat):
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    server.stream(delta(content="Hi."), STOP, {"choices": [], "usage": usage})
    assert await ask(chat) == [Text("Hi."), Usage(input_tokens=12, output_tokens=3, cached_tokens=8)]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": None}])
async def test_usage_with_holes(server, chat, usage):
    server.stream(delta(content="Hi.") | {"usage": None}, STOP | {"usage": usage})
    assert (await ask(chat))[-1] == (Usage(input_tokens=12, output_tokens=3) if usage else Usage())


async def test_the_token_limit_is_told(server, chat):
    server.stream(delta(content="And so"), {"choices": [{"delta": {}, "finish_reason": "length"}]})
    assert (await ask(chat))[-1] == Usage(truncated=True)


async def test_oddities_of_streams_are_read_over(server, chat):
    long = "x" * 200_000
    server.stream(
        ": keep-alive\n\n",
        "event: message\r\nid: 1\r\ndata: " + msgspec.json.encode(delta(content="A\u2028B")).decode() + "\r\n\r\n",
        "data:\n\n",
        delta(reasoning_content="Hm.", content=None),
        delta(reasoning="Hm.", content=""),
        delta(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": "C"}]),
        {"choices": [{"delta": None, "logprobs": None}]},
        {"choices": None},
        delta(content=long),
        STOP,
    )
    assert spoken(await ask(chat)) == "A\u2028BC" + long


async def test_a_stream_may_end_without_done(server, chat):
    server.stream(delta(content="Hi."), STOP, done=False)
    assert spoken(await ask(chat)) == "Hi."


async def test_a_stream_may_end_with_nothing_but_done(server, chat):
    server.stream(delta(content="Hi."))
    assert spoken(await ask(chat)) == "Hi."


async def test_a_connection_left_open_after_done_holds_nothing_up(server, chat):
    server.answer(server.sse(delta(content="Hi."), STOP, "data: [DONE]\n\n", 60, done=False))
    assert await ask(chat) == [Text("Hi."), Usage()]


async def test_a_break_after_the_end_is_no_loss(server, chat, cut):
    server.stream(delta(content="Hi."), STOP, cut, done=False)
    assert await ask(chat) == [Text("Hi."), Usage()]


async def test_an_answer_in_one_piece(server, chat):
    message = {"role": "assistant", "content": "Hi.", "tool_calls": [{"id": "call_1", "function": function("Paris")}]}
    server.answer(JSONResponse({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    assert await ask(chat) == [Text("Hi."), PARIS, Usage()]


def function(city):
    return {"name": "get_weather", "arguments": f'{{"city":"{city}"}}'}


SHAPES = {
    "OpenAI, in pieces": [
        piece("", index=0, id="call_1", name="get_weather", type="function"),
        piece('{"ci', index=0),
        piece('ty":"Pa', index=0),
        piece('ris"}', index=0),
    ],
    "Ollama, whole": [piece('{"city":"Paris"}', index=0, id="call_1", name="get_weather")],
    "an object": [piece({"city": "Paris"}, index=0, id="call_1", name="get_weather")],
    "no index": [piece(None, id="call_1", name="get_weather"), piece('{"city":"Paris"}')],
    "older vLLM, an id each": [
        piece(None, index=0, id="call_1", name="get_weather"),
        piece('{"city":', index=0, id="call_x"),
        piece('"Paris"}', index=0, id="call_y"),
    ],
    "the name each time": [
        piece('{"city":', index=0, id="call_1", name="get_weather"),
        piece('"Paris"}', index=0, id="call_1", name="get_weather"),
        piece("", index=0, id="call_1", name="get_weather"),
    ],
    "an empty object first": [
        piece("", index=0, id="call_1", name="get_weather"),
        piece('{"city":"Paris"}\n', index=0),
        piece(" ", index=0),
    ],
}


@pytest.mark.parametrize("events", SHAPES.values(), ids=SHAPES.keys())
async def test_a_call_in_every_shape(server, chat, events):
    server.stream(delta(role="assistant", content=None), *events, STOP)
    assert await ask(chat) == [PARIS, Usage()]


TWO = {
    "by index": [
        piece("", index=0, id="a", name="get_weather"),
        piece('{"city":"Paris"}', index=0),
        piece("", index=1, id="b", name="get_weather"),
        piece('{"city":"Rome"}', index=1),
    ],
    "interleaved": [
        piece("", index=0, id="a", name="get_weather"),
        piece("", index=1, id="b", name="get_weather"),
        piece('{"city":', index=0),
        piece('{"city":', index=1),
        piece('"Paris"}', index=0),
        piece('"Rome"}', index=1),
    ],
    "in one delta": [
        delta(
            tool_calls=[
                {"index": 0, "id": "a", "function": function("Paris")},
                {"index": 1, "id": "b", "function": function("Rome")},
            ]
        )
    ],
    "all of index 0": [
        piece('{"city":"Paris"}', index=0, id="a", name="get_weather"),
        piece('{"city":"Rome"}', index=0, id="b", name="get_weather"),
    ],
    "without index": [
        piece('{"city":"Paris"}', id="a", name="get_weather"),
        piece('{"city":"Rome"}', id="b", name="get_weather"),
    ],
    "with nothing to tell them by": [
        piece('{"city":"Paris"}', name="get_weather", index=0),
        piece('{"city":"Rome"}', name="get_weather", index=0),
    ],
}


@pytest.mark.parametrize("events", TWO.values(), ids=TWO.keys())
async def test_two_calls_in_every_shape(server, chat, events):
    server.stream(*events, STOP)
    made = calls(await ask(chat))
    assert [call.arguments for call in made] == ['{"city":"Paris"}', '{"city":"Rome"}']
    assert [call.call_id for call in made] in (["a", "b"], [None, None])


@pytest.mark.parametrize("arguments", ["", None, "{}", " {} "])
async def test_a_call_without_arguments(server, chat, arguments):
    server.stream(piece(arguments, index=0, id="a", name="stop"), STOP)
    assert calls(await ask(chat)) == [Call("stop", "{}", "a")]


async def test_a_call_is_told_as_soon_as_it_is_whole(server, chat):
    server.stream(piece('{"city":"Paris"}', index=0, id="call_1", name="get_weather"), 60, STOP)
    async with aclosing(chat.generate(HELLO)) as pieces:
        assert await anext(pieces) == PARIS


async def test_a_call_cut_by_the_token_limit_is_dropped(server, chat):
    limit = {"choices": [{"delta": {}, "finish_reason": "length"}]}
    server.stream(piece('{"city":"Pa', index=0, id="a", name="get_weather"), limit)
    assert await ask(chat) == [Usage(truncated=True)]


@pytest.mark.parametrize("arguments", ['{"city":', "[1]", "Paris"])
async def test_arguments_that_are_no_object_fail(server, chat, arguments):
    server.stream(piece(arguments, index=0, id="a", name="get_weather"), STOP)
    with pytest.raises(BackendError, match="get_weather"):
        await ask(chat)


async def test_thoughts_are_not_said(server, chat):
    server.stream(*(delta(content=text) for text in ("<thi", "nk>Hm", "m</th", "ink>\n\n", "Hi <", "b> there")), STOP)
    assert spoken(await ask(chat)) == "Hi <b> there"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>a</think>b", "b"),
        ("\n\nb", "b"),
        ("a <think>b</think> c", "a  c"),
        ("<think>never ends", ""),
        ("1 < 2 <thin", "1 < 2 <thin"),
        ("<think></think><think>x</think>\n y", "y"),
    ],
)
def test_thoughts_however_they_are_cut(text, said):
    for size in range(1, len(text) + 1):
        stream = Unthought()
        pieces = [stream.feed(text[start : start + size]) for start in range(0, len(text), size)]
        assert "".join(pieces) + stream.rest() == said


async def test_a_whole_conversation_is_sent(server, chat):
    server.stream(STOP)
    await ask(
        chat,
        Prompt(
            instructions="Be brief.",
            messages=(
                PromptMessage(role="user", text="Weather in Paris?"),
                PromptMessage(role="assistant", calls=(ToolCall("call_1", "get_weather", '{"city":"Paris"}'),)),
                PromptMessage(role="tool", call_id="call_1", text="Sunny."),
                PromptMessage(role="assistant", text="Sunny."),
            ),
            tools=(WEATHER, PromptTool(name="stop")),
            max_output_tokens=50,
            parallel_tool_calls=False,
        ),
    )
    body = server.seen[0].json
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
        {"role": "assistant", "content": "Sunny."},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "stop"]
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert (body["model"], body["stream"], body["stream_options"]) == ("m", True, {"include_usage": True})
    assert (body["max_tokens"], body["parallel_tool_calls"], body["tool_choice"]) == (50, False, "auto")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
async def test_tool_choice(server, chat, choice, sent):
    server.stream(STOP)
    await ask(chat, Prompt(tools=(WEATHER,), tool_choice=choice))
    assert server.seen[0].json["tool_choice"] == sent


@pytest.mark.parametrize("prompt", [Prompt(tools=(WEATHER,), tool_choice="none"), Prompt(tool_choice="required")])
async def test_without_tools_nothing_is_said_of_them(server, chat, prompt):
    server.stream(STOP)
    await ask(chat, prompt)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & server.seen[0].json.keys()


async def test_settings_are_passed_on(server):
    server.stream(STOP)
    chat = OpenAIChat(url=server.url, model="m", temperature=0.2, extra={"reasoning_effort": "none"})
    await ask(chat)
    await chat.aclose()
    assert (server.seen[0].json["temperature"], server.seen[0].json["reasoning_effort"]) == (0.2, "none")


async def test_what_a_server_does_not_take_is_left_out_and_remembered(server, chat, refuse):
    limited = Prompt(max_output_tokens=9)
    server.answer(
        refuse(400, "Unrecognized request argument supplied: stream_options"),
        refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        server.sse(STOP),
        server.sse(STOP),
    )
    await ask(chat, limited)
    await ask(chat, limited)
    assert ["stream_options" in seen.json for seen in server.seen] == [True, False, False, False]
    assert [seen.json.get("max_completion_tokens") for seen in server.seen] == [None, None, 9, 9]


async def test_a_server_that_insists_is_not_asked_for_ever(server, chat, refuse):
    server.answer(refuse(400, "stream_options"))
    with pytest.raises(BackendError, match="400") as refused:
        await ask(chat)
    assert refused.value.code == "request_refused"
    assert len(server.seen) == 2


async def test_a_stream_cut_half_way(server, chat, cut):
    server.stream(delta(content="Half"), cut)
    with pytest.raises(BackendError, match="broke off") as refused:
        await ask(chat)
    assert refused.value.code == "stream_cut"


async def test_a_stream_that_just_stops(server, chat):
    server.stream(delta(content="Half"), done=False)
    with pytest.raises(BackendError, match="broke off") as refused:
        await ask(chat)
    assert refused.value.code == "stream_cut"


@pytest.mark.parametrize(
    "event", ["data: {not json\n\n", 'data: "text"\n\n', 'data: {"choices": [1]}\n\n', 'data: {"choices": "x"}\n\n']
)
async def test_garbage_in_the_stream(server, chat, event):
    server.stream(event, STOP)
    with pytest.raises(BackendError, match="something else") as refused:
        await ask(chat)
    assert refused.value.code == "bad_answer"


@pytest.mark.parametrize("error", [{"message": "out of memory", "code": 500}, "out of memory"])
async def test_an_error_in_the_stream(server, chat, error):
    server.stream(delta(content="Half"), {"error": error})
    with pytest.raises(BackendError, match="out of memory") as refused:
        await ask(chat)
    assert refused.value.code == "endpoint_failed"


async def test_a_page_instead_of_a_stream(server, chat):
    server.answer(server.body(b"<html>", kind="text/html"))
    with pytest.raises(BackendError, match="check the URL"):
        await ask(chat)


async def test_silence_before_the_first_piece(server):
    chat = OpenAIChat(url=server.url, model="m", first_timeout=0.2, chunk_timeout=0.1)
    server.stream(60, STOP)
    with pytest.raises(BackendError, match=r"silent for 0.2 s") as refused:
        await ask(chat)
    await chat.aclose()
    assert refused.value.code == "endpoint_timeout"


async def test_silence_between_pieces(server):
    chat = OpenAIChat(url=server.url, model="m", first_timeout=10, chunk_timeout=0.1)
    server.stream(0.3, delta(content="Half"), 60, STOP)
    with pytest.raises(BackendError, match=r"silent for 0.1 s"):
        await ask(chat)
    await chat.aclose()


async def test_comments_do_not_count_as_an_answer(server):
    chat = OpenAIChat(url=server.url, model="m", first_timeout=0.3, chunk_timeout=0.3)
    server.stream(*([": still loading\n\n", 0.1] * 20), STOP)
    with pytest.raises(BackendError, match=r"silent for 0.3 s"):
        await ask(chat)
    await chat.aclose()


async def test_it_keeps_the_contract(server):
    server.react = lambda _: server.sse(delta(content="Hello "), delta(content="there."), STOP)
    await llm_contract(lambda: OpenAIChat(url=server.url, model="m"))()
