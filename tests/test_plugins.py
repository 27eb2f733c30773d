from __future__ import annotations

import pytest

from vivavoce import plugins


def test_the_embedded_engines_are_declared():
    assert "silero" in plugins.names("vad")
    assert {"moonshine", "openai"} <= set(plugins.names("stt"))
    assert {"llama", "openai"} <= set(plugins.names("llm"))
    assert {"hibari", "flite", "openai"} <= set(plugins.names("tts"))


def test_an_unknown_engine_is_told_with_those_there_are():
    with pytest.raises(plugins.PluginError, match=r"There is no stt engine 'nope'; there are: .*moonshine"):
        plugins.make("stt", "nope")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_module:Name", "no module 'no_such_module'"),
        ("vivavoce.ports:Nope", "has no 'Nope'"),
        ("vivavoce.ports:", "module:name"),
    ],
)
def test_what_is_not_there_is_told(path, told):
    with pytest.raises(plugins.PluginError, match=told):
        plugins.make("tts", path)


def test_an_option_that_is_lacking_is_told_by_its_name_on_the_command_line():
    with pytest.raises(plugins.PluginError, match=r"The llm engine 'openai' needs --llm-model\."):
        plugins.make("llm", "openai", url="http://127.0.0.1:1")


def test_an_unknown_option_is_told():
    with pytest.raises(plugins.PluginError, match="does not take these options"):
        plugins.make("tts", "vivavoce.testing:ScriptedTextToSpeech", nonsense=1)


def test_a_module_of_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_engines_here.py").write_text("class Mine:\n    voices = ('me',)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert plugins.make("tts", "my_engines_here:Mine").voices == ("me",)


def test_a_missing_extra_is_told_with_the_line_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("class Engine:\n    def __init__(self):\n        import surely_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(plugins.PluginError, match=r'needs \'surely_not_there\'.*pip install "vivavoce\[local\]"'):
        plugins.make("tts", "needs_more:Engine")
