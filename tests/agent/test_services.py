from __future__ import annotations

from typing import Any
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
    assert session["vivavoce"] == {"partials": True, "timings": True, "adaptive": True, "considerate": True}
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
    assert service.headers == {
        "Authorization": "Api-Key AQVNkey",
        "OpenAI-Project": "b1g",
        "x-data-logging-enabled": "false",
    }
    assert session["audio"]["output"]["format"]["rate"] == service.out_rate == 44_100
    assert [tool["name"] for tool in session["tools"]] == ["get_weather", "web_search", "file_search"]
    assert session["tools"][2]["description"] == "fvt1"


@pytest.mark.parametrize(
    ("environ", "authorization"),
    [
        ({"YANDEX_CLOUD_API_KEY": "t1.token"}, "Bearer t1.token"),
        ({"YANDEX_CLOUD_IAM_TOKEN": "token"}, "Bearer token"),
        ({"YANDEX_CLOUD_IAM_TOKEN": "t1.token", "YANDEX_CLOUD_API_KEY": "AQVN"}, "Api-Key AQVN"),
    ],
)
def test_an_iam_token_is_a_bearer_and_a_whole_model_uri_is_kept(environ, authorization):
    service = find(Settings(service="yandex", model="gpt://other/speech"), environ)
    assert service.headers["Authorization"] == authorization
    assert service.headers["OpenAI-Project"] == "other"
    assert service.url.endswith("?model=gpt://other/speech")


def test_the_first_generation_of_yandex_is_spoken_to_as_its_sample_does():
    url = "wss://rest-assistant.api.cloud.yandex.net/v1/realtime/openai"
    service = find(Settings(service="yandex", url=url, model="speech-realtime-250923"), YANDEX)
    assert service.url == f"{url}?model=gpt://b1g/speech-realtime-250923"
    assert service.headers["Authorization"] == "api-key AQVNkey"


@pytest.mark.parametrize("index", ["", "fvt1"])
def test_our_functions_do_not_take_the_names_that_yandex_keeps(index):
    names = ("web_search", "file_search", "add")
    ours: list[dict[str, Any]] = [{"type": "function", "name": name, "parameters": {}} for name in names]
    service = find(Settings(service="yandex"), YANDEX | {"VECTOR_STORE_ID": index})
    told = [tool["name"] for tool in session_settings(Settings(), service, ours)["tools"]]
    assert told == ["add", "web_search"] + ["file_search"] * bool(index)


def test_organisation_and_project_go_to_openai_but_not_with_an_ephemeral_key():
    belongs = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"}
    service = find(Settings(service="openai"), belongs | {"OPENAI_API_KEY": "sk-1"})
    assert (service.headers["OpenAI-Organization"], service.headers["OpenAI-Project"]) == ("org-1", "proj_1")
    service = find(Settings(service="openai"), belongs | {"OPENAI_API_KEY": "ek_1"})
    assert service.headers == {"Authorization": "Bearer ek_1"}


AZURE = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/", "AZURE_OPENAI_API_KEY": "azkey"}


@pytest.mark.parametrize("end", ["", "/", "/openai", "/openai/v1/"])
def test_azure_has_the_deployment_as_its_model(end):
    environ = AZURE | {"AZURE_OPENAI_ENDPOINT": f"https://mine.openai.azure.com{end}"}
    service = find(Settings(service="azure", model="talker"), environ)
    assert service.url == "wss://mine.openai.azure.com/openai/v1/realtime?model=talker"
    assert service.headers == {"api-key": "azkey"}


def test_azure_in_its_older_version():
    service = find(Settings(service="azure", model="talker"), AZURE | {"OPENAI_API_VERSION": "2025-04-01-preview"})
    address = urlsplit(service.url)
    assert address.path == "/openai/realtime"
    assert parse_qs(address.query) == {"api-version": ["2025-04-01-preview"], "deployment": ["talker"]}


def test_azure_with_a_token_of_entra():
    environ = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com", "AZURE_OPENAI_AD_TOKEN": "eyJ"}
    service = find(Settings(service="azure"), environ | {"AZURE_OPENAI_DEPLOYMENT": "talker"})
    assert service.headers == {"Authorization": "Bearer eyJ"}
    assert service.url.endswith("?model=talker")


@pytest.mark.parametrize(
    ("url", "environ", "sent"),
    [
        ("ws://127.0.0.1:1/v1/realtime", {}, {}),
        ("ws://localai:1/v1/realtime", {}, {}),
        ("ws://192.168.1.5:1/v1/realtime", {"OPENAI_API_KEY": "sk-1"}, {}),
        ("ws://localhost:1/v1/realtime", {"OPENAI_API_KEY": "sk-1"}, {"Authorization": "Bearer sk-1"}),
        (
            "wss://gateway.example/v1/realtime",
            {"OPENAI_API_KEY": "sk-1", "VIVAVOCE_KEY": "k"},
            {"Authorization": "Bearer k"},
        ),
    ],
)
def test_a_key_goes_to_its_maker_and_to_this_machine_only(url, environ, sent):
    service = find(Settings(service="openai", url=url), environ)
    assert (service.url, service.headers) == (url, sent)
    assert "model" not in session_settings(Settings(), service, [TOOL])["audio"]["input"]["transcription"]


def test_a_server_far_away_needs_a_key_of_its_own():
    with pytest.raises(ConfigError, match="Set VIVAVOCE_KEY to your key for gateway") as refused:
        find(Settings(service="openai", url="wss://gateway.example/v1/realtime"), {"OPENAI_API_KEY": "sk-secret"})
    assert "sk-secret" not in str(refused.value)
    with pytest.raises(ConfigError, match="VIVAVOCE_KEY"):
        find(Settings(service="openai", url="wss://api.openai.com.evil.example/"), {"OPENAI_API_KEY": "sk-secret"})


def test_the_address_of_a_service_that_is_known_chooses_it():
    service = find(Settings(url="wss://api.openai.com/v1/realtime"), {"OPENAI_API_KEY": "sk-1"})
    assert service.headers == {"Authorization": "Bearer sk-1"}
    assert "vivavoce" not in service.session


@pytest.mark.parametrize(
    ("service", "environ", "variable"),
    [
        ("openai", {"OPENAI_API_KEY": "sk-1 sk-2"}, "OPENAI_API_KEY"),
        ("openai", {"OPENAI_API_KEY": "sk-\N{CYRILLIC SMALL LETTER A}"}, "OPENAI_API_KEY"),
        ("yandex", YANDEX | {"YANDEX_CLOUD_FOLDER_ID": "https://console/folders/b1g"}, "YANDEX_CLOUD_FOLDER_ID"),
        ("azure", AZURE | {"AZURE_OPENAI_ENDPOINT": "mine"}, "AZURE_OPENAI_ENDPOINT"),
        ("local", {"VIVAVOCE_KEY": "a\nb"}, "VIVAVOCE_KEY"),
    ],
)
def test_what_no_service_would_take_is_named_and_not_shown(service, environ, variable):
    with pytest.raises(ConfigError, match=variable) as refused:
        find(Settings(service=service, model="m"), environ)
    assert environ[variable] not in str(refused.value)


@pytest.mark.parametrize(
    ("service", "environ", "missing"),
    [
        ("openai", {}, "OPENAI_API_KEY"),
        ("yandex", {}, "YANDEX_CLOUD_API_KEY"),
        ("yandex", {}, "YANDEX_CLOUD_IAM_TOKEN"),
        ("yandex", {"YANDEX_CLOUD_API_KEY": "k"}, "YANDEX_CLOUD_FOLDER_ID"),
        ("azure", {}, "AZURE_OPENAI_API_KEY"),
        ("azure", {"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_ENDPOINT"),
        ("azure", AZURE, "AZURE_OPENAI_DEPLOYMENT"),
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
