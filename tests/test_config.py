from __future__ import annotations

import pytest

from vivavoce.config import ConfigError, Settings, load


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "vivavoce.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


def test_without_anything_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load({}, environ={}) == Settings()


def test_flags_come_before_the_environment_and_that_before_the_file(written):
    path = written("silence_ms = 500\nvoice = 'a'\nport = 1\n")
    environ = {"VIVAVOCE_SILENCE_MS": "600", "VIVAVOCE_VOICE": "b", "UNRELATED": "x"}
    settings = load({"voice": "c", "model": None}, environ=environ, file=path)
    assert (settings.silence_ms, settings.voice, settings.port, settings.model) == (600, "c", 1, None)


def test_an_unknown_setting_is_named_with_the_one_that_was_meant(written):
    with pytest.raises(ConfigError, match=r"'silense_ms'; did you mean 'silence_ms'\?"):
        load({}, environ={}, file=written("silense_ms = 500"))


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"VIVAVOCE_PORT": "many"}, "'port'"),
        ({"VIVAVOCE_THRESHOLD": "2"}, "'threshold'"),
        ({"VIVAVOCE_PROFILE": "huge"}, "'profile'"),
        ({"VIVAVOCE_CONFIG": "/nowhere/vivavoce.toml"}, "VIVAVOCE_CONFIG"),
    ],
)
def test_a_bad_value_is_told_with_its_name(environ, told):
    with pytest.raises(ConfigError, match=told):
        load({}, environ=environ)


def test_a_file_that_is_no_toml_is_told(written):
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load({}, environ={}, file=written("= 3"))


def test_keys_are_no_settings():
    assert load({}, environ={"VIVAVOCE_LLM_KEY": "secret", "VIVAVOCE_KEY": "secret"}) == Settings()
