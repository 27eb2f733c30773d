"""The fixture `agent_test`, for pytest; nothing else is imported until a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from vivavoce.testing import Talk


@pytest.fixture
def agent_test() -> Iterator[type[Talk]]:
    """Begin talks with an agent under test; called with its tools and the replies of its model, see `Talk`."""
    from vivavoce.testing import Talk

    class Tested(Talk):
        talks: list[Talk] = []  # noqa: RUF012 - of this test

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.talks.append(self)

    yield Tested
    for talk in Tested.talks:
        talk.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what was said in it."""
    report = yield
    for talk in getattr(getattr(item, "funcargs", {}).get("agent_test"), "talks", ()):
        if report.when == "call" and report.failed:
            report.sections.append(("Talk with the agent", "\n".join(map(repr, talk.turns))))
    return report
