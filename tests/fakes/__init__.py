"""Stateful stand-ins for every port; the suites in `tests.contracts` hold them to what adapters do."""

from tests.fakes.accounts import FakeAccountCalendars
from tests.fakes.allowance import FakeAllowance
from tests.fakes.authority import FakeAuthority
from tests.fakes.bell import FakeBell
from tests.fakes.bots import FakeBot, FakeBotProvider
from tests.fakes.calendars import FakeCalendarSource
from tests.fakes.poster import FakePoster, Post
from tests.fakes.publisher import FakePublisher

__all__ = [
    "FakeAccountCalendars",
    "FakeAllowance",
    "FakeAuthority",
    "FakeBell",
    "FakeBot",
    "FakeBotProvider",
    "FakeCalendarSource",
    "FakePoster",
    "FakePublisher",
    "Post",
]
