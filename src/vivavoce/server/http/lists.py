"""Lists that are read page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from vivavoce.search.shapes import Order  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.search.shapes import Page


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is asked for."""

    after: str | None = None
    """Id of what stands before it."""
    before: str | None = None
    """Id of what stands behind it."""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Order = "desc"
    """By the time of making."""


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Part of a list."""

    object: Literal["list"] = "list"
    data: tuple[T, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


def listing(page: Page[Any], shown: Callable[[Any], T]) -> Listing[T]:
    """Return a page of the library as it is shown."""
    data = tuple(map(shown, page.items))
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Listing(data=data, first_id=first, last_id=last, has_more=page.has_more)
