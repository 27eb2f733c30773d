"""A private PulseAudio daemon with null sinks: real sound devices on a machine that has none.

PortAudio reaches PulseAudio through ALSA's `pulse` plug-in (Debian: pulseaudio, libasound2-plugins, libportaudio2).
An ALSA configuration of our own, named by ALSA_CONFIG_PATH, lists the daemon's devices and nothing else of the machine:

    cable       playback into the null sink, 1 to 32 channels, up to 384 kHz
    cable end   what was played into it, by the sink's monitor

Three things make it work, each found by measurement:

- A null sink that nobody hurries renders two seconds at once; a recorder that asks for 10 ms keeps it prompt.
- Without `autospawn = no` a client starts another daemon as soon as this one is killed.
- PortAudio reads the configuration when it starts, so it is started again once the environment is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from vivavoce.agent import devices

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = "pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"

ALSA_CONFIG = """
pcm.cable {{ type pulse server "unix:{socket}" device cable }}
pcm."cable end" {{ type pulse server "unix:{socket}" device cable.monitor }}
pcm.default {{ type pulse server "unix:{socket}" }}
"""


class Pulse:
    """A running daemon."""

    def __init__(self, folder: Path, alsa_config: str = ALSA_CONFIG) -> None:
        self.folder = folder
        self.socket = folder / "native"
        self.environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_CLIENTCONFIG": str(folder / "client.conf"),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }
        (folder / "client.conf").write_text("autospawn = no\n")
        (folder / "asound.conf").write_text(alsa_config.format(socket=self.socket))
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemon, again if it was killed, and hurry its sink."""
        self.socket.unlink(missing_ok=True)
        self._daemon = self._spawn(
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--use-pid-file=no",
            "--exit-idle-time=-1",
            "--disable-shm=1",
            "--load=module-null-sink sink_name=cable rate=48000",
            f"--load=module-native-protocol-unix socket={self.socket} auth-anonymous=1",
        )
        self._await_socket()
        self._hurry("cable")

    def plug(self, sink: str, title: str, *, wait: bool = True) -> None:
        """Add a sink, named so that a person can read it, and hurry it."""
        properties = f"sink_properties=device.description={title}"
        load = ["pactl", "load-module", "module-null-sink", f"sink_name={sink}", "rate=48000", properties]
        subprocess.run(load, env=self._env(), check=True, stdout=subprocess.DEVNULL)
        self._hurry(sink, wait=wait)

    def choose(self, sink: str) -> None:
        """Make a sink the default one, as a person does in the settings of a desktop."""
        subprocess.run(["pactl", "set-default-sink", sink], env=self._env(), check=True)

    def playing(self) -> set[str]:
        """Return the names of the sinks into which somebody plays."""
        sinks = {row[0]: row[1] for row in self._list("sinks")}
        return {sinks[row[1]] for row in self._list("sink-inputs")}

    def unplug(self) -> None:
        """Take the devices away, as if a cable were pulled."""
        subprocess.run(["pactl", "unload-module", "module-null-sink"], env=self._env(), check=True)

    def kill(self) -> None:
        """End the daemon without warning."""
        self._daemon.send_signal(signal.SIGKILL)
        self._daemon.wait()

    def stop(self) -> None:
        """End everything that was started."""
        for process in reversed(self._running):
            process.kill()
            process.wait()

    def _list(self, what: str) -> list[list[str]]:
        command = ["pactl", "list", "short", what]
        listed = subprocess.run(command, env=self._env(), check=True, capture_output=True, text=True).stdout
        return [line.split("\t") for line in listed.splitlines()]

    def _hurry(self, sink: str, *, wait: bool = True) -> None:
        self._spawn("parec", "--latency-msec=10", f"--device={sink}.monitor", "--raw")
        if wait:
            time.sleep(2.2)  # the two seconds that the sink renders before anyone hurries it

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, env=self._env(), stdout=subprocess.DEVNULL, stderr=log)
        self._running.append(process)
        return process

    def _await_socket(self) -> None:
        for _ in range(100):
            if self.socket.exists():
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def _env(self) -> dict[str, str]:
        return os.environ | self.environment


@contextmanager
def running(folder: Path, alsa_config: str = ALSA_CONFIG) -> Iterator[Pulse]:
    """Run a daemon whose runtime files are in the folder, and have PortAudio see its devices and no others.

    Skips the test where PulseAudio is not installed, except in CI, which installs it.
    """
    missing = [name for name in ("pulseaudio", "pactl", "parec") if shutil.which(name) is None]
    missing += [name for name in ("portaudio", "asound") if find_library(name) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{', '.join(missing)} missing: sudo apt-get install {PACKAGES}")
    pulse = Pulse(folder, alsa_config)
    with ExitStack() as stack:
        stack.callback(pulse.stop)
        pulse.start()
        stack.callback(devices.refresh_devices)
        stack.enter_context(mock.patch.dict(os.environ, pulse.environment))
        devices.refresh_devices()
        yield pulse
