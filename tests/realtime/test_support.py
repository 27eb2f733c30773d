from __future__ import annotations

from pathlib import Path

import pytest

from vivavoce.realtime import support
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, tags
from vivavoce.realtime.values import Item, Part, ResponseParams, Session, TranscriptionSession

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_page_says_what_is():
    assert PAGE.read_text() == support.page(), "run: python -m vivavoce.realtime.support > docs/protocol.md"


@pytest.mark.parametrize("situation", [situation for situation, _ in support.PROBES])
def test_every_probe_is_refused(situation):
    told = dict(support.PROBES)[situation]
    assert support.provoke(told) != (None, None)


def test_nothing_is_noted_that_does_not_exist():
    assert set(support.CLIENT_EVENTS) <= set(tags(AnyClientEvent))
    assert set(support.SERVER_EVENTS) <= set(tags(AnyServerEvent))
    assert set(support.ITEMS) <= {*tags(Item), *tags(Part)}
    assert set(support.SETTINGS) <= {*support._fields(Session), *support._fields(TranscriptionSession)}
    assert set(support.RESPONSES) <= set(support._fields(ResponseParams))


def test_what_is_left_is_not_an_error():
    assert support.provoke(({"type": "input_audio_buffer.clear"},)) == (None, None)
