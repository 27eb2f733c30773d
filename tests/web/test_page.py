"""The console in a browser, against scripted engines: what is typed, called, shown, logged, lost and replayed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.npm import NPM, installed
from tests.scenarios.command import QUESTION, vivavoce
from tests.web.conftest import HERE, RATE, STORY, TIME, Console, Server, served

from vivavoce.agent.sessionlog import SessionLog
from vivavoce.realtime.events import Unknown, decode_client, decode_server
from vivavoce.server.auth import Access, Keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Open = Callable[..., Console]

HELLO = "What time is it?"
SCRIPTED = {f"VIVAVOCE_{kind}": f"tests.scripted_engines:{kind.lower()}" for kind in ("STT", "LLM", "TTS", "VAD")}
SCRIPTED["PYTHONPATH"] = str(HERE.parents[1])
TONE = 0.05
"""Amplitude from which the scripted voice is heard."""


def test_a_typed_turn_is_answered_aloud(console: Open, server: Server, tmp_path: Path) -> None:
    talk = console(server.url)
    assert talk.page.inner_text("#state") == "not connected"
    talk.start()
    talk.types(HELLO)
    talk.waits_for("#latency .spoken-only", "playout")
    talk.waits_for("#state", "listening")
    assert (talk.said("user"), talk.said("assistant")) == ([HELLO], [TIME])
    heard = np.abs(talk.heard()) > TONE
    seconds = heard.sum() / RATE
    assert 0.2 < seconds < len(TIME.split()) * 0.2
    (first,) = (event for way, event in talk.events(tmp_path) if way == "out" and event["type"] == "response.create")
    assert set(first) == {"type", "event_id"}


def test_what_is_stopped_is_truncated_and_struck(console: Open, server: Server, tmp_path: Path) -> None:
    talk = console(server.url)
    talk.start()
    talk.types("Tell me a story.")
    talk.waits_for("#state", "speaking")
    talk.page.wait_for_timeout(700)
    talk.page.keyboard.press("Escape")
    talk.page.locator("#transcript s").wait_for()
    (told,) = talk.said("assistant")
    unheard = talk.page.inner_text("#transcript s")
    heard = told.removesuffix(unheard)
    assert heard
    assert STORY.startswith(heard.strip())
    events = talk.events(tmp_path)
    (truncated,) = (event for way, event in events if event["type"] == "conversation.item.truncated")
    (asked,) = (event for way, event in events if event["type"] == "conversation.item.truncate")
    assert truncated["audio_end_ms"] == asked["audio_end_ms"]
    sounded = np.flatnonzero(np.abs(talk.heard()) > TONE)
    ms = (sounded[-1] - sounded[0]) / RATE * 1000
    assert ms == pytest.approx(asked["audio_end_ms"], abs=120)
    talk.page.wait_for_timeout(300)
    assert not (np.abs(talk.heard()[sounded[-1] + RATE // 50 :]) > TONE).any()


def test_the_page_runs_its_own_tools_and_asks_for_the_results_of_others(console: Open, server: Server) -> None:
    talk = console(server.url)
    weather = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    talk.page.click("[popovertarget=settings]")
    tools = json.loads(talk.page.input_value("[name=tools]"))
    talk.page.fill("[name=tools]", json.dumps([*tools, weather]))
    talk.page.keyboard.press("Escape")
    talk.start()
    talk.types("Make it dark.")
    talk.waits_for("#transcript", "The page is dark now.")
    assert talk.page.get_attribute("html", "data-scheme") == "dark"
    talk.types("How is the weather?")
    talk.page.fill(".card input", "rain")
    talk.page.click(".card form button")
    talk.waits_for('#transcript [data-role="assistant"]', "It says: rain.")


def test_settings_are_applied_live(console: Open, server: Server, tmp_path: Path) -> None:
    talk = console(server.url)
    talk.start()
    talk.page.click("[popovertarget=settings]")
    talk.page.fill("[name=instructions]", "Be brief.")
    talk.page.select_option("[name=modality]", "text")
    talk.page.select_option("[name=detection]", "semantic_vad")
    talk.page.select_option("[name=eagerness]", "high")
    talk.waits_for("#applied", "in effect")
    talk.page.fill("[name=tools]", "[{")
    talk.page.dispatch_event("[name=tools]", "change")
    talk.waits_for("#applied", "no JSON list")
    talk.page.keyboard.press("Escape")
    talk.page.locator("#settings").wait_for(state="hidden")
    talk.types(HELLO)
    talk.waits_for('#transcript [data-role="assistant"]', TIME)
    assert "Be brief." in server.prompts[-1].instructions
    *_, session = (event["session"] for way, event in talk.events(tmp_path) if event["type"] == "session.updated")
    assert session["output_modalities"] == ["text"]
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["vivavoce"]["timings"] is True


def test_the_log_is_one_of_the_protocol(console: Open, server: Server, tmp_path: Path) -> None:
    talk = console(server.url)
    talk.start()
    talk.types(HELLO)
    talk.waits_for("#latency li", "ms")
    talk.page.fill("#filter", "response.done")
    talk.page.locator("#log li").last.click()
    assert '"completed"' in talk.page.inner_text("#log pre")
    assert talk.page.locator("#log li").count() == 1
    events = talk.events(tmp_path)
    types = {event["type"] for _, event in events}
    assert {"session.created", "input_audio_buffer.append", "response.output_audio.delta", "response.done"} <= types
    for way, event in events:
        sounding = {
            name: "AAAA" if isinstance(value, dict) and set(value) == {"bytes"} else value
            for name, value in event.items()
        }
        read = decode_server(json.dumps(sounding)) if way == "in" else decode_client(json.dumps(sounding))
        assert not isinstance(read, Unknown)
    log = SessionLog(tmp_path / "session.jsonl")
    steps = list(log.steps())
    assert log.troubles == []
    assert any(step.input is not None for step in steps)


def test_a_server_that_comes_back_is_told_what_was_said(console: Open) -> None:
    server = Server()
    with server.running():
        talk = console(server.url)
        talk.start()
        talk.types(HELLO)
        talk.waits_for("#latency .spoken-only", "playout")
        talk.waits_for("#state", "listening")
    talk.waits_for("#banner", "connection is lost")
    talk.wrong.clear()  # the browser says that it cannot connect
    with server.running():
        talk.page.locator("#banner").wait_for(state="hidden")
        talk.waits_for("#state", "listening")
        talk.wrong.clear()
        talk.types("And now?")
        talk.page.locator('#transcript [data-role="assistant"]').nth(1).wait_for()
        assert talk.said("user") == [HELLO, "And now?"]
        told = [message.text for message in server.prompts[-1].messages if message.role in {"user", "assistant"}]
        assert told == [HELLO, TIME, "And now?"]
        talk.page.click("#start")


def test_push_to_talk(console: Open, server: Server, tmp_path: Path) -> None:
    talk = console(server.url)
    talk.page.click("[popovertarget=settings]")
    talk.page.select_option("[name=detection]", "none")
    talk.page.keyboard.press("Escape")
    talk.start()
    talk.page.focus("#transcript")
    talk.page.keyboard.down(" ")
    talk.waits_for("#state", "hearing you")
    talk.page.wait_for_timeout(500)
    talk.page.keyboard.up(" ")
    talk.waits_for('#transcript [data-role="assistant"]', TIME)
    types = [event["type"] for way, event in talk.events(tmp_path) if way == "out"]
    assert types.index("input_audio_buffer.clear") < types.index("input_audio_buffer.commit")
    assert types[types.index("input_audio_buffer.commit") + 1] == "response.create"


def test_a_server_with_keys_asks_for_one(console: Open) -> None:
    server = Server()
    with server.running(access=Access(Keys({"secret": "anna"}))):
        talk = console(server.url)
        talk.page.click("#start")
        talk.page.fill("#key", "wrong")
        talk.page.keyboard.press("Enter")
        talk.waits_for("#key-why", "wrong or has expired")
        talk.page.fill("#key", "secret")
        talk.page.keyboard.press("Enter")
        talk.waits_for("#state", "listening")
        talk.wrong.clear()  # two requests were answered with 401
        assert talk.page.evaluate("sessionStorage.length") == 0


def test_a_recording_is_replayed(console: Open, server: Server, tmp_path: Path) -> None:
    recorded = tmp_path / "recordings"
    arguments = ("talk", "--input", QUESTION, "--output", tmp_path / "out.wav", "--record", recorded)
    ended = vivavoce(*arguments, cwd=HERE.parents[1], **SCRIPTED)
    assert ended.code == 0, ended.err
    (folder,) = recorded.iterdir()
    talk = console(server.url)
    talk.page.set_input_files("#recording", [folder / "session.jsonl", folder / "conversation.wav"])
    talk.waits_for("#state", "replay")
    assert talk.said("assistant") == []
    talk.page.select_option("#pace", "4")
    talk.page.click("#play")
    talk.waits_for('#transcript [data-role="assistant"]', "Paris, of course.")
    talk.waits_for('#transcript [data-role="user"]', "What is the capital of France?")
    talk.waits_for("#play", "Play")
    assert re.search(r"turns [1-9]", str(talk.page.get_attribute("#timeline", "aria-label")))
    talk.page.fill("#seek", "0")
    talk.page.locator('#transcript [data-role="assistant"]').first.wait_for(state="detached")
    talk.page.click("#leave")
    talk.waits_for("#state", "not connected")


def test_files_are_absent_where_the_server_keeps_none(console: Open, server: Server) -> None:
    talk = console(server.url)
    talk.page.click("[popovertarget=files]")
    talk.page.locator("#files-note:not(:empty)").wait_for()
    assert not talk.page.is_visible("#library")
    talk.wrong.clear()  # a request was answered with 404 or 501


def test_files_are_indexed_found_and_deleted(console: Open, tmp_path: Path) -> None:
    pytest.importorskip("vivavoce.search.library")
    ferries, cakes = tmp_path / "ferries.md", tmp_path / "cakes.txt"
    ferries.write_text("The ferry to Nesodden leaves every half hour.\n")
    cakes.write_text("A sponge cake needs four eggs and no butter.\n")
    with served("--library", str(tmp_path / "library"), **SCRIPTED) as url:
        drawer = console(url)
        drawer.page.click("[popovertarget=files]")
        drawer.page.locator("#library").wait_for()
        drawer.page.set_input_files("#upload", [ferries, cakes])
        drawer.page.locator('#documents [data-status="completed"]').nth(1).wait_for()
        drawer.page.fill("#query", "When does the ferry leave?")
        drawer.page.press("#query", "Enter")
        drawer.waits_for("#found li", "every half hour")
        drawer.page.click('[aria-label="Delete cakes.txt"]')
        drawer.page.locator("#documents", has_text="cakes.txt").wait_for(state="detached")
        assert "ferries.md" in drawer.page.inner_text("#documents")


def test_keys(console: Open, server: Server) -> None:
    talk = console(server.url)
    talk.page.keyboard.press("?")
    talk.page.locator("#help").wait_for(state="visible")
    talk.page.keyboard.press("Escape")
    talk.page.locator("#help").wait_for(state="hidden")
    talk.page.keyboard.press("s")
    talk.waits_for("#state", "listening")
    talk.page.keyboard.press("m")
    talk.waits_for("#mute", "Muted")
    talk.page.keyboard.press("t")
    talk.page.keyboard.type("mute me")
    assert talk.page.input_value("#text") == "mute me"
    talk.waits_for("#mute", "Muted")


@pytest.mark.skipif(NPM is None, reason="npm is missing")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(console: Open, server: Server, scheme: str) -> None:
    axe = (installed(HERE / "package.json") / "axe-core" / "axe.min.js").read_text("utf-8")
    talk = console(server.url, color_scheme=scheme)
    talk.page.evaluate(axe)
    assert violations(talk) == []
    talk.page.click("[popovertarget=settings]")
    assert violations(talk) == []
    talk.page.keyboard.press("Escape")
    talk.page.keyboard.press("?")
    assert violations(talk) == []
    talk.page.keyboard.press("Escape")
    talk.start()
    talk.types("How is the weather?")
    talk.page.locator(".card").wait_for()
    talk.types("Tell me a story.")
    talk.waits_for("#state", "speaking")
    talk.page.wait_for_timeout(300)
    talk.page.keyboard.press("Escape")
    talk.page.locator("#transcript s").wait_for()
    talk.page.locator("#log summary").last.click()
    assert violations(talk) == []
    assert talk.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(245, 246, 246)" if scheme == "light" else "rgb(21, 25, 27)"
    )


def violations(talk: Console) -> list[str]:
    found = talk.page.evaluate("axe.run().then(({violations}) => violations)")
    return [f"{each['id']}: {node['html']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def test_a_telephone_shows_all_of_it(console: Open, server: Server) -> None:
    talk = console(server.url, viewport={"width": 390, "height": 844})
    talk.start()
    assert talk.page.evaluate("document.documentElement.scrollWidth") == 390
    assert talk.page.locator("#start").is_visible()
    talk.page.locator("#log").scroll_into_view_if_needed()
    assert talk.page.locator("#text").is_visible()


def test_what_closes_a_drawer_does_not_stop_the_answer(console: Open, server: Server) -> None:
    talk = console(server.url)
    talk.start()
    talk.types("Tell me a story.")
    talk.waits_for("#state", "speaking")
    talk.page.click("[popovertarget=settings]")
    talk.page.keyboard.press("Escape")
    talk.page.locator("#settings").wait_for(state="hidden")
    talk.page.wait_for_timeout(200)
    assert talk.page.inner_text("#state") == "speaking"
    talk.page.keyboard.press("Escape")
    talk.page.locator("#transcript s").wait_for()
