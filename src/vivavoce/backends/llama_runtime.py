"""llama.cpp in this process: one completion at a time, streamed, and stopped within a token."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from contextlib import aclosing
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
from anyio import to_thread

from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

log = logging.getLogger("vivavoce.backends")

TALK, FILL, JUDGE = range(3)
"""The slots: each keeps the prompt that it read last, so that the next one starts where it differs."""

_BATCH: Final = 64
"""Prompt tokens read between two looks at whether anybody still waits."""
_REUSED: Final = 32
"""Tokens in the shortest piece of an old prompt that is moved instead of read again."""
_OTHER_PROMPTS_MIB: Final = 128
"""Memory for the prompts of other conversations."""
_TOOL_PROMPTS: Final = 1280
"""Tokens set aside for the slots that serve tools."""
_SPINS: Final = "1000"
"""Turns that an idle OpenMP thread waits awake; its default starves whatever else wants a core."""


class ContextExceeded(BackendError):  # noqa: N818  # a state of the conversation, which is then shortened
    """The prompt has more tokens than the context holds."""

    def __init__(self) -> None:
        super().__init__("context_exceeded", "The conversation is longer than the model's context.")


class Runtime:
    """A loaded model."""

    def __init__(self, path: Path, *, threads: int | None, context: int) -> None:
        """Load a model; takes seconds.

        Args:
            path: a GGUF file.
            threads: for computing; None leaves a core free where there are more than two.
            context: tokens that a conversation may have.

        Raises:
            BackendError: it cannot be loaded.
        """
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
        xllamacpp = _binding()
        self._path = path
        self._key = secrets.token_urlsafe()
        self._limit = context
        self._free = anyio.Semaphore(1)
        self._working = threading.Lock()
        try:
            self._server = xllamacpp.Server(_parameters(path, threads or _spare_threads(), context, self._key))
        except RuntimeError as failure:
            raise BackendError(
                "model_load_failed", f"The language model {path.name} cannot be loaded ({failure}): fetch it again."
            ) from failure

    async def complete(self, prompt: str, *, slot: int, **options: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the pieces of a completion as llama.cpp gives them; waits for its turn, first come, first served.

        Raises:
            ContextExceeded: the prompt is too long.
            BackendError: llama.cpp refuses or fails.
        """
        request = {"prompt": prompt, "id_slot": slot, "stream": True, "return_progress": True, **options}
        async with self._free:
            work = _Work(self._server, request, self._working)
            try:
                while (chunk := await to_thread.run_sync(work.next, abandon_on_cancel=True)) is not None:
                    if slot == TALK and chunk.get("prompt_progress", {}).get("total", 0) > self._limit:
                        raise ContextExceeded
                    yield _checked(chunk)
            finally:
                work.stop()

    async def read(self, prompt: str, *, slot: int, **options: Any) -> None:
        """Read what the next prompt of a slot begins with."""
        async with aclosing(self.complete(prompt, slot=slot, max_tokens=1, **options)) as chunks:
            async for _ in chunks:
                pass

    async def learn(self, prompt: str, *, slot: int) -> None:
        """Read what every prompt of a slot begins with: once, for it is kept beside the model's file."""
        kept = self._kept(prompt, slot)
        if kept.exists() and await to_thread.run_sync(self._act, slot, "restore", kept.name):
            return
        await self.read(prompt, slot=slot)
        unfinished = f"{kept.name}.{secrets.token_hex(4)}"
        if await to_thread.run_sync(self._act, slot, "save", unfinished):
            await to_thread.run_sync(_replace, kept.with_name(unfinished), kept)

    def _kept(self, prompt: str, slot: int) -> Path:
        """Return where a slot that has read a prompt is kept; another model, binding or prompt has another name."""
        read = f"{version('xllamacpp')}\n{self._path.name}\n{self._path.stat().st_size}\n{prompt}"
        return self._path.with_name(f"slot{slot}.{hashlib.sha256(read.encode()).hexdigest()[:16]}.read")

    def _act(self, slot: int, action: Literal["save", "restore"], name: str) -> bool:
        """Save or restore a slot, and tell whether that worked: without it everything works, only later."""
        import httpx

        try:
            httpx.post(
                f"{self._server.listening_address}/slots/{slot}",
                params={"action": action},
                json={"filename": name},
                headers={"Authorization": f"Bearer {self._key}"},
                trust_env=False,  # a proxy cannot reach this process
            ).raise_for_status()
        except httpx.HTTPError as failed:
            log.info("what the language model has read cannot be kept: %s of slot %d: %s", action, slot, failed)
            return False
        return True

    def close(self) -> None:
        """Free the model when what is running has stopped."""
        with self._working:
            del self._server


class _Work:
    """One completion in a thread of its own, which ends at its next token once nobody waits for it."""

    def __init__(self, server: Any, request: dict[str, Any], working: threading.Lock) -> None:
        self._server = server
        self._request = request
        self._working = working
        self._chunks: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="llama", daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """Wait for the next piece, or None at the end."""
        return self._chunks.get()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with self._working:
                if not self._stopped.is_set():
                    self._server.handle_completions(self._request, self._take)
        except Exception as failure:  # noqa: BLE001  # a binding may raise anything; the waiter is told
            self._chunks.put({"error": {"message": str(failure)}})
        finally:
            self._chunks.put(None)

    def _take(self, chunk: dict[str, Any]) -> bool:
        self._chunks.put(chunk)
        return self._stopped.is_set()


def _binding() -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError:
        raise
    except ImportError as missing:
        remedy = "install the OpenMP runtime, on Debian and Ubuntu with `apt-get install libgomp1`"
        raise BackendError("model_load_failed", f"llama.cpp cannot be loaded ({missing}): {remedy}.") from missing
    return xllamacpp


def _checked(chunk: dict[str, Any]) -> dict[str, Any]:
    error = chunk.get("error")
    if error is None:
        return chunk
    if error.get("type") == "exceed_context_size_error":
        raise ContextExceeded
    raise BackendError("language_model_failed", f"The language model failed: {error.get('message', error)}")


def _replace(made: Path, kept: Path) -> None:
    """Put what was kept of a slot in the place of what was kept before."""
    slot = kept.name.partition(".")[0]
    old = [path for path in kept.parent.glob(f"{slot}.*.read") if path != kept]
    made.replace(kept)
    for path in old:
        path.unlink(missing_ok=True)


def _parameters(path: Path, threads: int, context: int, key: str) -> Any:
    from xllamacpp import CommonParams, llama_load_mode

    parameters = CommonParams()
    parameters.model.path = str(path)
    # Mapped, the weights stay in memory a second time, as they are packed for the processor.
    parameters.load_mode = llama_load_mode.LLAMA_LOAD_MODE_NONE
    parameters.n_ctx = context + _TOOL_PROMPTS
    parameters.n_parallel = 3
    parameters.kv_unified = True
    parameters.n_batch = parameters.n_ubatch = _BATCH
    parameters.n_cache_reuse = _REUSED
    parameters.cache_idle_slots = False
    parameters.cache_ram_mib = _OTHER_PROMPTS_MIB
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = 0
    # The binding opens a local HTTP port that cannot be turned off: nobody else knows its key.
    parameters.api_keys = [key]
    parameters.slot_save_path = f"{path.parent}{os.sep}"
    parameters.endpoint_slots = False
    parameters.ui = False
    return parameters


def _spare_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores <= 2 else min(cores - 1, 8)  # noqa: PLR2004
