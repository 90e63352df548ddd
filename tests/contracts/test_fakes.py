"""The fakes keep the contracts too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest

from models.domain.bots import BotState
from tests.contracts.accounts import WEEK, AccountCalendarsContract, AccountsWorld
from tests.contracts.allowances import AllowanceContract, AllowanceWorld
from tests.contracts.authorities import (
    ANNA,
    CHALLENGE,
    REDIRECT,
    AuthorityContract,
    AuthorityWorld,
)
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
    FakeAccountCalendars,
    FakeAllowance,
    FakeAuthority,
    FakeBell,
    FakeBotProvider,
    FakeCalendarSource,
    FakePoster,
    FakePublisher,
)
from tests.fakes.accounts import PRIMARY
from worker.errors import ConsentLost, TryLater
from worker.ports_direct import Account, Consent, OAuthApp


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


@dataclass(slots=True)
class FakeAccounts:
    """An AccountsWorld around the fake."""

    calendars: FakeAccountCalendars = field(default_factory=FakeAccountCalendars)
    _numbers: count[int] = field(default_factory=count)

    @property
    def renews(self) -> bool:
        return self.calendars.renews

    def token(self) -> str:
        return "access-1"

    def own(self) -> str:
        return PRIMARY

    def removed_calendar(self) -> str:
        return "removed"

    def put(self, title: str, start: datetime, *, weeks: int = 0) -> str:
        name = f"event-{next(self._numbers)}"
        hour = timedelta(hours=1)
        event = an_event(external_id=name, title=title, start=start, end=start + hour)
        if not weeks:
            self.calendars.put(event)
        for at in (start + week * WEEK for week in range(weeks)):
            own_id = f"{name}_{at:%Y%m%d}"
            self.calendars.put(
                replace(event, external_id=own_id, series_id=name, start=at, end=at + hour)
            )
        return name

    def retitle(self, event: str, title: str) -> None:
        for known in list(self.calendars._events[PRIMARY].values()):
            if event in {known.external_id, known.series_id}:
                self.calendars.put(replace(known, title=title))

    def remove(self, event: str, *, on: datetime | None = None) -> None:
        if on is not None:
            self.calendars.remove(f"{event}_{on:%Y%m%d}")
        elif event in self.calendars._events[PRIMARY]:
            self.calendars.remove(event)
        else:
            self.calendars.remove_series(event)

    def spoil(self, event: str) -> None:
        self.calendars.spoil(event)

    def small_pages(self) -> None:
        self.calendars.page_size = 2

    def forget_cursors(self) -> None:
        self.calendars.forget_cursors()

    def unknown_cursor(self) -> str:
        return uuid4().hex

    def lose_consent(self) -> None:
        self.calendars.fail(ConsentLost("401"))

    def be_busy(self) -> None:
        after = timedelta(seconds=20)
        self.calendars.fail(TryLater("429", after=after, counts=False, is_definite=True))

    def be_away(self) -> None:
        self.calendars.fail(TryLater("503"))

    def secrets(self) -> list[str]:
        return [secret for _, secret, _ in self.calendars.channels.values()]


class TestFakeAccountCalendars(AccountCalendarsContract):
    @pytest.fixture(params=[False, True], ids=["opens another", "renews"])
    def world(self, request: pytest.FixtureRequest) -> AccountsWorld:
        return FakeAccounts(FakeAccountCalendars(renews=request.param))


@dataclass(slots=True)
class FakeConsents:
    """An AuthorityWorld around the fake."""

    authority: FakeAuthority
    app: OAuthApp = OAuthApp("google", "client-1", "secret-1")  # noqa: RUF009  # a value
    takes_back: bool = True
    _calls: int = 0

    def scopes(self) -> tuple[str, ...]:
        return ("openid", "calendar.events.readonly")

    def agree(self) -> str:
        consent = Consent("state-1", CHALLENGE, REDIRECT, self.scopes(), ANNA)
        self.authority.consent_url(self.app, consent)
        account = Account("sub-anna", ANNA)
        return self.authority.consent(account, frozenset(self.scopes()), challenge=CHALLENGE)

    def end_consents(self) -> None:
        self.authority.revoke_all()

    def be_away(self) -> None:
        self.authority.fail(TryLater("503"))

    def calls(self) -> int:
        return self.authority.refreshes


class TestFakeAuthority(AuthorityContract):
    @pytest.fixture(params=[False, True], ids=["keeps", "rotates"])
    def world(self, request: pytest.FixtureRequest) -> AuthorityWorld:
        clients = {"client-1": "secret-1"}
        return FakeConsents(FakeAuthority(rotates=request.param, clients=clients))
