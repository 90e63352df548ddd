"""
The ports to Google and Microsoft: each call is a place where the scheduler may strike.

What the fakes behind them do is right; what becomes of the question and of the answer is chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from tests.fakes import FakeAuthority
from tests.fakes.authority import Family
from tests.simulation.accounts.people import Holder
from tests.simulation.turns import Turn
from worker.errors import ConsentLost, CursorGone, TryLater
from worker.ports_direct import (
    Account,
    Consent,
    OAuthApp,
    OfferedCalendar,
    OpenChannel,
    Reading,
    Tokens,
    Window,
)

if TYPE_CHECKING:
    from tests.simulation.accounts.story import AccountsSimulation

T = TypeVar("T")

#: What may happen to a call, by weight.
FAULTS = {
    "crash": 2, "crash_after": 2, "pause": 1, "down": 2, "503": 2, "429": 2, "lost_answer": 3, "ghost": 1,
}  # fmt: skip
ACCOUNT_FAULTS = {**FAULTS, "401": 1}
CHANGES_FAULTS = {**ACCOUNT_FAULTS, "410": 2}
READ_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Given:
    """An access token that was given to us: whose, until when, and the refresh token it came with."""

    holder: Holder
    expires_at: datetime
    refresh_token: str | None
    is_first: bool


class Door:
    """The way to one platform: calls go through it, or do not."""

    def __init__(self, sim: AccountsSimulation, platform: str) -> None:
        self.sim = sim
        self.platform = platform
        self._shut_until: datetime | None = None

    def shut_for(self, span: timedelta) -> None:
        """Have every call fail for a while."""
        if not self.sim.decisions.is_quiet:
            self._shut_until = self.sim.now() + span
            self.sim.last_fault_at = self._shut_until

    def open(self) -> None:
        self._shut_until = None

    def pass_through(
        self,
        operation: str,
        act: Callable[[], T],
        *,
        faults: Mapping[str, float] = ACCOUNT_FAULTS,
        doubt: Callable[[], object] = lambda: None,
    ) -> T:
        """Make a call, for better or worse; *doubt* is told when it may be done and nobody knows."""
        sim = self.sim
        fault = sim.fault(f"{self.platform}.{operation}", sim.rate * 4, faults)
        sim.wait(sim.decisions.between("latency", 0.01, 0.25))
        if self._shut_until is not None and sim.now() < self._shut_until:
            raise TryLater(f"{operation}: no answer", is_definite=True)
        self._refuse(operation, fault)
        match fault:
            case "pause":
                # Stopped after the last look at the clock: sent long after it should have been.
                doubt()
                sim.wait(sim.decisions.between("pause", 5, 120))
                act()
                raise TryLater(f"{operation}: the call's time was over")
            case "ghost":
                # It arrives when nobody waits for the answer any more.
                doubt()
                sim.after(
                    READ_TIMEOUT_S + sim.decisions.between("ghost", 0, 60), lambda: self._haunt(act)
                )
                sim.wait(READ_TIMEOUT_S)
                raise TryLater(f"{operation}: no answer")
        done = act()
        sim.note(f"{self.platform} {operation}")
        if fault == "crash_after":
            sim.die()
        sim.wait(sim.decisions.between("latency", 0.005, 0.1))
        if fault == "lost_answer":
            sim.wait(READ_TIMEOUT_S)
            raise TryLater(f"{operation}: no answer")
        return done

    def _refuse(self, operation: str, fault: str | None) -> None:
        """Answer what is answered without anything being done."""
        match fault:
            case "crash":
                self.sim.die()
            case "down":
                raise TryLater(f"{operation}: no connection", is_definite=True)
            case "503":
                raise TryLater(f"{operation}: 503")
            case "429":
                wait = timedelta(seconds=1 + int(20 * self.sim.decisions.value("429")))
                raise TryLater(f"{operation}: 429", after=wait, counts=False, is_definite=True)
            case "401":
                raise ConsentLost(f"{operation}: 401")
            case "410":
                raise CursorGone(f"{operation}: 410")

    def _haunt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as refused:  # nobody hears it
            self.sim.note(f"a late request: {refused}")


class SimulatedAuthority:
    """
    One platform's authorisation server.

    `doubtful` are refresh tokens that were sent where we do not know whether they arrived: who comes
    with one of them once more cannot know better.
    """

    def __init__(
        self,
        door: Door,
        fake: FakeAuthority,
        holders: Mapping[str, Holder],
        *,
        access_outlives_consent: bool,
    ) -> None:
        self.fake = fake
        self.door = door
        self.doubtful: set[str] = set()
        self.given: dict[str, Given] = {}
        self.serials: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self._sim = door.sim
        self._holders = holders
        self._outlives = access_outlives_consent
        self._under_way: dict[str, list[Turn]] = {}
        self._in_doubt = 0

    def consent_url(self, app: OAuthApp, consent: Consent) -> str:
        return self.fake.consent_url(app, consent)

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        def act() -> Tokens:
            found = self.fake.redeem(app, code, redirect_uri=redirect_uri, verifier=verifier)
            return self._noted(found, is_first=True)

        return self.door.pass_through("redeem", act, faults=FAULTS)

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        holder = self.holder_of(refresh_token)
        self.asked[refresh_token] += 1
        self._sim.invariants.refreshing(self, holder, refresh_token)

        def act() -> Tokens:
            self._sim.invariants.sending(self, holder, refresh_token)
            self.doubtful.add(refresh_token)  # until whoever asked has the answer
            return self._noted(self.fake.refresh(app, refresh_token))

        with self._alone(holder):
            given = self.door.pass_through(
                "refresh", act, faults=FAULTS, doubt=lambda: self.doubtful.add(refresh_token)
            )
        self.doubtful.discard(refresh_token)
        if given.refresh_token is not None:
            self._sim.invariants.answered(self, holder, refresh_token, given.refresh_token)
        return given

    def account(self, access_token: str) -> Account:
        return self.door.pass_through(
            "account", lambda: self.fake.account(access_token), faults=ACCOUNT_FAULTS
        )

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        self.door.pass_through("revoke", lambda: self.fake.revoke(app, refresh_token), faults=FAULTS)

    # What the world does with it

    def holder_of(self, refresh_token: str) -> Holder:
        return self._holders[self._family_of(refresh_token).account.id]

    def is_alive(self, refresh_token: str) -> bool:
        """Say whether a refresh token would be accepted now."""
        family = self._family_of(refresh_token)
        return not family.is_revoked and (not self.fake.is_strict or refresh_token == family.current)

    def is_spent(self, refresh_token: str) -> bool:
        return refresh_token in self._family_of(refresh_token).spent

    def _family_of(self, refresh_token: str) -> Family:
        family = self.fake._family_of(refresh_token)
        assert family is not None, "nobody was given this"
        return family

    def take_back(self, holder: Holder) -> None:
        """Have somebody take back every consent."""
        for family in self.fake._families:
            if family.account == holder.account:
                family.is_revoked = True

    def expire_access(self, holder: Holder) -> None:
        """Have the access tokens of somebody end before their time."""
        now = self._sim.now()
        for token, given in self.given.items():
            if given.holder is holder and given.expires_at > now:
                self.given[token] = Given(holder, now, given.refresh_token, given.is_first)

    def let_in(self, access_token: str) -> Holder:
        """Say whose access token this is; ConsentLost unless it is good."""
        given = self.given[access_token]
        self._sim.invariants.using(self, given)
        is_dead = not self._outlives and all(
            family.is_revoked
            for family in self.fake._families
            if family.account == given.holder.account
        )
        if is_dead or given.expires_at <= self._sim.now():
            msg = "401 invalid token"
            raise ConsentLost(msg)
        return given.holder

    def _noted(self, given: Tokens, *, is_first: bool = False) -> Tokens:
        holder = self._holders[self.fake.account(given.access_token).id]
        self.given[given.access_token] = Given(
            holder, self._sim.now() + given.expires_in, given.refresh_token, is_first
        )
        if given.refresh_token is not None:
            self.serials[given.refresh_token] = len(self.serials)
        return given

    @contextmanager
    def _alone(self, holder: Holder) -> Iterator[None]:
        """I14: see that nobody else refreshes for the same account meanwhile."""
        turn = self._sim.stage.current
        under_way = self._under_way.setdefault(holder.account.id, [])
        if turn is None:
            yield
            return
        for other in under_way:
            if not other.is_dead and not any(kind == "Connection" for kind, _ in other.overtaken):
                self._sim.violated(f"I14 two refreshes at once for {holder.email}")
        under_way.append(turn)
        try:
            yield
        finally:
            under_way.remove(turn)


class SimulatedAccounts:
    """The calendars of one platform's accounts; channels live no longer than *longest_life*."""

    def __init__(
        self,
        door: Door,
        authority: SimulatedAuthority,
        *,
        may_keep_quiet: bool,
        longest_life: timedelta | None,
    ) -> None:
        self.may_keep_quiet = may_keep_quiet
        self._door = door
        self._authority = authority
        self._sim = door.sim
        self._longest_life = longest_life

    def calendars(self, token: str) -> Sequence[OfferedCalendar]:
        return self._door.pass_through(
            "list_calendars", lambda: self._authority.let_in(token).calendars.calendars(token)
        )

    def read_all(
        self, token: str, calendar: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        def begin() -> Iterator[Reading]:
            held = self._authority.let_in(token).calendars
            return held.read_all(token, calendar, window, email=email)

        return self._pages("list_events", token, begin)

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        def begin() -> Iterator[Reading]:
            held = self._authority.let_in(token).calendars
            return held.read_changes(token, calendar, cursor, window, email=email)

        return self._pages("list_changes", token, begin)

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        if self._longest_life is not None:
            until = min(until, self._sim.now() + self._longest_life)

        def act() -> OpenChannel:
            held = self._authority.let_in(token).calendars
            return held.open_channel(token, calendar, channel_id=channel_id, secret=secret, until=until)

        return self._door.pass_through("open_channel", act)

    def renew_channel(self, token: str, external_id: str, *, until: datetime) -> OpenChannel | None:
        if self._longest_life is not None:
            until = min(until, self._sim.now() + self._longest_life)

        def act() -> OpenChannel | None:
            held = self._authority.let_in(token).calendars
            held.end_channels(self._sim.now())
            return held.renew_channel(token, external_id, until=until)

        return self._door.pass_through("renew_channel", act)

    def close_channel(self, token: str, channel_id: UUID, external_id: str) -> None:
        def act() -> None:
            held = self._authority.let_in(token).calendars
            held.close_channel(token, channel_id, external_id)

        self._door.pass_through("close_channel", act)

    def _pages(
        self, operation: str, token: str, begin: Callable[[], Iterator[Reading]]
    ) -> Iterator[Reading]:
        """Yield page after page; each is a call of its own, between which anything may happen."""
        faults = CHANGES_FAULTS if operation == "list_changes" else ACCOUNT_FAULTS
        readings: Iterator[Reading] | None = None

        def act() -> Reading | None:
            nonlocal readings
            if readings is None:
                readings = begin()
            else:
                self._authority.let_in(token)
            return next(readings, None)

        while True:
            reading = self._door.pass_through(operation, act, faults=faults)
            if reading is None:
                return
            yield reading
            if reading.cursor is not None:
                return
