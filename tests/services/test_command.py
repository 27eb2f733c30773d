"""The real command at the stand-ins of services: what a person reads, and what they must never read."""

from __future__ import annotations

import subprocess

import anyio
import pytest
from tests.scenarios.command import COMMAND, environment
from tests.services.azure import DEPLOYMENT, DatedAzure
from tests.services.emulated import Emulated, Turn
from tests.services.yandex import FOLDER, Yandex

pytestmark = pytest.mark.anyio

SCRIPT = (Turn("Hi", "Good day to you."), Turn("Bye", "Farewell."))
KEYS = {
    "YANDEX_CLOUD_API_KEY": Yandex.key,
    "YANDEX_CLOUD_FOLDER_ID": FOLDER,
    "OPENAI_API_KEY": Emulated.key,
    "AZURE_OPENAI_API_KEY": DatedAzure.key,
    "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
    "OPENAI_API_VERSION": DatedAzure.version,
}


async def command(root, *arguments, typed, **variables):
    """Run the command with its standard input, and return all that it wrote and its exit status."""
    keys = {name: value for name, value in KEYS.items() if name not in variables}
    env = environment(**keys, **variables, AZURE_OPENAI_ENDPOINT=f"http://{root}")
    with anyio.fail_after(60):
        ended = await anyio.run_process(
            [COMMAND, *arguments], input=typed.encode(), env=env, check=False, stderr=subprocess.STDOUT
        )
    told = ended.stdout.decode()
    for secret in (*(value for name, value in KEYS.items() if name.endswith("_KEY")), *variables.values()):
        assert secret not in told
    return told, ended.returncode


@pytest.mark.parametrize(
    ("service", "stand_in", "address"),
    [
        ("yandex", Yandex, ["--url", "ws://{}/v1/realtime"]),
        ("openai", Emulated, ["--url", "ws://{}/v1/realtime?model=gpt-realtime"]),
        ("azure", DatedAzure, []),
    ],
)
async def test_a_conversation_in_writing(service, stand_in, address):
    async with stand_in(*SCRIPT).open(1.0) as root:
        where = [part.format(root) for part in address]
        told, code = await command(root, "-v", "talk", "--service", service, *where, "--text", typed="Hi\nBye\n")
    assert code == 0, told
    assert told.index("Good day to you.") < told.index("Farewell.")
    assert "Traceback" not in told


async def test_a_key_that_is_refused_is_one_sentence():
    async with Emulated().open(1.0) as root:
        where = ("--url", f"ws://{root}/v1/realtime?model=gpt-realtime")
        told, code = await command(
            root, "-v", "talk", "--service", "openai", *where, "--text", typed="Hi\n", OPENAI_API_KEY="sk-no-such-key"
        )
    assert code == 1
    assert "check OPENAI_API_KEY" in told
    assert "Traceback" not in told


async def test_a_model_that_does_not_exist_ends_it():
    async with Yandex().open(1.0) as root:
        where = ("--url", f"ws://{root}/v1/realtime", "--model", "no-such-model")
        told, code = await command(root, "talk", "--service", "yandex", *where, "--text", typed="Hi\n")
    assert code == 1
    assert "Invalid model URI" in told
