"""Whatever happens to a calendar: who follows its changes holds what a look at everything shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import pytest

from tests.builders import NOON
from tests.providers.accounts.following import DAY, HOUR, WEEK, Diary, Follower
from worker.ports_direct import Window

#: Each is one answer to the questions that the vendors' pages leave open. Silence about a deleted
#: occurrence is left out: it is found by the push that comes with it, if nothing else is told then.
ANSWERS: list[tuple[str, dict[str, object]]] = [
    ("google", {}),
    ("google", {"deleted_series_as": "both"}),
    ("google", {"deleted_series_as": "master", "cancelled_exceptions_bare": True}),
    ("microsoft", {"deleted_occurrence_in_delta": "series"}),
    ("microsoft", {"deleted_occurrence_in_delta": "removed", "removed_series_lists_occurrences": True}),
    (
        "microsoft",
        {
            "deleted_occurrence_in_delta": "series",
            "series_split_over_pages": True,
            "delta_repeats_rows": True,
            "removed_rows_for_strangers": False,
        },
    ),
]


@dataclass
class Story:
    """Things that Anna does to her calendar, at random."""

    diary: Diary
    chance: random.Random
    singles: list[str] = field(default_factory=list)
    series: dict[str, datetime] = field(default_factory=dict)

    def happen(self) -> None:
        deeds = [self._plan, self._plan_series, self._move, self._retitle, self._delete]
        deeds += [self._move_one, self._delete_one, self._move_series, self._shorten, self._split]
        deeds += [self._repeat, self._repeat_no_more]
        try:
            self.chance.choice(deeds)()
        except httpx.HTTPStatusError as refused:
            # No calendar lets an occurrence pass its neighbour, or one that is gone be changed.
            if refused.response.status_code >= 500:
                raise

    def _at(self) -> datetime:
        return NOON + self.chance.randrange(25) * DAY + self.chance.randrange(8) * HOUR

    def _plan(self) -> None:
        self.singles.append(self.diary.plan(f"Once {self.chance.random()}", start=self._at()))

    def _plan_series(self) -> None:
        start = self._at()
        self.series[self.diary.plan("Weekly", start=start, weekly=self.chance.randint(2, 5))] = start

    def _on_single(self, act: Callable[[str], object]) -> None:
        if self.singles:
            act(self.chance.choice(self.singles))

    def _on_series(self, act: Callable[[str, datetime], object]) -> None:
        if self.series:
            act(*self.chance.choice(list(self.series.items())))

    def _move(self) -> None:
        away = self.chance.choice([timedelta(), 60 * DAY])
        self._on_single(lambda event: self.diary.change(event, start=self._at() + away))

    def _retitle(self) -> None:
        title = f"Retitled {self.chance.random()}"
        self._on_series(lambda event, _: self.diary.change(event, title=title))

    def _delete(self) -> None:
        if self.singles and self.chance.random() < 0.5:
            gone = self.chance.choice(self.singles)
            self.singles.remove(gone)
            self.diary.delete(gone)
        elif self.series:
            gone = self.chance.choice(list(self.series))
            del self.series[gone]
            self.diary.delete(gone)

    def _move_one(self) -> None:
        weeks, hours = self.chance.randrange(4), self.chance.randint(-3, 3)

        def move(event: str, first: datetime) -> None:
            on = first + weeks * WEEK
            self.diary.change(event, on=on, start=on + hours * HOUR)

        self._on_series(move)

    def _delete_one(self) -> None:
        weeks = self.chance.randrange(4)
        self._on_series(lambda event, first: self.diary.delete(event, on=first + weeks * WEEK))

    def _move_series(self) -> None:
        start = self._at() + self.chance.choice([timedelta(), 60 * DAY])

        def move(event: str, _: datetime) -> None:
            self.diary.change(event, start=start, recurrence=self.diary.weekly_rule(start, 4))
            self.series[event] = start

        self._on_series(move)

    def _shorten(self) -> None:
        weeks = self.chance.randint(1, 5)
        self._on_series(lambda event, first: self.diary.repeat(event, first, weekly=weeks))

    def _split(self) -> None:
        hours = self.chance.randrange(3)

        def split(event: str, first: datetime) -> None:
            start = first + WEEK + hours * HOUR
            made = self.diary.split(event, first=first, before=1, after=3, start=start)
            self.series[made] = start

        self._on_series(split)

    def _repeat(self) -> None:
        start = self._at()

        def repeat(event: str) -> None:
            self.diary.change(event, start=start)
            self.diary.repeat(event, start, weekly=3)
            self.singles.remove(event)
            self.series[event] = start

        self._on_single(repeat)

    def _repeat_no_more(self) -> None:
        def end(event: str, _: datetime) -> None:
            self.diary.repeat_no_more(event)
            del self.series[event]
            self.singles.append(event)

        self._on_series(end)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("platform", "switches"),
    ANSWERS,
    indirect=["platform"],
    ids=[
        " ".join([name, *(f"{key}={said}" for key, said in given.items())]) for name, given in ANSWERS
    ],
)
def test_following_the_changes_ends_with_what_a_look_at_everything_shows(
    follower: Follower, diary: Diary, switches: dict[str, object], seed: int
) -> None:
    diary.platform.control("PATCH", "/switches", switches)
    follower.connect()
    story = Story(diary, random.Random(seed))

    for _ in range(8):
        for _ in range(story.chance.randint(1, 5)):
            story.happen()
        follower.look(told=story.chance.random() < 0.5)

        assert held(follower) == shown(follower, diary)


def held(follower: Follower) -> dict[str, tuple[str, datetime, datetime]]:
    """Return what we hold of the time that a whole look is about."""
    until = follower.world.calendar(follower.calendar_id)["window_until"]
    return {
        row["external_id"]: (row["title"], row["start_at"], row["end_at"])
        for row in follower.events()
        if row["start_at"] < until
    }


def shown(follower: Follower, diary: Diary) -> dict[str, tuple[str, datetime, datetime]]:
    """Look at everything by ourselves."""
    now = follower.world.at
    window = Window(now - DAY, follower.world.calendar(follower.calendar_id)["window_until"])
    platform = diary.platform
    found = platform.calendars.read_all(platform.token(), platform.primary, window, email=diary.email)
    return {
        one.event.external_id: (one.event.title, one.event.start, one.event.end)
        for reading in found
        for one in reading.events
    }
