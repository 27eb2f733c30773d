from __future__ import annotations

import pytest

from vivavoce.hosts import is_here, is_near, owner_of


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("api.openai.com", "openai"),
        ("OpenAI.com.", "openai"),
        ("ai.api.cloud.yandex.net", "yandex"),
        ("mine.openai.azure.com", "azure"),
        ("mine.openai.azure.us", "azure"),
        ("openai.com.evil.example", None),
        ("notopenai.com", None),
        ("yandex.net.example", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_whose_a_host_is(host, owner):
    assert owner_of(host) == owner


@pytest.mark.parametrize(
    ("host", "here", "near"),
    [
        ("localhost", True, True),
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("192.168.1.5", False, True),
        ("10.0.0.1", False, True),
        ("nas", False, True),
        ("nas.local", False, True),
        ("8.8.8.8", False, False),
        ("example.org", False, False),
    ],
)
def test_how_near_a_host_is(host, here, near):
    assert (is_here(host), is_near(host)) == (here, near)
