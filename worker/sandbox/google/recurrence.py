"""
Expand RRULE, EXRULE, RDATE and EXDATE in the zone of the series, so that wall clock times stand still.

Source: RFC 5545 section 3.8.5; developers.google.com/workspace/calendar/api/guides/recurringevents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice

from dateutil import rrule  # type: ignore[import-untyped]  # it has no types of its own

from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.times import Moment, from_local, zone_of

MOST = 20_000  # instances of one series; a rule that gives more is a mistake
TOO_FINE = re.compile(
    r"FREQ=(HOURLY|MINUTELY|SECONDLY)", re.IGNORECASE
)  # DAILY is the finest Google has
UNTIL = re.compile(r"UNTIL=(\d{8})(T\d{6}Z?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Series:
    """When the instances of a series start. *zone* is that of its first start."""

    first: Moment
    lines: tuple[str, ...]
    zone: str

    def starts(self, until: datetime) -> Iterator[Moment]:
        """Yield the starts of all instances before the instant *until*, earliest first."""
        for wall in islice(self._rules(), MOST):
            moment = self._moment(wall)
            if moment.instant(self.zone) >= until:
                return
            yield moment

    def check(self) -> None:
        """Raises Refusal: lines that are no recurrence."""
        if not any(line.upper().startswith(("RRULE", "RDATE")) for line in self.lines):
            raise Refusal("invalid", "Invalid recurrence rule.")
        try:
            next(iter(self._rules()), None)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise Refusal("invalid", "Invalid recurrence rule.") from error

    def _rules(self) -> Iterator[datetime]:
        rules = rrule.rruleset()
        start = self.first.local(self.zone)
        for line in self.lines:
            head, _, value = line.partition(":")
            name, *parameters = head.upper().split(";")
            match name:
                case "RRULE" | "EXRULE":
                    if TOO_FINE.search(value):
                        raise ValueError("finer than daily")
                    rule = rrule.rrulestr(self._with_local_until(value), dtstart=start)
                    (rules.rrule if name == "RRULE" else rules.exrule)(rule)
                case "RDATE" | "EXDATE":
                    for each in self._dates(value, head, parameters):
                        (rules.rdate if name == "RDATE" else rules.exdate)(each)
                case _:
                    raise ValueError(f"no recurrence line: {line}")
        if not any(line.upper().startswith("RRULE") for line in self.lines):
            rules.rdate(start)
        return iter(rules)

    def _with_local_until(self, value: str) -> str:
        """Rewrite UNTIL as wall clock time; a mere date lasts until the end of that day."""

        def local(found: re.Match[str]) -> str:
            day = datetime.strptime(found[1], "%Y%m%d")  # noqa: DTZ007  # a wall clock day
            if not found[2] or self.first.is_day:
                last = day if self.first.is_day else datetime.combine(day, time(23, 59, 59))
                return f"UNTIL={last:%Y%m%dT%H%M%S}"
            wall = datetime.strptime(found[1] + found[2][:7], "%Y%m%dT%H%M%S")  # noqa: DTZ007  # likewise
            if found[2].upper().endswith("Z"):
                wall = wall.replace(tzinfo=UTC).astimezone(zone_of(self.zone)).replace(tzinfo=None)
            return f"UNTIL={wall:%Y%m%dT%H%M%S}"

        return UNTIL.sub(local, value)

    def _dates(self, value: str, head: str, parameters: Sequence[str]) -> Iterator[datetime]:
        named = re.search(r"TZID=([^;:]+)", head, re.IGNORECASE)
        zone = named[1] if named else self.zone
        if any(each.startswith("VALUE=PERIOD") for each in parameters):
            value = ",".join(each.partition("/")[0] for each in value.split(","))
        for text in value.split(","):
            yield self._wall(text.strip(), zone)

    def _wall(self, text: str, zone: str) -> datetime:
        if len(text) == 8:
            return datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007  # a wall clock day
        wall = datetime.strptime(text[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007  # likewise
        at = wall.replace(tzinfo=UTC) if text.upper().endswith("Z") else from_local(wall, zone)
        return at.astimezone(zone_of(self.zone)).replace(tzinfo=None)

    def _moment(self, wall: datetime) -> Moment:
        if self.first.is_day:
            return Moment(on=wall.date())
        return Moment(from_local(wall, self.zone), zone=self.first.zone)


def trimmed(lines: Sequence[str], last_before: Moment) -> list[str]:
    """
    End a recurrence before *last_before*, as clients do to change "this and following".

    Source: …/guides/recurringevents (trim the original with UNTIL, insert the rest as a new series).
    """
    if last_before.on is not None:
        until = f"{last_before.on - timedelta(days=1):%Y%m%d}"
    else:
        assert last_before.at is not None
        until = f"{last_before.at - timedelta(seconds=1):%Y%m%dT%H%M%SZ}"
    kept = []
    for line in lines:
        head, _, rule = line.partition(":")
        if head.upper() == "RRULE":
            parts = [p for p in rule.split(";") if not p.upper().startswith(("UNTIL=", "COUNT="))]
            line = f"{head}:{';'.join([*parts, f'UNTIL={until}'])}"  # noqa: PLW2901  # the line as it is kept
        kept.append(line)
    return kept
