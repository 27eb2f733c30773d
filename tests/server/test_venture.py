"""What is begun ahead hangs, breaks or is slow: the turn that follows is answered all the same; in virtual time."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.server.test_thinking import sound
from trio.testing import MockClock

from vivavoce.aio import link_pair
from vivavoce.ports import BackendError, Heard, Text, Usage
from vivavoce.realtime import events as wire
from vivavoce.server.ahead import Budget
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.server.venture import GIVEN_UP_S, RELIEF_S, Venture
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

FRAME_S = 0.02
USUAL_S = 0.1
SLOW = 10
SILENCE_S = 0.4
ANSWER = "Good day to you."


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Moody:
    """Does its work as it is told to at each call, the last way again and again."""

    def __init__(self, *ways: str) -> None:
        self.ways = list(ways)
        self.calls = 0
        self.open = 0
        """Calls that have neither ended nor been closed."""

    async def mood(self, usual_s: float = USUAL_S) -> None:
        way = self.ways[min(self.calls, len(self.ways)) - 1]
        if way == "hangs":
            await anyio.sleep_forever()
        if way == "fails":
            raise BackendError("lost", "It is lost.")
        if way == "breaks":
            msg = "broken"
            raise RuntimeError(msg)
        await anyio.sleep(usual_s * (SLOW if way == "slow" else 1))


class Model(Moody):
    async def generate(self, prompt: Any) -> Any:
        self.calls += 1
        self.open += 1
        try:
            await self.mood()
            yield Text(ANSWER)
            yield Usage(1, 1)
        finally:
            self.open -= 1


class SingleModel(Model):
    """Answers one prompt at a time."""

    def __init__(self, *ways: str) -> None:
        super().__init__(*ways)
        self._slot = anyio.Semaphore(1)

    async def generate(self, prompt: Any) -> Any:
        async with self._slot:
            async with aclosing(super().generate(prompt)) as pieces:
                async for piece in pieces:
                    yield piece


class Halting(Moody):
    """Breaks after it has begun."""

    async def generate(self, prompt: Any) -> Any:
        self.calls += 1
        yield Text("Good ")
        await self.mood(0.0)
        yield Text("day to you.")
        yield Usage(1, 2)


class Voice(Moody):
    sample_rate = 24_000
    voices = ("low",)

    async def speak(self, sentence: str, **options: Any) -> Any:
        self.calls += 1
        await self.mood()
        async with aclosing(ScriptedTextToSpeech().speak(sentence)) as sound:
            async for samples in sound:
                yield samples


class HaltingVoice(Voice):
    async def speak(self, sentence: str, **options: Any) -> Any:
        self.calls += 1
        first = True
        async with aclosing(ScriptedTextToSpeech().speak(sentence)) as sound:
            async for samples in sound:
                yield samples
                if first:
                    await self.mood(0.0)
                first = False


class Recogniser(Moody):
    sample_rate = 16_000

    async def transcribe(self, audio: Any, **options: Any) -> Any:
        self.calls += 1
        me = self.calls
        async for chunk in audio:
            if not chunk.size and me == 1:
                await self.mood()
                yield Heard("Hello there.")
        if me > 1:
            await self.mood()
        yield Heard("Hello there.", final=True)


class Judge(Moody):
    sample_rate = 16_000

    async def finished(self, sound: Any) -> float:
        self.calls += 1
        await self.mood()
        return 0.5


async def answered(
    *,
    stt: Any = None,
    llm: Any = None,
    tts: Any = None,
    eot: Any = None,
    ahead: bool = True,
    detection: dict[str, Any] | None = None,
) -> tuple[float, Any, str]:
    """Return the seconds from the end of the turn to the first sound, the response, and what it said."""
    engines = Engines(
        ScriptedVad(),
        stt or ScriptedSpeechToText(["Hello there."]),
        llm or ScriptedLanguageModel([ANSWER]),
        tts or ScriptedTextToSpeech(),
        eot,
    )
    hub = Hub(engines, budget=None if ahead else Budget(tries=0))
    await hub.warm_up()
    ours, theirs = link_pair(10_000)  # type: ignore[var-annotated]
    detection = detection or {"type": "server_vad", "silence_duration_ms": round(SILENCE_S * 1000)}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    stopped = heard = 0.0
    said = ""
    with anyio.fail_after(200):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.open, theirs, "m")
            await ours.send(wire.SessionUpdate(session=session))

            async def speak() -> None:
                audio = sound(-0.5, 0.5, -2.0)
                for start in range(0, len(audio), 960):
                    await ours.send(wire.InputAudioBufferAppend(audio=audio[start : start + 960]))
                    await anyio.sleep(FRAME_S)

            tasks.start_soon(speak)
            while not isinstance(event := await ours.receive(), wire.ResponseDone):
                now = anyio.current_time()
                stopped = now if isinstance(event, wire.SpeechStopped) else stopped
                if isinstance(event, wire.OutputAudioDelta):
                    heard = heard or now
                if isinstance(event, wire.OutputAudioTranscriptDelta):
                    said += event.delta
            tasks.cancel_scope.cancel()
    await ours.close()
    await theirs.close()
    return heard - stopped, event.response, said


MAKERS: dict[str, Any] = {"stt": Recogniser, "llm": Model, "tts": Voice}


@pytest.mark.parametrize("part", MAKERS)
@pytest.mark.parametrize("way", ["fails", "breaks"])
async def test_what_breaks_ahead_costs_no_more_than_to_do_it_again(part: str, way: str) -> None:
    engine = MAKERS[part](way, "well")
    took, response, said = await answered(**{part: engine})
    assert (response.status, said.strip()) == ("completed", ANSWER)
    assert engine.calls == 2
    assert took <= USUAL_S + FRAME_S


@pytest.mark.parametrize("part", MAKERS)
async def test_what_hangs_ahead_is_begun_afresh(part: str) -> None:
    engine = MAKERS[part]("hangs", "well")
    took, response, said = await answered(**{part: engine})
    assert (response.status, said.strip()) == ("completed", ANSWER)
    assert engine.calls == 2
    assert RELIEF_S <= took <= RELIEF_S + USUAL_S + FRAME_S


@pytest.mark.parametrize("part", MAKERS)
async def test_what_is_slow_ahead_is_never_later_than_without_a_head_start(part: str) -> None:
    without, _, _ = await answered(**{part: MAKERS[part]("slow")}, ahead=False)
    took, response, said = await answered(**{part: MAKERS[part]("slow")})
    assert (response.status, said.strip()) == ("completed", ANSWER)
    assert took <= without + FRAME_S


async def test_what_is_not_taken_over_leaves_nothing_open() -> None:
    llm = Model("hangs", "well")
    await answered(llm=llm)
    assert llm.open == 0


async def test_an_engine_that_does_one_thing_at_a_time_is_given_back() -> None:
    took, response, _ = await answered(llm=SingleModel("hangs", "well"))
    assert response.status == "completed"
    assert took <= RELIEF_S + GIVEN_UP_S + USUAL_S + FRAME_S


@pytest.mark.parametrize("way", ["fails", "breaks"])
async def test_an_answer_that_breaks_in_the_middle_before_it_is_wanted_is_made_again(way: str) -> None:
    took, response, said = await answered(llm=Halting(way, "well"))
    assert (response.status, said) == ("completed", ANSWER)
    assert took <= FRAME_S


async def test_a_sentence_that_breaks_in_the_middle_before_it_is_wanted_is_spoken_again() -> None:
    took, response, _ = await answered(tts=HaltingVoice("fails", "well"))
    assert response.status == "completed"
    assert took <= FRAME_S


@pytest.mark.parametrize("part", MAKERS)
async def test_what_fails_again_fails_the_response(part: str) -> None:
    _, response, _ = await answered(**{part: MAKERS[part]("fails")})
    assert response.status == "failed"
    assert response.status_details.error.code == "lost"


@pytest.mark.parametrize("way", ["hangs", "fails", "breaks", "slow"])
async def test_a_judge_of_pauses_is_not_waited_for(way: str) -> None:
    semantic = {"type": "semantic_vad", "eagerness": "high"}
    took, response, _ = await answered(eot=Judge(way), detection=semantic)
    assert response.status == "completed"
    assert took <= FRAME_S


async def test_nothing_is_done_twice_for_nobody() -> None:
    begun: list[str] = []
    venture = Venture()

    def attempt(name: str, seconds: float) -> Callable[[Callable[[], bool]], Awaitable[None]]:
        async def work(leads: Callable[[], bool]) -> None:
            begun.append(name)
            await anyio.sleep(seconds)
            if leads():
                begun.append(f"{name} leads")

        return work

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(venture.run, attempt("first", 100), attempt("second", 100))
        await anyio.sleep(50)
        assert begun == ["first"]
        venture.want()
        await anyio.sleep(RELIEF_S + 1)
        assert begun == ["first", "second"]
    assert begun == ["first", "second", "second leads"]


async def test_the_one_with_the_first_result_counts() -> None:
    counted: list[int] = []
    venture = Venture()
    venture.want()
    number = 0

    async def work(leads: Callable[[], bool]) -> None:
        nonlocal number
        number += 1
        mine = number
        await anyio.sleep(RELIEF_S + 1)
        if leads():
            counted.append(mine)
            await anyio.sleep(5)

    await venture.run(work)
    assert (counted, number) == ([1], 2)
