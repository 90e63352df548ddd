"""The fakes keep the contracts too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from models.domain.bots import BotState
from tests.contracts.allowances import AllowanceContract, AllowanceWorld
from tests.contracts.bots import NOON, BotProviderContract, BotWorld, SeenBot
from tests.contracts.messaging import (
    BellContract,
    BellWorld,
    PosterContract,
    PosterWorld,
    PublisherContract,
    PublisherWorld,
)
from tests.contracts.sources import CalendarSourceContract, SourceWorld
from tests.domain.builders import an_event
from tests.fakes import (
    FakeAllowance,
    FakeBell,
    FakeBotProvider,
    FakeCalendarSource,
    FakePoster,
    FakePublisher,
)
from worker.errors import TryLater


@dataclass(slots=True)
class FakeBots:
    """A BotWorld around the fake."""

    provider: FakeBotProvider = field(init=False)
    at: datetime = NOON
    events: int = 0

    def __post_init__(self) -> None:
        self.provider = FakeBotProvider(self.now)

    def now(self) -> datetime:
        return self.at

    def pass_time(self, by: timedelta) -> None:
        self.at += by

    def event(self, start: datetime, link: str) -> str:
        self.events += 1
        return f"event-{self.events}"

    def move_event(self, event: str, start: datetime) -> None:
        """These bots know no events."""

    def live_bots(self) -> list[SeenBot]:
        return [
            SeenBot(
                bot.bot_id,
                str(bot.slot_id),
                bot.meeting_url,
                bot.join_at,
                bot.config.get("bot_name"),
                bot.config,
            )
            for bot in self.provider.live
            if bot.slot_id is not None
        ]

    def dispatch(self, bot_id: str) -> None:
        self.provider.bots[bot_id].state = BotState.JOINING

    def put_foreign_bot(self) -> str:
        return self.provider.put_foreign(join_at=NOON + timedelta(hours=1)).bot_id

    def lose_answers(self) -> None:
        self.provider.lose_answer(1)

    def refuse_connections(self) -> None:
        self.provider.fail(TryLater("no bot is free", is_definite=True))

    def recover(self) -> None:
        """Orders hold for one call only."""

    def calls(self) -> int:
        return len(self.provider.calls)


class TestFakeBotProvider(BotProviderContract):
    @pytest.fixture
    def world(self) -> BotWorld:
        return FakeBots()


@dataclass(slots=True)
class FakeCalendars:
    """A SourceWorld around the fake."""

    source: FakeCalendarSource = field(default_factory=FakeCalendarSource)
    made: int = 0

    def calendar(self, email: str) -> str:
        self.made += 1
        found = self.source.put_calendar(f"calendar-{self.made}", email=email)
        return found.external_id

    def put(self, calendar: str, title: str, start: datetime) -> str:
        self.made += 1
        event = an_event(
            external_id=f"event-{self.made}",
            title=title,
            start=start,
            end=start + timedelta(hours=1),
            is_organizer=True,
        )
        return self.source.put(calendar, event).event.external_id

    def retitle(self, event: str, title: str) -> None:
        known = self.source.event(event)
        self.source.put(known.calendar_ref, replace(known.event, title=title))

    def remove(self, event: str) -> None:
        self.source.remove(event)

    def lose_authorisation(self, calendar: str) -> None:
        self.source.lose(calendar)

    def small_pages(self, size: int) -> None:
        self.source.page_size = size

    def fail_next(self) -> None:
        self.source.fail(TryLater("a page was lost"), at_page=2)

    def pages_served(self) -> int:
        return self.source.pages_served


class TestFakeCalendarSource(CalendarSourceContract):
    @pytest.fixture
    def world(self) -> SourceWorld:
        return FakeCalendars()


class TestFakeAllowance(AllowanceContract):
    @pytest.fixture
    def world(self) -> AllowanceWorld:
        allowance = FakeAllowance({"recall.other": 4})
        return AllowanceWorld(allowance, calls=4, pass_time=allowance.pass_time)


class TestFakeBell(BellContract):
    @pytest.fixture
    def world(self) -> BellWorld:
        bell = FakeBell()

        def break_down() -> None:
            bell.is_broken = True

        return BellWorld(bell, heard=lambda: list(bell.rings), break_down=break_down)


class TestFakePublisher(PublisherContract):
    @pytest.fixture
    def world(self) -> PublisherWorld:
        publisher = FakePublisher()

        def go_down() -> None:
            publisher.is_down = True

        return PublisherWorld(
            publisher, arrived=lambda: [one.id for one in publisher.published], go_down=go_down
        )


class TestFakePoster(PosterContract):
    @pytest.fixture
    def world(self) -> PosterWorld:
        poster = FakePoster()
        url = "https://subscriber.test/hooks"
        return PosterWorld(
            poster,
            url,
            answer=lambda status: poster.answer(url, status),
            bodies=lambda: [post.body for post in poster.posts],
        )
