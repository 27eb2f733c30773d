from __future__ import annotations

import json

import pytest
from tests.realtime.replay import GOLDEN, replay


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_session_says_it_again(path):
    assert replay(path) == [json.loads(line) for line in path.read_text().splitlines()]


def test_there_is_a_conversation_for_every_flow():
    assert {path.stem for path in GOLDEN} == {
        "barge_in",
        "beta",
        "barge_in_after_done",
        "cancel",
        "delete",
        "errors",
        "function_calls",
        "idle",
        "mcp_approval",
        "mcp_call",
        "mcp_import",
        "nothing_heard",
        "out_of_band",
        "push_to_talk",
        "retrieve",
        "search",
        "start_and_update",
        "text_turn",
        "transcription",
        "truncate",
        "truncation",
        "vad_turn",
        "yandex",
    }
