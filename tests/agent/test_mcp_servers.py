"""Servers of tools, real ones in processes of their own, as sources of the agent's tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.server.test_mcp import KEY, workshop

from vivavoce import mcp_link
from vivavoce.agent import mcp_servers
from vivavoce.agent.functions import ToolError
from vivavoce.agent.mcp_servers import open_sources, tools_of
from vivavoce.agent.tools import Toolbox
from vivavoce.config import ConfigError, McpServer, load
from vivavoce.config import mcp_servers as servers_of
from vivavoce.ports import Call
from vivavoce.testing.talk import AsyncTalk

if TYPE_CHECKING:
    from vivavoce.agent.mcp_servers import Source

pytestmark = pytest.mark.anyio

PROGRAM = f"{sys.executable} {Path(__file__).with_name('mcp_program.py')}"


def box_of(sources: list[Source], taken: tuple[str, ...] = ()) -> Toolbox:
    return Toolbox(tools_of(sources, taken))


async def output(box: Toolbox, name: str, arguments: str = "{}") -> str:
    return (await box.run(name, arguments)).output


async def test_a_program_brings_its_tools(capfd):
    async with open_sources([McpServer(command=PROGRAM, env={"COLOUR": "red"})]) as sources:
        box = box_of(sources, taken=("calculator",))
        assert [each.name for each in box.definitions()] == ["wipe", "who", "mcp_program_calculator", "die"]
        assert box.conduct("wipe").confirm
        assert not box.conduct("who").confirm
        assert (await output(box, "who")).endswith(" red")
        assert "Error executing" in await output(box, "mcp_program_calculator", '{"question": "1 + 1"}')
    captured = capfd.readouterr()
    assert "noise" not in captured.err + captured.out


async def test_a_program_that_dies_fails_one_call_and_is_started_again(monkeypatch):
    monkeypatch.setattr(mcp_servers, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(mcp_servers, "RETURN_S", 20.0)
    async with open_sources([McpServer(command=PROGRAM)]) as sources:
        box = box_of(sources)
        before = await output(box, "who")
        assert "not known" in await output(box, "die")
        after = await output(box, "who")
    assert before.split()[0].isdigit()
    assert after.split()[0].isdigit()
    assert before != after


async def test_a_program_that_knows_no_ping_is_left_running(monkeypatch):
    monkeypatch.setattr(mcp_servers, "BEAT_S", 0.3)
    async with open_sources([McpServer(command=PROGRAM)]) as sources:
        box = box_of(sources)
        before = await output(box, "who")
        with anyio.move_on_after(1.5):
            await sources[0]._lost.wait()
        assert await output(box, "who") == before


async def test_servers_that_are_away_do_not_hold_up_the_others(monkeypatch):
    monkeypatch.setattr(mcp_servers, "RETURN_S", 0.01)
    servers = servers_of(load({"mcp": ("no-such-program", "http://127.0.0.1:9/mcp", PROGRAM)}, environ={}))
    async with open_sources(servers) as sources:
        assert [bool(source.tools) for source in sources] == [False, False, True]
        assert "no program 'no-such-program'" in sources[0].failure
        with pytest.raises(ToolError, match="cannot be reached"):
            await sources[1].call("x", {})
        assert sources[1].name == "127.0.0.1:9"


@pytest.mark.parametrize("transport", ["mcp", "sse"])
async def test_a_server_on_the_network_brings_its_tools(transport):
    async with workshop(transport) as url:
        server = McpServer(
            url=url, headers={"Authorization": f"Bearer {KEY}"}, tools=("add", "recite"), confirm="always"
        )
        async with open_sources([server]) as sources:
            box = box_of(sources)
            assert [each.name for each in box.definitions()] == ["add", "recite"]
            assert box.conduct("add").confirm
            assert await output(box, "add", '{"a": 2, "b": 3}') == "5"
            assert "cut here" in await output(box, "recite")


async def test_a_server_that_refuses_us_is_told_without_secrets():
    async with workshop() as url:
        async with open_sources([McpServer(url=url, headers={"Authorization": "Bearer wrong"})]) as sources:
            assert sources[0].tools == ()
            assert "wrong" not in sources[0].failure


async def test_a_talk_asks_before_a_tool_that_destroys():
    async with open_sources([McpServer(command=PROGRAM)]) as sources:
        call = Call("wipe", json.dumps({"path": "a.txt"}))
        replies = lambda prompt: [call] if prompt.messages[-1].role == "user" else prompt.messages[-1].text  # noqa: E731
        async with AsyncTalk(tools=tools_of(sources), replies=replies) as talk:
            turn = await talk.type("Wipe it.")
            assert "May I do this: wipe, path a.txt?" in turn.said
            talk.agent.confirm(yes=True)
            assert "a.txt is wiped" in (await talk.listen()).said


async def test_without_the_package_the_remedy_is_named(monkeypatch):
    def missing() -> None:
        raise ModuleNotFoundError("mcp")

    monkeypatch.setattr(mcp_link, "load", missing)
    with pytest.raises(ConfigError, match=r'pip install "vivavoce\[mcp\]"'):
        async with open_sources([McpServer(command=PROGRAM)]):
            pass


def test_settings_take_commands_addresses_and_tables(tmp_path):
    file = tmp_path / "vivavoce.toml"
    file.write_text('mcp = ["uvx shed --fast", {name = "x", url = "https://x.example/mcp", confirm = "never"}]')
    shed, other = servers_of(load(file=file, environ={}))
    assert (shed.command, shed.url) == ("uvx shed --fast", None)
    assert (other.name, other.url, other.confirm) == ("x", "https://x.example/mcp", "never")


@pytest.mark.parametrize("table", ["{}", '{command = "a", url = "https://b"}', '{command = "a", colour = "red"}'])
def test_a_bad_table_is_refused(tmp_path, table):
    file = tmp_path / "vivavoce.toml"
    file.write_text(f"mcp = [{table}]")
    with pytest.raises(ConfigError, match="mcp"):
        load(file=file, environ={})


async def test_connections_end_with_the_talk():
    async with open_sources([McpServer(command=PROGRAM)]) as sources:
        process = anyio.Path(f"/proc/{(await output(box_of(sources), 'who')).split()[0]}")
    with anyio.fail_after(5):
        while await process.exists():  # noqa: ASYNC110 - it cannot be awaited
            await anyio.sleep(0.05)
