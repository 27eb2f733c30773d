"""What is written down holds no key, whatever holds the key."""

from __future__ import annotations

import json

import pytest

from vivavoce.agent.masking import Mask, is_secret

CANARY = "canary0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"Authorization: Basic {CANARY}",
        f"authorization=Api-Key {CANARY}",
        f"the key is sk-{CANARY}, keep it",
        f"ek_{CANARY}",
        f"sk-proj-{CANARY}",
        f"AQVN{CANARY}",
        f"t1.9euelZ{CANARY}.{CANARY}",
        f"y0_{CANARY}",
        f"wss://user:{CANARY}@example.org/v1",
        f"wss://{CANARY}@example.org/v1/realtime?model=a",
        f"https://example.org/a?x=1&api_key={CANARY}&y=2",
        f"https://example.org/a?access_token={CANARY}#top",
        f"wss://example.org/openai/realtime?api-key={CANARY}",
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}",
        f"ghp_{CANARY}",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        json.dumps({"city": "Paris", "password": CANARY}),
        json.dumps([{"nested": {"apiKey": CANARY}}]),
        json.dumps({"text": json.dumps({"client_secret": CANARY})}),
        json.dumps({"headers": {"X-Anything": CANARY}}),
        json.dumps({"token": {"value": CANARY}}),
        json.dumps({"url": f"https://me:{CANARY}@example.org"}),
    ],
)
def test_secrets_are_masked_once_and_for_all(text: str) -> None:
    masked = Mask().text(text)
    assert CANARY not in masked
    assert "***" in masked
    assert Mask().text(masked) == masked


def test_what_surrounds_a_secret_stays() -> None:
    assert (
        Mask().text("wss://me:pw@example.org:1/v1?model=a&key=b&x=c")
        == "wss://***@example.org:1/v1?model=a&key=***&x=c"
    )
    assert json.loads(Mask().text('{"city": "Łódź", "password": "x"}')) == {"city": "Łódź", "password": "***"}


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "The bearer of good news has a key to the house, and a token of love.",
        '{"city":"Paris",  "unit": "C"}',
        "{not json",
        "https://example.org/path?model=gpt&city=Paris",
        "me@example.org",
        '{"input_tokens": 12, "first_token_ms": 3.5, "max_output_tokens": "inf"}',
        "item_0123456789abcdef",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert Mask().text(text) == text


def test_values_are_masked_wherever_they_are() -> None:
    value = {"a": [1, None, True, {"authorization": CANARY, "server_url": "https://x"}], "key": None, "token": 12}
    assert Mask().value(value) == {
        "a": [1, None, True, {"authorization": "***", "server_url": "https://x"}],
        "key": None,
        "token": "***",
    }


def test_known_secrets_are_found_in_the_middle_of_words() -> None:
    mask = Mask.of_environment({"MY_SERVICE_PASSWORD": CANARY, "HOME": "/home/someone", "A_TOKEN": "short"})
    assert mask.text(f"x{CANARY}y /home/someone short") == "x***y /home/someone short"
    assert Mask([CANARY]).value([CANARY]) == ["***"]


@pytest.mark.parametrize("name", ["key", "api_key", "apiKey", "X-Api-Key", "VIVAVOCE_KEY", "passwd", "refresh_token"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["monkey", "keyboard", "tokens", "total_tokens", "first_token_ms", "spin", "design"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)
