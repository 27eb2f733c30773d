"""The tools that come with the agent, without a model."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.agent.functions import ToolError
from vivavoce.agent.toolbox import built_in
from vivavoce.agent.toolbox.calculator import calculate
from vivavoce.agent.toolbox.clock import Clock, zone_of
from vivavoce.agent.toolbox.file_search import PASSAGE, Files
from vivavoce.agent.toolbox.spoken import digits, length, seconds
from vivavoce.agent.toolbox.timers import Timers
from vivavoce.agent.toolbox.web_search import web_search
from vivavoce.agent.tools import Toolbox
from vivavoce.ports import BackendError, Passage, Query
from vivavoce.realtime.values import Source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

# Numbers and lengths of time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("seventeen times twenty three", "17 times 23"),
        ("twenty-three point five percent", "23.5 percent"),
        ("one hundred and twenty three thousand four hundred and five", "123405"),
        ("a hundred", "100"),
        ("two and three", "2 and 3"),
        ("nineteen ninety eight", "19 98"),
        ("3 million", "3000000"),
        ("someone won", "someone won"),
        ("What's 2**3?", "what's 2 ** 3?"),
    ],
)
def test_numbers_are_written_in_digits(said, written):
    assert digits(said) == written


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("ten minutes", 600),
        ("an hour and a half", 5400),
        ("two and a half minutes", 150),
        ("half an hour", 1800),
        ("1 hour 20 minutes", 4800),
        ("1:30", 90),
        ("1:00:00", 3600),
        ("ninety seconds", 90),
        ("a day", 86_400),
        ("полчаса", 1800),
        ("5 минут", 300),
        ("soon", None),
        ("", None),
    ],
)
def test_lengths_of_time_are_understood(said, wanted):
    assert seconds(said) == wanted


@given(st.integers(1, 10**6))
def test_a_length_of_time_is_said_as_it_is_understood(amount):
    assert seconds(length(amount)) == amount


# Calculator ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("0.1 + 0.2", "0.3"),
        ("1/3", "0.333333333333"),
        ("2**64", "18446744073709551616"),
        ("(2 + 3) * 4", "20"),
        ("-5 + 3", "-2"),
        ("10 % 3", "1"),
        ("1,000,000 * 3", "3000000"),
        ("12,5 + 1", "13.5"),
        ("What is seventeen times twenty three?", "391"),
        ("How much is fifteen percent of eighty?", "12"),
        ("100 + 10%", "110"),
        ("What's the square root of 144?", "12"),
        ("two to the power of ten", "1024"),
        ("5 squared", "25"),
        ("half of 30", "15"),
        ("three hundred minus forty seven", "253"),
        ("3 million divided by 4", "750000"),
        ("Сколько будет 15 процентов от 240?", "36"),
        ("factorial(20)", "2432902008176640000"),
        ("Stop, what is twelve times twelve?", "144"),
        ("Can you tell me what seventeen times twenty three is please", "391"),
        ("two to the power of one hundred", "1.267651e+30"),
    ],
)
def test_sums(question, result):
    assert calculate(question).rpartition(" = ")[2] == result


@pytest.mark.parametrize(
    "question",
    [
        "hello", "", "9**9**9**9", "1/0", "sqrt(-1)", "__import__('os')", "'a' * 10**9", "[1] * 5", "x + 1", "(1).real",
        "factorial(10**6)", "1" * 400, "lambda: 1", "2 ** 10 ** 8", "f'{1}'",
    ],
)  # fmt: skip
def test_what_is_no_sum_or_too_large_is_refused(question):
    with pytest.raises(ToolError):
        calculate(question)


@given(st.text(max_size=60))
def test_no_text_breaks_the_calculator(text):
    with suppress(ToolError):
        calculate(text)


# Clock ---------------------------------------------------------------------------------------------------------------

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (None, "It is 12:00 on Wednesday, 1 July 2026 (UTC+0)."),
        ("here", "It is 12:00 on Wednesday, 1 July 2026 (UTC+0)."),
        ("Tokyo", "It is 21:00 on Wednesday, 1 July 2026 in Tokyo (UTC+9)."),
        ("San Francisco", "It is 05:00 on Wednesday, 1 July 2026 in San Francisco (UTC-7)."),
        ("Mumbai", "It is 17:30 on Wednesday, 1 July 2026 in Mumbai (UTC+5:30)."),
        ("Москве", "It is 15:00 on Wednesday, 1 July 2026 in Москве (UTC+3)."),
        ("Auckland, New Zealand", "It is 00:00 on Thursday, 2 July 2026 in Auckland, New Zealand (UTC+12)."),
    ],
)
def test_the_time_in_places(place, told):
    assert Clock(lambda: NOON).tell(place) == told


def test_an_unknown_place_is_not_guessed():
    assert zone_of("Atlantis") is None
    with pytest.raises(ToolError, match="Atlantis"):
        Clock(lambda: NOON).tell("Atlantis")


# Timers --------------------------------------------------------------------------------------------------------------


async def test_a_timer_runs_rings_and_is_gone():
    timers = Timers()
    news = timers.set("0.05 seconds", "the timer for the pasta")
    assert "timer for pasta runs" in await anext(news)
    assert "pasta" in await timers.left()
    assert "rings now" in await anext(news)
    assert await anext(news, None) is None
    assert await timers.left() == "No timer is running."


async def test_a_cancelled_timer_never_rings():
    timers = Timers()
    pasta, eggs = timers.set("ten minutes", "pasta"), timers.set("an hour")
    await anext(pasta)
    await anext(eggs)
    with pytest.raises(ToolError, match="which timer"):
        await timers.cancel()
    assert "pasta" in await timers.cancel("the pasta timer")
    assert await anext(pasta, None) is None
    assert "1 hour" in await timers.cancel("one hour")
    assert await anext(eggs, None) is None
    with pytest.raises(ToolError, match="No timer"):
        await timers.cancel()


@pytest.mark.parametrize("duration", ["soon", "0 minutes", "three days", ""])
async def test_no_timer_without_a_length(duration):
    with pytest.raises(ToolError):
        await anext(Timers().set(duration))


# The web -------------------------------------------------------------------------------------------------------------


class Found:
    """The port, scripted: what is searched for comes back, or what is raised."""

    def __init__(self, *passages: Passage, failure: BackendError | None = None) -> None:
        self.passages = passages
        self.failure = failure
        self.asked: list[str] = []

    async def search(self, query: Query) -> tuple[Passage, ...]:
        self.asked.append(query.text)
        if self.failure:
            raise self.failure
        return self.passages


BEES = Passage(text="Bees dance.", source=Source(title="Bees", url="https://b.org/"))


async def test_the_web_is_searched():
    (found,) = [each async for each in web_search(Found(BEES)).outcomes({"query": "bees"})]
    assert found.output == "[1] Bees (https://b.org/): Bees dance."
    assert found.sources == (BEES.source,)


@pytest.mark.parametrize(
    ("query", "web", "told"),
    [
        (" ", Found(BEES), "nothing to search"),
        ("bees", Found(), "found nothing for 'bees'"),
        ("bees", Found(failure=BackendError("x", "It may be offline.")), "It may be offline. Tell the user"),
    ],
)
async def test_a_search_that_comes_to_nothing_says_so(query, web, told):
    with pytest.raises(ToolError, match=told):
        await web_search(web)({"query": query})
    assert web.asked == [query] * bool(query.strip())


# Files ---------------------------------------------------------------------------------------------------------------


def test_files_are_searched_with_their_lines(tmp_path: Path):
    (tmp_path / "trip.md").write_text(
        f"# Trip\n\n{'Nothing here. ' * (PASSAGE // 14)}\n\nThe hotel in Oslo costs 90.\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bees.txt").write_text("Bees danced all day.")
    (tmp_path / "photo.jpg").write_bytes(b"hotel")
    (tmp_path / ".hidden.md").write_text("A hidden hotel.")
    files = Files(tmp_path)
    found = files.search("What does the hotel cost?")
    assert found.output == "[trip.md:5] The hotel in Oslo costs 90."
    assert found.sources[0].title == "trip.md:5"
    assert files.search("dancing bee").output == "[sub/bees.txt:1] Bees danced all day."
    with pytest.raises(ToolError, match="say nothing"):
        files.search("submarine")


def test_what_changes_is_read_again(tmp_path: Path):
    note = tmp_path / "note.txt"
    note.write_text("The code is red.")
    files = Files(tmp_path)
    assert "red" in files.search("code").output
    note.write_text("The code is green now.")
    assert "green" in files.search("code").output
    note.unlink()
    with pytest.raises(ToolError):
        files.search("code")


def test_a_long_paragraph_is_found_to_its_end(tmp_path: Path):
    (tmp_path / "long.txt").write_text("word " * 2000 + "needle")
    assert "needle" in Files(tmp_path).search("needle").output


@pytest.mark.parametrize("query", ['"', "a OR b", "NEAR(", "*", "col:x", "'; drop table", "-"])
def test_no_query_breaks_the_index(tmp_path: Path, query: str):
    (tmp_path / "note.txt").write_text("a b c")
    with suppress(ToolError):
        Files(tmp_path).search(query)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(ToolError, match="not there"):
        Files(tmp_path / "gone").search("x")


# Which ---------------------------------------------------------------------------------------------------------------


def names(**options: Any) -> list[str]:
    return [each.name for each in built_in(**options)]


def test_searches_are_offered_only_where_they_are_configured(tmp_path: Path):
    usual = ["get_weather", "date_and_time", "calculator", "set_timer", "list_timers", "cancel_timer"]
    assert names() == usual
    assert names(web=Found()) == [*usual, "web_search"]
    assert names(files=str(tmp_path)) == [*usual, "file_search"]


async def test_timers_of_two_talks_do_not_meet():
    one, two = Toolbox(built_in()), Toolbox(built_in())
    async with anyio.create_task_group() as tasks:
        results = one.results("set_timer", '{"duration": "an hour"}')
        await anext(results)
        assert "1 hour" in (await one.run("list_timers", "{}")).output
        assert (await two.run("list_timers", "{}")).output == "No timer is running."
        await results.aclose()
        tasks.cancel_scope.cancel()
