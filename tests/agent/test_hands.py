"""Calls in whole talks: side by side, slow, interrupted, long, and with the person's consent; the model is scripted."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 - a tool reads its annotations
from typing import TYPE_CHECKING

import anyio
import pytest

from vivavoce import tool
from vivavoce.agent.conversation import Called
from vivavoce.agent.functions import Found
from vivavoce.agent.replay import fold
from vivavoce.ports import Call
from vivavoce.realtime.client import Cite, Run, Show
from vivavoce.realtime.conversation import PromptMessage
from vivavoce.realtime.events import TranscriptionCompleted
from vivavoce.realtime.values import Source
from vivavoce.testing.talk import AsyncTalk

if TYPE_CHECKING:
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.testing.engines import Reply

pytestmark = pytest.mark.anyio


def told(prompt: Prompt, role: str = "tool") -> list[str]:
    """Return what a prompt says in a role."""
    return [message.text for message in prompt.messages if message.role == role]


def asks(message: PromptMessage) -> bool:
    """Tell whether the person speaks, not a tool in the person's place."""
    return message.role == "user" and not message.text.startswith("News of ")


def news(message: PromptMessage) -> str:
    """Return what a tool said."""
    return message.text.rsplit(": ", maxsplit=1)[-1].strip('"')


def since_user(prompt: Prompt) -> list[PromptMessage]:
    messages = list(prompt.messages)
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    return messages[last + 1 :]


async def test_calls_run_side_by_side_and_one_answer_follows_all():
    first_waits = anyio.Event()

    @tool
    async def first() -> str:
        """Go first."""
        await first_waits.wait()
        return "one"

    @tool
    async def second() -> str:
        """Go second."""
        first_waits.set()
        return "two"

    async with AsyncTalk(tools=[first, second], replies=[[Call("first", "{}"), Call("second", "{}")], "Both."]) as talk:
        turn = await talk.say("Do both.")
        assert [(each.name, each.result) for each in turn.calls] == [("first", "one"), ("second", "two")]
        assert told(talk.prompts[-1]) == ["one", "two"]
        assert turn.said == "Both."
        assert len(talk.prompts) == 2


async def test_a_call_that_takes_too_long_is_told_as_such():
    @tool(timeout=0.05, filler="")
    async def never() -> None:
        """Take for ever."""
        await anyio.sleep_forever()

    async with AsyncTalk(tools=[never], replies=[[Call("never", "{}")], "It did not answer."]) as talk:
        turn = await talk.say("Try it.")
        assert told(talk.prompts[-1]) == ['{"error":"never did not answer within 0.05 seconds"}']
        assert turn.said == "It did not answer."


async def test_a_call_that_brings_nothing_is_told_as_such():
    @tool
    async def nothing() -> AsyncGenerator[str, None]:
        """Bring nothing."""
        return
        yield

    async with AsyncTalk(tools=[nothing], replies=[[Call("nothing", "{}")], "It brought nothing."]) as talk:
        turn = await talk.say("Try it.")
        assert told(talk.prompts[-1]) == ['{"error":"nothing ended without a result"}']
        assert turn.said == "It brought nothing."


async def test_a_result_that_comes_at_the_moment_of_the_interruption_is_dropped():
    ready = anyio.Event()

    @tool(cancel_on_interrupt=True, filler="")
    async def look() -> str:
        """Look it up."""
        await ready.wait()
        return "found"

    replies: list[Reply] = [[Call("look", "{}")], "All right."]
    async with AsyncTalk(tools=[look], replies=replies, realtime=True) as talk:
        await talk.say("Look it up.", until=Run)
        await anyio.sleep(0.1)  # the response that calls is done
        ready.set()
        talk.agent.say("Never mind.")
        turn = await talk.listen()
        assert turn.said == "All right."
        assert [each.ok for each in talk.turns[0].calls] == [False]


async def test_an_interruption_cancels_what_may_be_cancelled_and_nothing_else():
    ended = []

    @tool(cancel_on_interrupt=True, filler="")
    async def slow() -> None:
        """Take long."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("slow")

    going_on = anyio.Event()

    @tool(filler="")
    async def stubborn() -> str:
        """Take long, too."""
        await going_on.wait()
        ended.append("stubborn")
        return "stubborn to the end"

    def replies(prompt: Prompt):
        match prompt.messages[-1]:
            case PromptMessage(role="user", text="Do it."):
                return [Call("slow", "{}"), Call("stubborn", "{}")]
            case PromptMessage(role="user"):
                return "All right."
            case _:
                return "Stubborn is done."

    async with AsyncTalk(tools=[slow, stubborn], replies=replies, realtime=True) as talk:
        await talk.say("Do it.", until=Run)
        await anyio.sleep(0.1)  # the response that calls is done
        turn = await talk.type("Never mind.", until="All right.")
        assert turn.said == "All right."
        assert ended == ["slow"]
        going_on.set()
        later = await talk.listen(2.0)
        assert "Stubborn is done." in turn.meant + later.meant
        assert ended == ["slow", "stubborn"]
        assert [text for text in told(talk.prompts[-1]) if "interrupted" in text] == [told(talk.prompts[-1])[0]]


async def test_what_runs_long_returns_at_once_and_is_told_when_it_is_done():
    done = anyio.Event()

    @tool(long_running=True)
    async def bake(cake: str) -> str:
        """Bake a cake."""
        await done.wait()
        return f"The {cake} cake is done."

    def replies(prompt: Prompt):
        match prompt.messages[-1]:
            case message if asks(message):
                return [Call("bake", '{"cake": "apple"}')]
            case PromptMessage(role="tool"):
                return "It is in the oven."
            case _:
                return "Your cake is done."

    async with AsyncTalk(tools=[bake], replies=replies) as talk:
        turn = await talk.say("Bake an apple cake.")
        assert turn.said == "It is in the oven."
        done.set()
        assert (await talk.listen()).said == "Your cake is done."
        assert told(talk.prompts[-1], "user")[-1] == 'News of bake: "The apple cake is done."'


async def test_a_generator_tells_its_news_one_by_one():
    steps = [anyio.Event(), anyio.Event()]

    @tool
    async def watch() -> AsyncGenerator[str, None]:
        """Watch the pot."""
        yield "I watch."
        await steps[0].wait()
        yield "It simmers."
        await steps[1].wait()
        yield "It boils."

    def replies(prompt: Prompt):
        last = prompt.messages[-1]
        return [Call("watch", "{}")] if asks(last) else news(last)

    async with AsyncTalk(tools=[watch], replies=replies) as talk:
        assert (await talk.say("Watch the pot.")).said == "I watch."
        steps[0].set()
        assert (await talk.listen()).said == "It simmers."
        steps[1].set()
        assert (await talk.listen()).said == "It boils."


async def test_a_slow_call_is_bridged_once_and_answered_right_after():
    bridged = anyio.Event()

    @tool
    async def look() -> str:
        """Look it up."""
        await bridged.wait()
        return "found"

    replies: list[Reply] = [[Call("look", "{}"), Call("look", "{ }")], "Here it is."]
    async with AsyncTalk(tools=[look], replies=replies, filler_s=0.02, realtime=True) as talk:
        turn = await talk.say("Look it up.", until="One moment.")
        assert turn.said == "One moment."
        bridged.set()
        await talk.listen(2.0)
        assert turn.meant + talk.turns[-1].meant == "One moment.Here it is."
        assert [each.result for each in turn.calls] == ["found"] * 2
        assert len(talk.prompts) == 2, "the model was not asked for the filler"
        assert not any("One moment" in message.text for message in talk.prompts[-1].messages)


async def test_a_quick_call_is_not_bridged():
    @tool
    async def look() -> str:
        """Look it up."""
        return "found"

    async with AsyncTalk(tools=[look], replies=[[Call("look", "{}")], "Here it is."]) as talk:
        assert (await talk.say("Look it up.")).meant == "Here it is."


async def test_sources_are_shown_once_and_recorded(tmp_path):
    bees = Source(title="Bees", url="https://example.org/bees")

    @tool
    def look() -> Found:
        """Look it up."""
        return Found("Bees dance.", (bees,))

    replies: list[Reply] = [[Call("look", "{}")], "Bees dance."]
    async with AsyncTalk(tools=[look], replies=replies, record=str(tmp_path)) as talk:
        turn = await talk.say("What do bees do?")
        assert [event.result.sources for _, event in turn.events if isinstance(event, Called)] == [(bees,)]
        assert not any(isinstance(event, Cite) for _, event in turn.events)
    (folder,) = tmp_path.iterdir()
    assert (folder / "transcript.md").read_text().count("https://example.org/bees") == 1
    assert fold(folder) == []


class Bank:
    """Sends money, if it may."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []
        self.tool = tool(name="send_money", confirm="Shall I send {amount} euros to {name}?")(self.send)

    def send(self, amount: int, name: str) -> str:
        """Send money to somebody."""
        self.sent.append((amount, name))
        return f"{amount} euros were sent to {name}."


SEND = Call("send_money", '{"amount": 10, "name": "Bob"}')


def teller(prompt: Prompt):
    """Call when asked for money, else say what one was told last."""
    last = prompt.messages[-1]
    if asks(last):
        return [SEND] if "money" in last.text else "I have sent it."
    return news(last)


@pytest.mark.parametrize("way", ["say", "type"])
async def test_a_call_with_consequences_waits_for_a_yes(way):
    bank = Bank()
    async with AsyncTalk(tools=[bank.tool], replies=teller) as talk:
        asked = await getattr(talk, way)("Send money to Bob.")
        assert asked.said == "Shall I send 10 euros to Bob?"
        assert bank.sent == []
        agreed = await getattr(talk, way)("Yes, please.", until="were sent")
        assert bank.sent == [(10, "Bob")]
        assert "10 euros were sent to Bob." in agreed.meant
        assert "I have sent it." not in agreed.said, "the model does not know yet"


async def test_words_from_before_the_question_do_not_answer_it():
    bank = Bank()
    async with AsyncTalk(tools=[bank.tool], replies=teller) as talk:
        turn = await talk.say("Send money to Bob.")
        spoken = next(event.item_id for _, event in turn.events if isinstance(event, Show) and event.role == "user")
        talk.agent._take(TranscriptionCompleted(item_id=spoken, content_index=0, transcript="Yes, please."))
        await talk.listen(1.0)
        assert bank.sent == []
        await talk.say("Yes.", until="were sent")
        assert bank.sent == [(10, "Bob")]


async def test_a_key_agrees_as_well():
    bank = Bank()
    async with AsyncTalk(tools=[bank.tool], replies=teller) as talk:
        await talk.say("Send money to Bob.")
        talk.agent.confirm(yes=True)
        assert (await talk.listen()).said == "10 euros were sent to Bob."
        assert bank.sent == [(10, "Bob")]


async def test_a_no_drops_the_call():
    bank = Bank()
    async with AsyncTalk(tools=[bank.tool], replies=teller) as talk:
        await talk.say("Send money to Bob.")
        refused = await talk.say("No, don't.", until="do not want")
        assert bank.sent == []
        assert "you do not want it" in refused.meant
        await talk.say("Yes.")
        assert bank.sent == []


async def test_a_model_that_calls_again_gets_the_one_result():
    bank = Bank()

    def eager(prompt: Prompt):
        return [SEND] if prompt.messages[-1].role == "user" else prompt.messages[-1].text

    async with AsyncTalk(tools=[bank.tool], replies=eager) as talk:
        await talk.say("Send money to Bob.")
        await talk.type("Yes.", until="were sent")
        await talk.listen(2.0)
        assert bank.sent == [(10, "Bob")]


async def test_a_model_that_does_nothing_but_call_is_stopped():
    ran = []

    @tool
    def look(where: str) -> str:
        """Look somewhere."""
        ran.append(where)
        return "nothing"

    def obsessed(prompt: Prompt):
        return "I give up." if prompt.tool_choice == "none" else [Call("look", '{"where": "here"}')]

    async with AsyncTalk(tools=[look], replies=obsessed) as talk:
        turn = await talk.say("Look.")
        assert turn.said == "I give up."
        assert ran == ["here", "here"]
        ran.clear()
        await talk.say("Look again.")
        assert ran == ["here", "here"]


async def test_a_long_result_is_cut_to_the_models_window():
    @tool
    def recite() -> str:
        """Recite."""
        return "word " * 1500

    async with AsyncTalk(tools=[recite], replies=[[Call("recite", "{}")], "Done."]) as talk:
        talk.agent._client._window = 400  # what a small model takes, as our server tells it
        await talk.say("Recite.")
        (output,) = told(talk.prompts[-1])
        assert len(output) < 400
        assert "cut here" in output
