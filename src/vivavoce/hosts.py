"""Whose a host is: only the maker of a key is sent it without being named."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

Owner: TypeAlias = Literal["yandex", "openai", "azure"]

DOMAINS: Final[dict[Owner, tuple[str, ...]]] = {
    "yandex": ("yandex.net",),
    "openai": ("openai.com",),
    "azure": ("azure.com", "azure.us", "azure.cn"),
}


def owner_of(host: str) -> Owner | None:
    """Return whose service runs on a host, as far as we know the service."""
    name = host.lower().rstrip(".")
    for owner, domains in DOMAINS.items():
        if any(name == domain or name.endswith(f".{domain}") for domain in domains):
            return owner
    return None


def is_here(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_near(host: str) -> bool:
    """Tell whether a host is this machine or in its network: private addresses, and names that no registrar sells."""
    try:
        return ip_address(host).is_private
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((".local", ".lan", ".internal", ".home.arpa"))
