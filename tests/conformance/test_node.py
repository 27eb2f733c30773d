"""The official JavaScript packages, in Node: every frame by the agent framework's own schemas, and over TLS."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from tests.conformance.conftest import HEARD, STORY, TIME
from tests.conformance.order import BARGE_IN, CALL, ITEM_CREATED, SPOKEN_ANSWER, SPOKEN_TURN, WRITTEN_ANSWER, Log, shape
from tests.npm import NODE, NPM, installed

if TYPE_CHECKING:
    from tests.server.conftest import Serving

    from vivavoce.server.hub import Hub

SCRIPTS = Path(__file__).with_name("node")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not (NODE and NPM), reason="Node and npm are missing; install nodejs and npm"),
]


@pytest.fixture(scope="session")
def packages() -> Path:
    """Return the folder of the packages; they are fetched once for each list of them."""
    return installed(SCRIPTS / "package.json")


@pytest.fixture
def workshop(packages: Path, tmp_path: Path, speech: list[bytes]) -> Path:
    """Return a folder with the scripts, their packages and an utterance."""
    for script in SCRIPTS.iterdir():
        shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "speech.pcm").write_bytes(b"".join(speech))
    return tmp_path


async def run(script: str, workshop: Path, url: str, **environment: str) -> tuple[Any, Any]:
    """Return what the two sessions of a script told."""
    with anyio.fail_after(120):
        finished = await anyio.run_process(
            [str(NODE), script, url, "speech.pcm"], cwd=workshop, env=os.environ | environment, check=False
        )
    assert finished.returncode == 0, finished.stderr.decode()
    first, second = json.loads(finished.stdout)
    return first, second


def check_every_flow(frames: list[Any]) -> list[Any]:
    """Check a spoken turn, a typed one, a function call and a barge-in, in this order, and return the responses."""
    log = Log.of(frames)
    log.finish()
    flows = shape(frames)
    calls_weather = [*ITEM_CREATED, *CALL, *ITEM_CREATED, *SPOKEN_ANSWER]
    expected = [*SPOKEN_TURN, *ITEM_CREATED, *SPOKEN_ANSWER, *calls_weather, *ITEM_CREATED]
    start = flows.index("input_audio_buffer.speech_started")
    assert flows[start : start + len(expected)] == expected
    last = len(flows) - 1 - flows[::-1].index("input_audio_buffer.speech_started")
    assert flows[last : last + len(BARGE_IN)] == BARGE_IN
    assert log.all("conversation.item.input_audio_transcription.completed")[0]["transcript"] == HEARD
    responses: list[Any] = [frame["response"] for frame in log.all("response.done")]
    spoken, typed, call, told, story, answer = responses
    assert [said(one) for one in (spoken, typed, told, answer)] == [TIME, TIME, "Outside it is sunny in Oslo.", TIME]
    assert call["output"][0]["arguments"] == '{"city": "Oslo"}'
    assert story["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert STORY.startswith(said(story))
    return responses


def said(response: Any) -> str:
    (item,) = response["output"]
    return str(item["content"][0]["transcript"])


async def test_agents(hub: Hub, serving: Serving, workshop: Path) -> None:
    async with serving(hub) as url:
        first, second = await run("agents.mjs", workshop, f"{url}?model=gpt-realtime")
    for told in (first, second):
        assert told["errors"] == []
        refused = [frame for frame in told["frames"] if frame["event_id"] not in set(told["understood"])]
        assert refused == []
        assert told["usage"]["inputTokens"] > 0
        assert told["usage"]["outputTokens"] > 0
        assert shape(told["frames"])[:2] == ["session.created", "session.updated"]
    *_, story, _ = check_every_flow(first["frames"])
    assert first["interruptions"] > 0
    assert Log.of(first["frames"]).only("conversation.item.truncated")["item_id"] == story["output"][0]["id"]
    assert [item.get("output") for item in first["history"] if item["type"] == "function_call"] == ["sunny in Oslo"]
    assert [remembered(item) for item in second["history"]] == ["What time is it?", TIME]


def remembered(item: Any) -> str:
    part = item["content"][0]
    return str(part.get("text") or part.get("transcript"))


async def test_openai_over_tls(hub: Hub, serving: Serving, workshop: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(workshop / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(workshop / "server.pem")
    async with serving(hub, certfile=workshop / "server.pem") as url:
        first, second = await run("openai.mjs", workshop, url, NODE_EXTRA_CA_CERTS=str(workshop / "ca.pem"))
    assert (first["errors"], second["errors"]) == ([], [])
    check_every_flow(first["frames"])
    log = Log.of(second["frames"])
    log.finish()
    assert shape(log.frames)[2:] == ITEM_CREATED + WRITTEN_ANSWER
