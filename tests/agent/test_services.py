from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from vivavoce.agent.services import find, session_settings
from vivavoce.config import ConfigError, Settings

YANDEX = {"YANDEX_CLOUD_API_KEY": "AQVNkey", "YANDEX_CLOUD_FOLDER_ID": "b1g"}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {}, "x-utterances": ["will it rain"]},
}


def asked(settings, environ, **options):
    service = find(settings, environ)
    return service, session_settings(settings, service, [TOOL], **options)


def test_the_embedded_server_is_asked_for_our_extensions_and_sees_the_utterances():
    service, session = asked(Settings(), {})
    assert service.url == ""
    assert session["vivavoce"] == {"partials": True, "timings": True}
    assert session["tools"] == [TOOL]
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 400


def test_a_typed_conversation_asks_for_text():
    assert asked(Settings(), {}, spoken=False)[1]["output_modalities"] == ["text"]


def test_openai_gets_its_key_and_nothing_of_ours():
    service, session = asked(Settings(service="openai", voice="marin"), {"OPENAI_API_KEY": "sk-1"})
    assert parse_qs(urlsplit(service.url).query) == {"model": ["gpt-realtime"]}
    assert service.headers == {"Authorization": "Bearer sk-1"}
    assert "vivavoce" not in session
    assert "x-utterances" not in session["tools"][0]["parameters"]
    assert session["audio"]["output"]["voice"] == "marin"


def test_yandex_gets_the_folder_in_the_model_its_rate_and_its_own_tools():
    service, session = asked(Settings(service="yandex"), YANDEX | {"VECTOR_STORE_ID": "fvt1"})
    assert service.url.endswith("?model=gpt://b1g/speech-realtime-260528")
    assert service.headers == {"Authorization": "Api-Key AQVNkey"}
    assert session["audio"]["output"]["format"]["rate"] == service.out_rate == 44_100
    assert [tool["name"] for tool in session["tools"]] == ["get_weather", "web_search", "file_search"]
    assert session["tools"][2]["description"] == "fvt1"


def test_an_iam_token_is_a_bearer_and_a_whole_model_uri_is_kept():
    environ = YANDEX | {"YANDEX_CLOUD_API_KEY": "t1.token"}
    service = find(Settings(service="yandex", model="gpt://other/speech"), environ)
    assert service.headers == {"Authorization": "Bearer t1.token"}
    assert service.url.endswith("?model=gpt://other/speech")


@pytest.mark.parametrize(
    ("service", "environ", "missing"),
    [
        ("openai", {}, "OPENAI_API_KEY"),
        ("yandex", {}, "YANDEX_CLOUD_API_KEY"),
        ("yandex", {"YANDEX_CLOUD_API_KEY": "k"}, "YANDEX_CLOUD_FOLDER_ID"),
    ],
)
def test_a_missing_key_is_named(service, environ, missing):
    with pytest.raises(ConfigError, match=missing):
        find(Settings(service=service), environ)


def test_keys_are_not_shown():
    assert "AQVNkey" not in repr(find(Settings(service="yandex"), YANDEX))


def test_a_url_keeps_its_own_model():
    url = "ws://127.0.0.1:1/v1/realtime?model=mine"
    assert find(Settings(url=url, model="other"), {}).url == url
    assert find(Settings(url="ws://127.0.0.1:1/v1/realtime", model="m"), {}).url.endswith("/v1/realtime?model=m")
