"""Tools of a remote server, a real one in a process of its own, through the official client and its types."""

from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import fail_after
from anyio.streams.text import TextReceiveStream
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from tests.server.clients import until_sessions

from vivavoce.ports import Call
from vivavoce.realtime.remote import CUT, MAX_OUTPUT
from vivavoce.server import mcp
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.server.conftest import Serving

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

FRAMES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
KEY = "open sesame"
CALLED = [
    "response.output_item.added",
    "conversation.item.added",
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
]


@asynccontextmanager
async def workshop(transport: str = "mcp", port: str = "0") -> AsyncIterator[str]:
    """Run the remote server and yield its URL."""
    program = str(Path(__file__).parent / "mcp_process.py")
    async with await anyio.open_process(
        [sys.executable, program, transport, port], stdout=PIPE, stderr=None
    ) as process:
        assert process.stdout is not None
        try:
            with fail_after(30):
                url = (await TextReceiveStream(process.stdout).receive()).strip()
            yield url
        finally:
            process.kill()


class Client:
    """The official client; each frame is checked by its own types."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def until(self, last: str, count: int = 1) -> list[Any]:
        """Return what comes up to the frame of this type."""
        events: list[Any] = []
        while sum(event.type == last for event in events) < count:
            events.append(await self.next())
        return events

    async def next(self) -> Any:
        """Return the next frame."""
        with fail_after(20):
            return FRAMES.validate_json(await self.connection.recv_bytes(), strict=False)

    async def declare(self, *tools: dict[str, Any]) -> None:
        session = {"type": "realtime", "output_modalities": ["text"], "tools": list(tools)}
        await self.connection.session.update(session=session)

    async def import_from(self, url: str, **options: Any) -> list[Any]:
        """Declare a server and return what comes until its tools are known."""
        await self.declare(tool(url, **options))
        return await self.until("mcp_list_tools.completed")

    async def ask(self, **response: Any) -> None:
        content = [{"type": "input_text", "text": "Go on."}]
        await self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await self.connection.response.create(response=response)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    official = AsyncOpenAI(api_key="none", websocket_base_url=url.removesuffix("/realtime"))
    async with official, official.realtime.connect(model="gpt-realtime") as connection:
        client = Client(connection)
        await client.until("session.created")
        yield client


def tool(url: str, label: str = "workshop", **options: Any) -> dict[str, Any]:
    declared = {"type": "mcp", "server_label": label, "server_url": url, "authorization": KEY}
    return declared | {"require_approval": "never"} | options


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def outcome(events: list[Any]) -> Any:
    """The call as it ended."""
    done = [event.item for event in events if event.type == "conversation.item.done"]
    return next(item for item in done if item.type == "mcp_call")


@pytest.mark.parametrize("transport", ["mcp", "sse"])
async def test_import_call_and_answer(engines: Make, serving: Serving, transport: str) -> None:
    llm = ScriptedLanguageModel([[Call("add", '{"a": 2, "b": 3}')], "Five."])
    async with workshop(transport) as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        imported = await client.import_from(remote, allowed_tools={"read_only": True})
        assert kinds(imported) == [
            "session.updated",
            "mcp_list_tools.in_progress",
            "conversation.item.added",
            "conversation.item.done",
            "mcp_list_tools.completed",
        ]
        assert KEY not in imported[0].to_json()
        (only,) = imported[3].item.tools
        assert (only.name, only.description) == ("add", "Add two numbers.")
        assert only.input_schema["required"] == ["a", "b"]
        assert only.annotations["readOnlyHint"] is True
        await client.ask()
        events = await settled(client)
        called = kinds(events)[kinds(events).index("response.output_item.added") :]
        assert called[:5] == [*CALLED, "response.mcp_call.in_progress"]
        assert outcome(events).output == "5"
        await client.connection.response.create()
        assert (await client.until("response.done"))[-1].response.output[0].content[0].text == "Five."
    assert [one.name for one in llm.prompts[0].tools] == ["add"]
    assert llm.prompts[-1].messages[-1].text == '{"output":"5"}'


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("explode", "{}", {"type": "tool_execution_error"}),
        ("add", '{"a": "two"}', {"type": "tool_execution_error"}),
        ("add", "2, 3", {"type": "protocol_error", "code": -32602}),
        ("unavailable", "{}", {"type": "http_error", "code": 503, "message": "Service Unavailable"}),
    ],
)
async def test_a_call_that_fails(
    engines: Make, serving: Serving, name: str, arguments: str, error: dict[str, Any]
) -> None:
    llm = ScriptedLanguageModel([[Call(name, arguments)], [Call("add", '{"a": 2, "b": 3}')], "Well."])
    async with workshop() as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        await client.import_from(remote)
        await client.ask()
        events = await settled(client)
        assert "response.mcp_call.failed" in kinds(events)
        told = outcome(events).error.to_dict()
        assert told | error == told
        await client.connection.response.create()
        assert outcome(await settled(client)).output == "5"


async def settled(client: Client) -> list[Any]:
    """Return what comes until both the response and its call have ended."""
    events: list[Any] = []
    ended: set[str] = set()
    while len(ended) < 2:
        event = await client.next()
        events.append(event)
        if event.type == "rate_limits.updated" or (
            event.type == "conversation.item.done" and event.item.type == "mcp_call"
        ):
            ended.add(event.type)
    return events


async def test_credentials_go_to_the_server_and_nowhere_else(
    engines: Make, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vivavoce")
    llm = ScriptedLanguageModel([[Call("whoami", "{}")]])
    async with workshop() as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        events = await client.import_from(remote, headers={"X-Team": "hidden colours"})
        assert not any(KEY in event.to_json() or "hidden colours" in event.to_json() for event in events)
        await client.ask()
        assert outcome(await settled(client)).output == f"Bearer {KEY} of hidden colours"
        await client.declare(tool(remote, authorization="wrong"), tool("http://127.0.0.1:1/mcp", "nobody"))
        events = await client.until("mcp_list_tools.failed", 2)
        assert [event.item.tools for event in events if event.type == "conversation.item.done"] == [[], []]
        await client.ask(tools=[])
        await client.until("response.done")
    assert "nobody" in caplog.text
    assert KEY not in caplog.text


async def test_a_person_agrees_or_does_not(engines: Make, serving: Serving) -> None:
    llm = ScriptedLanguageModel([[Call("add", '{"a": 2, "b": 3}'), Call("whoami", "{}")], "Done."])
    approval = {"always": {"tool_names": ["add"]}}
    async with workshop() as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        await client.import_from(remote, require_approval=approval)
        await client.ask()
        events = await settled(client)
        assert outcome(events).name == "whoami"
        asked = next(e.item for e in events if e.type == "conversation.item.done" and "request" in e.item.type)
        answer = {"type": "mcp_approval_response", "id": "yes", "approval_request_id": asked.id, "approve": True}
        await client.connection.conversation.item.create(item=answer)
        events = await client.until("response.mcp_call.completed") + await client.until("conversation.item.done")
        assert (outcome(events).output, outcome(events).approval_request_id) == ("5", asked.id)
        await client.connection.conversation.item.create(item=answer | {"id": "again"})
        refused = await client.until("error")
        assert refused[-1].error.param == "item.approval_request_id"


async def test_what_is_too_long_is_cut_and_what_takes_too_long_is_given_up(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = ScriptedLanguageModel([[Call("recite", "{}")], [Call("sleep", '{"seconds": 60}')]])
    async with workshop() as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        await client.import_from(remote)
        await client.ask()
        said = outcome(await settled(client)).output
        assert (len(said), said.endswith(CUT)) == (MAX_OUTPUT + len(CUT), True)
        monkeypatch.setattr(mcp, "CALLING_S", 0.2)
        await client.connection.response.create()
        assert "did not return within" in outcome(await settled(client)).error.message


async def test_a_slow_tool_holds_up_nobody(engines: Make, serving: Serving) -> None:
    """Neither the response that called it, nor the next one, nor another session, nor the end of its own."""
    llm = ScriptedLanguageModel([[Call("sleep", '{"seconds": 60}')], "Meanwhile."])
    hub = Hub(engines(llm))
    async with workshop() as remote, serving(hub) as url, connected(url) as client:
        async with connected(url) as patient:
            await patient.import_from(remote)
            await patient.ask()
            assert (await patient.until("response.done"))[-1].response.status == "completed"
            await patient.ask()
            assert (await patient.until("response.done"))[-1].response.output[0].content[0].text == "Meanwhile."
            await client.ask()
            await client.until("response.done")
        await until_sessions(hub, 1)


async def test_a_server_that_comes_back_is_used_again(engines: Make, serving: Serving) -> None:
    llm = ScriptedLanguageModel([[Call("add", '{"a": 2, "b": 3}')]])
    async with serving(Hub(engines(llm))) as url, connected(url) as client:
        async with workshop() as remote:
            await client.import_from(remote)
        await client.ask()
        assert outcome(await settled(client)).error.type == "protocol_error"
        async with workshop(port=remote.split(":")[2].split("/")[0]):
            await client.connection.response.create()
            assert outcome(await settled(client)).output == "5"


async def test_tools_of_one_response(engines: Make, serving: Serving) -> None:
    llm = ScriptedLanguageModel([[Call("add", '{"a": 2, "b": 3}')]])
    async with workshop() as remote, serving(Hub(engines(llm))) as url, connected(url) as client:
        choice = {"type": "mcp", "server_label": "workshop", "name": "add"}
        await client.ask(tools=[tool(remote)], tool_choice=choice)
        assert outcome(await settled(client)).output == "5"
    assert llm.prompts[0].tool_choice == "add"
