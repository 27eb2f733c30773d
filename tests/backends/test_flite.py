from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import jiwer
import numpy as np
import pytest

from vivavoce.backends.flite import CHUNK, Flite
from vivavoce.ports import BackendError

pytestmark = [pytest.mark.anyio, pytest.mark.speech]
installed = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed: apt install flite")

SENTENCES = [
    "It will rain in the afternoon.",
    "The library is closed on Monday.",
    "Would you like me to book a table?",
    "Please turn left after the bridge.",
]


async def spoken(text, **options):
    chunks = [chunk async for chunk in Flite().speak(text, **options)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


@installed
@pytest.mark.parametrize("voice", Flite.voices)
async def test_what_it_says_can_be_understood(read_back, words, voice):
    heard = [words(await read_back(await spoken(sentence, voice=voice), Flite.sample_rate)) for sentence in SENTENCES]
    assert jiwer.wer([words(sentence) for sentence in SENTENCES], heard) < 0.25


@installed
async def test_voices_differ_and_an_unknown_one_is_the_first():
    slt, rms, nobody = [await spoken("Hello.", voice=voice) for voice in ("slt", "rms", "nobody")]
    assert len(slt) != len(rms)
    np.testing.assert_array_equal(slt, nobody)


@installed
async def test_speed():
    slow, normal, quick = [len(await spoken(SENTENCES[0], speed=speed)) for speed in (0.5, 1.0, 2.0)]
    assert slow > 1.5 * normal > 2.2 * quick


@installed
async def test_chunks_are_a_tenth_of_a_second():
    chunks = [chunk async for chunk in Flite().speak(SENTENCES[0])]
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}


@installed
@pytest.mark.parametrize("text", ["-o /dev/null hello", "--help me", '$(ls) `ls`; it\'s "quoted"\x00'])
async def test_text_is_never_an_option_or_a_command(text):
    assert (await spoken(text)).size > CHUNK


@pytest.mark.parametrize("text", ["", "...", "😀"])
async def test_what_cannot_be_spoken_is_silent(text):
    assert not (await spoken(text)).size


async def until(true):
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110 - nobody tells when a process begins or ends
            await anyio.sleep(0.01)


def children():
    """Return the numbers of the running flite processes that this one started."""
    mine = Path("/proc/self/task").glob("*/children")
    numbers = [number for listing in mine for number in listing.read_text().split()]
    return [number for number in numbers if name_of(number) == "flite"]


def name_of(number):
    """Return the name of a process, or nothing of one that has ended since it was listed."""
    try:
        return Path(f"/proc/{number}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@installed
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the kernel does not list processes here")
async def test_cancellation_kills_the_process():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spoken, "All work and no play makes a dull day. " * 2000)
        await until(children)
        tasks.cancel_scope.cancel()
    await until(lambda: not children())


async def test_without_the_program_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BackendError, match="apt install flite"):
        await spoken("Hello.")


async def test_a_failure_tells_why(monkeypatch, tmp_path):
    program = tmp_path / "flite"
    program.write_text("#!/bin/sh\necho out of voice >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="out of voice"):
        await spoken("Hello.")
