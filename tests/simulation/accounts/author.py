"""
Who edits calendars, some at Recall and some that we read ourselves, and what should follow from it.

One meeting may be in several calendars: as copies that name the same iCalendar UID and organiser, of
which a guest's may carry a link that some gateway has rewritten, or as events of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

from models.domain.events import Event, EventStatus, Person, Response
from models.domain.links import canonical
from models.domain.scopes import scopes_to_ask
from tests.simulation.accounts.people import Holder
from tests.simulation.author import Author, Copy
from worker.connections import NotOffered, choose_calendars, remove_connection
from worker.consenting import NotAllowed, connect_account
from worker.errors import Reaction
from worker.linking import BadLink, NewLink, come_back, make_link, set_out
from worker.sandbox.recall import events
from worker.sandbox.recall.store import CalendarRecord

if TYPE_CHECKING:
    from tests.simulation.accounts.story import AccountsSimulation

#: An edit by name, and how often it is chosen.
KINDS = {
    "create": 7, "move": 5, "relink": 4, "share": 3, "invite": 6, "delete": 3, "cancel": 2, "undelete": 2,
    "respond": 2, "there_and_back": 2, "move_near": 3, "move_far": 1, "rule": 1, "extend": 1,
    "lose_grant": 1, "reconnect": 1, "bot_dies": 1, "outage": 1, "series": 1, "end_series": 1,
    "revoke": 4, "connect": 5, "let_go": 1, "choose": 2, "shut": 2, "forget_cursors": 3,
    "lose_channel": 2, "hush_channel": 2, "end_subscription": 1, "expire_access": 2, "drop": 1,
}  # fmt: skip
#: How long the copies of a meeting take to follow it, in seconds.
LATEST_COPY_S = 12.0
#: What no change tells of is found by the next complete reading.
FOUND_WITHIN = timedelta(hours=26)
ELSEWHERE = "host@elsewhere.org"
API_AGAIN_AFTER_S = 15.0
MOST_API_TRIES = 20


@dataclass(frozen=True, slots=True)
class MeetingCopy(Copy):
    """A copy of a meeting that other calendars may have copies of too."""

    uid: str = ""
    organizer: str = ELSEWHERE
    series: str | None = None
    changed_at: datetime | None = None
    unsaid_until: datetime | None = None


class Place(Protocol):
    """A calendar that somebody writes to."""

    name: str
    email: str

    @property
    def is_followed(self) -> bool: ...

    def put(self, ref: str | None, copy: MeetingCopy) -> str:
        """Write an event, a new one or over the one of this name; its name is returned."""
        ...

    def remove(self, ref: str) -> None: ...


class AtRecall:
    """A calendar of Recall's workspace."""

    def __init__(self, sim: AccountsSimulation, calendar: CalendarRecord) -> None:
        self._ws = sim.ws
        self._calendar = calendar
        self.name = calendar.id
        self.email = calendar.credentials["oauth_refresh_token"].removeprefix("rt:")

    @property
    def is_followed(self) -> bool:
        return self._calendar.is_connected

    def put(self, ref: str | None, copy: MeetingCopy) -> str:
        wish = {
            "title": copy.title,
            "start": copy.start.isoformat(),
            "end": copy.end.isoformat(),
            "link": copy.link,
            "organizer": copy.organizer,
            "own_response": "declined" if copy.declined else "accepted",
            "ical_uid": copy.uid,
        }
        if ref is None:
            event = events.create(self._ws, self._calendar, wish)
        else:
            event = self._ws.events[ref]
            if event.spec.deleted:
                event.spec = replace(event.spec, deleted=False, cancelled=False)
            events.edit(self._ws, event, wish)
        events.show(self._ws, [event])
        return event.id

    def remove(self, ref: str) -> None:
        event = self._ws.events[ref]
        events.remove(event)
        events.show(self._ws, [event])


class ReadByUs:
    """A calendar of a connected account."""

    def __init__(self, sim: AccountsSimulation, holder: Holder, calendar: str) -> None:
        self._sim = sim
        self.holder = holder
        self.calendar = calendar
        self.name = f"{holder.email}/{calendar}"
        self.email = holder.email

    @property
    def is_followed(self) -> bool:
        return self.holder.wants_us and self.calendar in self.holder.chosen

    def put(self, ref: str | None, copy: MeetingCopy) -> str:
        name = ref or f"event-{self._sim.new_number()}"
        is_organizer = copy.organizer == self.email
        self.holder.calendars.put(
            Event(
                external_id=name,
                ical_uid=copy.uid,
                series_id=copy.series,
                title=copy.title,
                start=copy.start,
                end=copy.end,
                all_day=False,
                organizer=Person(copy.organizer, Response.ACCEPTED, is_self=is_organizer),
                attendees=(Person(self.email, is_self=True),),
                own_response=Response.DECLINED if copy.declined else Response.ACCEPTED,
                is_organizer=is_organizer,
                is_private=False,
                status=EventStatus.CONFIRMED,
                deleted=False,
                link=None if copy.link is None else canonical(copy.link),
            ),
            self.calendar,
        )
        self._sim.pushes.tell(self.holder, self.calendar)
        return name

    def remove(self, ref: str) -> None:
        self.holder.calendars.remove(ref, self.calendar)
        self._sim.pushes.tell(self.holder, self.calendar)


class AccountsAuthor(Author):
    """Makes the edits, and knows which bots should live."""

    sim: AccountsSimulation
    copies: dict[str, MeetingCopy]  # type: ignore[assignment]  # every copy here is one of a meeting

    def __init__(self, sim: AccountsSimulation, calendar_count: int) -> None:
        super().__init__(sim, calendar_count)
        at_recall: list[Place] = [AtRecall(sim, calendar) for calendar in self.calendars]
        read: list[Place] = [
            ReadByUs(sim, holder, one.external_id)
            for holder in sim.holders
            for one in holder.calendars.offered
        ]
        self.places = {place.name: place for place in at_recall + read}
        #: The links of a meeting by UID: the one of the organiser's copies, and the guests'.
        self._links: dict[tuple[str, bool], str | None] = {}

    def heal(self) -> None:
        """Give back every permission that was lost, and have done what somebody wanted to be done."""
        super().heal()
        for holder in self.sim.holders:
            while holder.is_busy:
                self.sim.let_pass(5)
            self._insist(lambda holder=holder: self._put_right(holder))  # type: ignore[misc]  # bound now

    def reconnect(self, holder: Holder) -> None:
        """Have a user connect, again and again until it works."""
        self._insist(lambda: self._connect_account(holder))

    # What should be

    def desired(self, now: datetime) -> set[tuple[str, datetime]]:
        """Return the seats of meetings ahead: of copies that agree the organiser's link counts."""
        meetings: dict[object, list[MeetingCopy]] = defaultdict(list)
        for ref, copy in self.copies.items():
            if copy.link and now < copy.start and self._is_wanted(ref, copy):
                meetings[copy.uid, copy.start, copy.organizer].append(copy)
        return {
            (_speaker(self.places, copies).link or "", copies[0].start) for copies in meetings.values()
        }

    def _is_uncertain(self, seat: tuple[str, datetime]) -> bool:
        """Say whether a seat may still have its bot although nobody wants it: no change said so."""
        now = self.sim.now()
        return not self.sim.is_patient_no_more and any(
            copy.unsaid_until is not None
            and now < copy.unsaid_until
            and (copy.link, copy.start) == seat
            for copy in self.copies.values()
        )

    def is_wanted_by_lost_alone(self, seat: tuple[str, datetime], *, since: timedelta) -> bool:
        """Say whether all that calls for a seat are calendars whose consent was lost long ago enough."""
        now = self.sim.now()
        if seat not in self.desired(now):
            return False
        alike = [copy for copy in self.copies.values() if copy.start == seat[1]]
        places = [self.places[copy.calendar] for copy in alike]
        return all(
            isinstance(place, ReadByUs)
            and place.is_followed
            and not copy.gone
            and place.holder.lost_at is not None
            and copy.changed_at is not None
            and copy.changed_at < place.holder.lost_at - since
            for place, copy in zip(places, alike, strict=True)
        )

    def _is_wanted(self, ref: str, copy: Copy) -> bool:
        if copy.gone or copy.declined or any(word in copy.title for word in self.excluded):
            return False
        place = self.places[copy.calendar]
        if isinstance(place, AtRecall):
            row = self.ws.events.get(ref)
            return row is not None and row.is_visible and place.is_followed
        return place.is_followed

    # Edits of meetings

    def _create(self, draws: Sequence[float]) -> None:
        place = self._a_place(draws[0])
        start = self._ahead(draws[1])
        link = None if draws[2] > 0.95 else self._link(draws[2])
        title = ("weekly sync", "secret plan", "interview")[int(draws[3] * 3)]
        self._put(
            MeetingCopy(
                place.name,
                start,
                start + timedelta(minutes=30),
                link,
                title,
                uid=self._uid(),
                organizer=place.email if draws[3] * 3 % 1 < 0.5 else ELSEWHERE,
            )
        )

    def _share(self, draws: Sequence[float]) -> None:
        """Have an event of its own at the same place and time in another calendar."""
        if found := self._living(draws[0]):
            copy = found[1]
            self._put(
                replace(
                    copy,
                    calendar=self._a_place(draws[1]).name,
                    uid=self._uid(),
                    organizer=ELSEWHERE,
                    series=None,
                    declined=False,
                )
            )

    def _invite(self, draws: Sequence[float]) -> None:
        """Have copies in other calendars, one after the other; a gateway may rewrite a guest's link."""
        if not (found := self._living(draws[0])) or found[1].series is not None:
            return
        ref, copy = found
        guests_link = copy.link if draws[1] < 0.5 else _rewritten(copy.link)
        self._links.setdefault((copy.uid, False), guests_link)
        others = list(self.places)
        first = int(draws[2] * len(others))
        for nth, name in enumerate((others * 2)[first : first + 1 + int(draws[3] * 3)]):
            self.sim.after(LATEST_COPY_S * draws[3] * nth, self._joining(ref, name))

    def _joining(self, ref: str, calendar: str) -> Callable[[], None]:
        def join() -> None:
            copy = self.copies[ref]
            is_known = any(
                one.uid == copy.uid and one.calendar == calendar for one in self.copies.values()
            )
            if copy.gone or is_known:
                return
            fresh = replace(copy, calendar=calendar, declined=False)
            link = self._links.get((copy.uid, self._is_organiser(fresh)), copy.link)
            self._put(replace(fresh, link=link))

        return join

    def _move_to(self, draw: float, start: datetime) -> None:
        if found := self._living(draw):
            self._follow(found, draw, start=start.replace(microsecond=0))

    def _there_and_back(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            ref, copy = found
            self._change(ref, start=self._ahead(draws[1]))
            back_s = (0.02, 0.3, 2.0, LATEST_COPY_S)[int(draws[2] * 4)]
            self.sim.after(back_s, lambda: self._go_back(ref, copy))

    def _relink(self, draws: Sequence[float]) -> None:
        """Give a meeting another link: everywhere, at the organiser's alone, or at the guests' alone."""
        if not (found := self._living(draws[0])):
            return
        link = self._link(draws[1])
        copy = found[1]
        together = self._meeting(copy)
        whose = int(draws[3] * 3)
        if whose != 2:
            self._links[copy.uid, True] = link
        if whose != 1:
            self._links[copy.uid, False] = link if draws[2] < 0.5 else _rewritten(link)
        for nth, ref in enumerate(together):
            wait_s = LATEST_COPY_S * (draws[3] * 3 % 1) * nth / len(together)
            self.sim.after(wait_s, self._relinking(ref))

    def _relinking(self, ref: str) -> Callable[[], None]:
        def relink() -> None:
            copy = self.copies[ref]
            link = self._links.get((copy.uid, self._is_organiser(copy)), copy.link)
            if not copy.gone and copy.link != link:
                self._change(ref, link=link)

        return relink

    def _extend(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            ref, copy = found
            self._change(ref, start=copy.start, end=copy.end + timedelta(minutes=30))

    def _respond(self, draws: Sequence[float]) -> None:
        if (found := self._living(draws[0])) and not self._is_organiser(found[1]):
            self._change(found[0], declined=not found[1].declined)

    def _delete(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            self._remove(found[0])

    def _cancel(self, draws: Sequence[float]) -> None:
        """Have a meeting taken out of every calendar, one after the other."""
        if found := self._living(draws[0]):
            together = self._meeting(found[1])
            for nth, ref in enumerate(together):
                self.sim.after(LATEST_COPY_S * draws[1] * nth / len(together), self._removal(ref))

    def _removal(self, ref: str) -> Callable[[], None]:
        return lambda: self._remove(ref)

    def _undelete(self, draws: Sequence[float]) -> None:
        gone = [
            ref
            for ref, copy in self.copies.items()
            if copy.gone and copy.series is None and (copy.unsaid_until is None)
        ]
        gone = [ref for ref in gone if self._is_there(ref)]
        if gone:
            ref = self._pick(gone, draws[0])
            copy = self.copies[ref]
            link = self._links.get((copy.uid, self._is_organiser(copy)), copy.link)
            self._change(ref, gone=False, link=link)

    def _series(self, draws: Sequence[float]) -> None:
        """Have a meeting on three days in a row; only where we read is a series more than its events."""
        place = self._a_place(draws[0])
        if not isinstance(place, ReadByUs):
            return
        series, start = f"series-{self.sim.new_number()}", self._ahead(draws[1])
        for day in range(3):
            begin = start + timedelta(days=day)
            self._put(
                MeetingCopy(
                    place.name,
                    begin,
                    begin + timedelta(minutes=30),
                    self._link(draws[2]),
                    "weekly sync",
                    uid=f"{series}@example.com",
                    organizer=place.email,
                    series=series,
                )
            )

    def _end_series(self, draws: Sequence[float]) -> None:
        """Have a series end at once; its provider says its name and no more."""
        living = [copy for copy in self.copies.values() if copy.series is not None and not copy.gone]
        if not living:
            return
        one = self._pick(living, draws[0])
        place = self.places[one.calendar]
        assert isinstance(place, ReadByUs)
        assert one.series is not None
        place.holder.calendars.remove_series(one.series, place.calendar)
        self.sim.pushes.tell(place.holder, place.calendar)
        for ref, copy in self.copies.items():
            if copy.series == one.series and not copy.gone:
                self._know(ref, gone=True)

    def _drop(self, draws: Sequence[float]) -> None:
        """Have an event go without a change that says so; a push tells that something did."""
        alone = [
            (ref, copy)
            for ref, copy in self.copies.items()
            if not copy.gone
            and isinstance(place := self.places[copy.calendar], ReadByUs)
            and place.holder.calendars.may_keep_quiet
            and len(self._meeting(copy)) == 1
        ]
        if alone:
            ref, copy = self._pick(alone, draws[0])
            place = self.places[copy.calendar]
            assert isinstance(place, ReadByUs)
            place.holder.calendars.drop(ref, place.calendar)
            self._know(ref, gone=True, unsaid_until=self.sim.now() + FOUND_WITHIN)
            self.sim.pushes.tell(place.holder, place.calendar)

    # Edits of accounts

    def _revoke(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        if not holder.is_busy:
            self.sim.authorities[holder.platform].take_back(holder)

    def _connect(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        if not holder.is_busy:
            holder.wants_us = True
            holder.chosen.add(holder.primary)
            self._at_api(holder, "connect", lambda: self._connect_account(holder))

    def _let_go(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        if not holder.is_busy:
            holder.wants_us = False
            holder.chosen.clear()
            self._at_api(holder, "let_go", lambda: self._let_go_of(holder))

    def _choose(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        if holder.wants_us and not holder.is_busy:
            team = holder.calendars.offered[1].external_id
            holder.chosen ^= {team}
            self._at_api(holder, "choose", lambda: self._choose_for(holder))

    def _shut(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        self.sim.authorities[holder.platform].door.shut_for(
            timedelta(seconds=20 + 1800 * draws[1] ** 3)
        )

    def _forget_cursors(self, draws: Sequence[float]) -> None:
        self._pick(self.sim.holders, draws[0]).calendars.forget_cursors()

    def _expire_access(self, draws: Sequence[float]) -> None:
        holder = self._pick(self.sim.holders, draws[0])
        self.sim.authorities[holder.platform].expire_access(holder)

    def _lose_channel(self, draws: Sequence[float]) -> None:
        if found := self._a_channel(draws):
            holder, name = found
            del holder.calendars.channels[name]

    def _hush_channel(self, draws: Sequence[float]) -> None:
        if found := self._a_channel(draws):
            holder, name = found
            holder.calendars.quiet.add(name)

    def _end_subscription(self, draws: Sequence[float]) -> None:
        """Have Microsoft end a subscription and say so, or say that it is about to."""
        found = self._a_channel(draws)
        if found is None or found[0].platform != "microsoft":
            return
        holder, name = found
        if draws[2] < 0.5:
            self.sim.pushes.tell_by(holder, name, "microsoft.reauthorizationRequired")
            return
        self.sim.pushes.tell_by(holder, name, "microsoft.subscriptionRemoved")
        del holder.calendars.channels[name]

    # At our API

    def _at_api(self, holder: Holder, name: str, work: Callable[[], None]) -> None:
        """Have a user, or an operator for them, call our API; whatever goes wrong is tried again later."""

        def call() -> None:
            try:
                work()
            except (Reaction, BadLink, NotAllowed, NotOffered) as refused:
                self.sim.note(f"{name} refused: {refused!r}")
            finally:
                holder.is_busy = False

        holder.is_busy = True
        self.sim.begin(name, call)

    def _insist(self, work: Callable[[], None]) -> None:
        """Have something done at the API as a careful client does: again until it is done."""
        for _ in range(MOST_API_TRIES):
            try:
                work()
            except (Reaction, BadLink, NotAllowed, NotOffered) as refused:
                self.sim.note(f"refused: {refused!r}")
                self.sim.let_pass(API_AGAIN_AFTER_S)
            else:
                return
        self.sim.violated("the API refuses what should be possible")

    def _put_right(self, holder: Holder) -> None:
        """Have done what a user wants who tries again until it is done."""
        if not holder.wants_us:
            self._let_go_of(holder)
            return
        if not self.sim.is_connected(holder):
            self._connect_account(holder)
        self._choose_for(holder)

    def _connect_account(self, holder: Holder) -> None:
        rt, platform = self.sim.rt, holder.platform
        link = make_link(rt, NewLink(platform, "direct"))
        departure = set_out(rt, link["url"].rpartition("/")[2])
        (state,) = parse_qs(urlsplit(departure.url).query)["state"]
        arrival = come_back(rt, platform, state, departure.browser)
        granted = frozenset(scopes_to_ask(platform, "direct"))
        code = self.sim.authorities[platform].fake.consent(holder.account, granted)
        connect_account(rt, arrival, code)
        holder.lost_at = None

    def _let_go_of(self, holder: Holder) -> None:
        for connection_id in self.sim.connections_of(holder):
            remove_connection(self.sim.rt, connection_id)

    def _choose_for(self, holder: Holder) -> None:
        for connection_id in self.sim.connections_of(holder):
            choose_calendars(self.sim.rt, connection_id, sorted(holder.chosen))

    # Their parts

    def _put(self, copy: Copy) -> None:
        assert isinstance(copy, MeetingCopy)
        place = self.places[copy.calendar]
        if isinstance(place, AtRecall) and self.ws.calendars[place.name].deleted:
            return
        self._links.setdefault((copy.uid, self._is_organiser(copy)), copy.link)
        ref = place.put(None, copy)
        self.copies[ref] = replace(copy, changed_at=self.sim.now(), gone=False, unsaid_until=None)

    def _change(self, ref: str, **fields: datetime | str | bool | None) -> None:
        copy = self.copies[ref]
        start = fields.get("start")
        if isinstance(start, datetime) and fields.get("end") is None:
            fields["end"] = start + (copy.end - copy.start)
        changed = replace(copy, changed_at=self.sim.now(), **fields)  # type: ignore[arg-type]  # named by callers
        self.places[copy.calendar].put(ref, changed)
        self.copies[ref] = changed

    def _change_later(self, ref: str, wait_s: float, **fields: datetime | str | None) -> None:
        def change() -> None:
            if not self.copies[ref].gone:
                self._change(ref, **fields)

        self.sim.after(wait_s, change)

    def _remove(self, ref: str) -> None:
        copy = self.copies[ref]
        if not copy.gone and self._is_there(ref):
            self.places[copy.calendar].remove(ref)
            self._know(ref, gone=True, changed_at=self.sim.now())

    def _follow(self, found: tuple[str, MeetingCopy], draw: float, *, start: datetime) -> None:
        """Move a meeting in one calendar, and mostly in the others too, one after the other."""
        ref, copy = found
        together = self._meeting(copy)
        self._change(ref, start=start)
        if len(together) == 1 or copy.series is not None or draw * 10 % 1 < 0.2:
            return
        for nth, other in enumerate(one for one in together if one != ref):
            self._change_later(
                other, LATEST_COPY_S * (draw * 100 % 1) * (nth + 1) / len(together), start=start
            )

    def _meeting(self, copy: MeetingCopy) -> dict[str, MeetingCopy]:
        """Return the living copies of a meeting, at whatever time."""
        return {
            ref: one
            for ref, one in self.copies.items()
            if one.uid == copy.uid and one.organizer == copy.organizer and not one.gone
        }

    def _is_organiser(self, copy: MeetingCopy) -> bool:
        return self.places[copy.calendar].email == copy.organizer

    def _is_there(self, ref: str) -> bool:
        is_ours = isinstance(self.places[self.copies[ref].calendar], ReadByUs)
        return is_ours or ref in self.ws.events

    def _living(self, draw: float) -> tuple[str, MeetingCopy] | None:
        now = self.sim.now()
        living = [
            (ref, copy)
            for ref, copy in self.copies.items()
            if not copy.gone and copy.end > now - timedelta(hours=20) and self._is_there(ref)
        ]
        return self._pick(living, draw) if living else None

    def _a_place(self, draw: float) -> Place:
        """Choose a calendar: a team's less often than somebody's own."""
        places = list(self.places.values())
        teams = [one for one in places if one.name.rpartition("/")[2].startswith("team")]
        own = [one for one in places if one not in teams]
        return self._pick(own, draw / 0.85) if draw < 0.85 else self._pick(teams or own, draw)

    def _a_channel(self, draws: Sequence[float]) -> tuple[Holder, str] | None:
        live = [(holder, name) for holder in self.sim.holders for name in holder.calendars.channels]
        return self._pick(live, draws[0]) if live else None

    def _uid(self) -> str:
        return f"uid-{self.sim.new_number()}@example.com"


def _rewritten(link: str | None) -> str | None:
    """Return a link as a gateway that rewrites links makes it: another place, for all one can see."""
    return None if link is None else link.replace("/sim-", "/gat-")


def _speaker(places: dict[str, Place], copies: Sequence[MeetingCopy]) -> MeetingCopy:
    organisers = [copy for copy in copies if places[copy.calendar].email == copy.organizer]
    return (organisers or list(copies))[0]
