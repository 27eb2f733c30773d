"""The cache of verified models, and how a missing one gets there."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vivavoce.errors import VivavoceError
from vivavoce.models.download import SourceError, length
from vivavoce.models.progress import OnProgress, Phase, Progress, ignore
from vivavoce.models.proofs import forget, is_proven, is_sound, locked, remember
from vivavoce.models.schema import Courier, File, Model
from vivavoce.models.sources import Network, bring, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class ModelError(VivavoceError):
    """A model cannot be had, and what to do about it.

    The codes: `unknown`, `missing`, `damaged`, `offline`, `unavailable`, `disk_full`, `cache` and `bundled`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Store:
    """A catalogue and the directory that caches its models; safe to use from threads and processes.

    Args:
        models: the catalogue.
        root: the cache; `models/NAME/` holds what is verified, `partial/NAME/` what is on its way.
    """

    def __init__(self, models: Mapping[str, Model], root: Path) -> None:
        self.models = models
        self.root = root

    def directory(self, model: Model) -> Path:
        """Where the model's files lie once they are there."""
        if model.bundled:
            return Path(str(resources.files("vivavoce") / "assets"))
        return self.root / "models" / model.name

    def path(self, name: str) -> Path | None:
        """The directory of a complete and verified model, else None; uses no network."""
        model = self._model(name)
        return None if self._missing(model) else self.directory(model)

    def installed(self) -> list[str]:
        """The names of the models that are complete and verified."""
        return [name for name in self.models if self.path(name)]

    def fetch(self, name: str, *, progress: OnProgress | None = None, offline: bool = False) -> Path:
        """The directory of the model, whose missing files are fetched.

        Args:
            name: as in the catalogue.
            progress: told of each step, in the calling thread.
            offline: use no network, only the cache and VIVAVOCE_MODELS_FROM.

        Raises:
            ModelError: it cannot be had.
        """
        if found := self.path(name):
            return found
        model = self._model(name)
        if model.bundled:
            raise ModelError("damaged", f"The files of {name} inside this package are damaged: reinstall vivavoce.")
        with self._plain_errors(), locked(self.root / "partial" / f"{name}.lock"), Network() as network:
            self._fill(model, network, progress or ignore, offline=offline)
        return self.directory(model)

    def pull(self, names: Iterable[str], *, progress: OnProgress | None = None) -> list[Path]:
        """Fetch several models, one after the other."""
        return [self.fetch(name, progress=progress) for name in names]

    def verify(self, name: str) -> Path:
        """Hash every file of a model again.

        Raises:
            ModelError: a file is not there, or is not what it should be; it will be fetched again.
        """
        model = self._model(name)
        directory = self.directory(model)
        if not model.bundled:
            forget(directory)
        if bad := self._missing(model):
            code = "damaged" if any((directory / file.name).exists() for file in bad) else "missing"
            names = ", ".join(file.name for file in bad)
            raise ModelError(code, f"{name} lacks a sound {names} in {directory}: run `vivavoce models pull {name}`.")
        return directory

    def remove(self, name: str) -> None:
        """Delete a model, and what has come of it, from the cache."""
        model = self._model(name)
        if model.bundled:
            raise ModelError("bundled", f"{name} is part of this package: uninstall vivavoce to remove it.")
        with self._plain_errors(), locked(self.root / "partial" / f"{name}.lock"):
            shutil.rmtree(self.directory(model), ignore_errors=True)
            shutil.rmtree(self._work(model), ignore_errors=True)

    def _model(self, name: str) -> Model:
        if name not in self.models:
            known = ", ".join(self.models)
            raise ModelError("unknown", f"There is no model {name!r}; choose one of {known}.")
        return self.models[name]

    def _work(self, model: Model) -> Path:
        return self.root / "partial" / model.name

    def _fill(self, model: Model, network: Network, progress: OnProgress, *, offline: bool) -> None:
        """Fetch what is missing, under the model's lock: another process may have done it meanwhile."""
        missing = self._missing(model)
        if not missing:
            return
        work, directory = self._work(model), self.directory(model)
        work.mkdir(parents=True, exist_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        self._check_room(missing, work)
        for file in missing:
            target = work / file.sha256
            source = self._obtain(model, file, target, network, progress, offline=offline)
            _sync(target)
            remember(target.replace(directory / file.name), file)
            progress(Progress(model.name, file.name, file.size, file.size, source, "done"))
        shutil.rmtree(work)

    def _obtain(
        self, model: Model, file: File, target: Path, network: Network, progress: OnProgress, *, offline: bool
    ) -> str:
        """Try the sources in order until one gives the file; returns its name."""

        def report(phase: Phase, done: int, total: int, source: str) -> None:
            progress(Progress(model.name, file.name, done, total, source, phase))

        reasons = []
        for source in (*_directories(model, file), *(() if offline else file.sources)):
            try:
                bring(network, source, file, target, report)
            except SourceError as error:
                reasons.append(f"{name_of(source)}: {error}")
            else:
                return name_of(source)
        raise self._unavailable(model, file, reasons, offline=offline)

    def _unavailable(self, model: Model, file: File, reasons: list[str], *, offline: bool) -> ModelError:
        remedy = (
            f"run `vivavoce models pull {model.name}` on a machine with a network and copy its "
            f"{self.directory(model)} here, or set VIVAVOCE_MODELS_FROM to a directory with the files."
        )
        tried = "; ".join(reasons) or "no source was tried"
        if offline:
            return ModelError("offline", f"{file.name} of {model.name} is not here ({tried}): {remedy}")
        return ModelError("unavailable", f"{file.name} of {model.name} could not be fetched ({tried}): {remedy}")

    def _missing(self, model: Model) -> list[File]:
        check = is_proven if model.bundled else is_sound
        return [file for file in model.files if not check(self.directory(model) / file.name, file)]

    def _check_room(self, missing: list[File], work: Path) -> None:
        """Refuse early what cannot fit: the files, and the largest archive of each on its way."""
        couriers = [source for file in missing for source in file.sources if isinstance(source, Courier)]
        largest = [max(courier.archives, key=lambda archive: archive.size) for courier in couriers]
        transit = {archive.sha256: archive.size for archive in largest}
        here = sum(length(path) for path in work.iterdir())
        needed = sum(file.size for file in missing) + sum(transit.values()) - here
        if shutil.disk_usage(work).free < needed:
            raise self._disk_full(f"{needed / 1e6:.0f} MB more are needed")

    def _disk_full(self, detail: str) -> ModelError:
        remedy = "make room, or set VIVAVOCE_CACHE to a directory on a larger disk; what has come is kept"
        return ModelError("disk_full", f"The disk of the model cache {self.root} is full ({detail}): {remedy}.")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise self._disk_full("it ran out of space") from error
            remedy = "make it writable, or set VIVAVOCE_CACHE to another directory"
            raise ModelError("cache", f"The model cache {self.root} cannot be used ({error}): {remedy}.") from error


def _directories(model: Model, file: File) -> list[Path]:
    """Where VIVAVOCE_MODELS_FROM may hold the file: a plain directory, or a copy of a cache."""
    if not (base := os.environ.get("VIVAVOCE_MODELS_FROM")):
        return []
    places = [Path(base) / "models" / model.name, Path(base) / model.name, Path(base)]
    return [place for place in places if (place / file.name).is_file()] or [Path(base)]


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name: a crash must not leave a stamped file of holes."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
