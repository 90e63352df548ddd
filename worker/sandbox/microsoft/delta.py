"""
What changed in a calendar view since a token: the rounds, their pages, and the tokens that are remembered.

The window is frozen when the first request of a chain is made. A chain's tokens are numbered ("generations"),
and only the newest are remembered.
Sources: learn.microsoft.com/graph/api/event-delta, graph/delta-query-events; microsoft-graph-docs #2350, #2162
(generations), PR #4501 (a series stays on one page, a deleted occurrence is not signalled).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from worker.sandbox.microsoft import ids, view
from worker.sandbox.microsoft.mailbox import Calendar, Item
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.recall.forms import Json

REMOVED = {"reason": "deleted"}  # the only reason delta of events gives


class MalformedToken(Exception):
    """No token was ever written like that."""


class ForgottenToken(Exception):
    """The token is too old; *chain* is None when nothing is known of it."""

    def __init__(self, chain: Chain | None = None, generation: int = 0) -> None:
        super().__init__(f"generation {generation}")
        self.chain = chain
        self.generation = generation


@dataclass(frozen=True, slots=True)
class Removed:
    """A row that says an item, or an occurrence of it, is not in the view; its ids are those it had."""

    cores: tuple[str, str]
    on: date | None = None

    def shown(self, *, immutable: bool) -> Json:
        shown_id = ids.item_id(self.cores[immutable], self.on, immutable=immutable)
        return {"@odata.type": "#microsoft.graph.event", "id": shown_id, "@removed": dict(REMOVED)}


Row = Entry | Removed
Group = tuple[Row, ...]  # rows that stay on one page


@dataclass(frozen=True, slots=True)
class Generation:
    """What one token stands for: the groups still to come of its round, and where the next round begins."""

    pending: tuple[Group, ...]
    until: int  # lines of the log that this round covers
    occurrences: dict[
        int, frozenset[date]
    ]  # of each series, by item key, that the client knows after it


@dataclass(slots=True)
class Chain:
    """All tokens that came of one first request."""

    number: int
    calendar: Calendar
    start: datetime
    end: datetime
    highest: int = 0
    generations: dict[int, Generation] = field(default_factory=dict)

    def remember(self, meaning: Generation, kept: int) -> int:
        """Return the number of a token with this meaning; of more than *kept* the oldest are forgotten."""
        known = next((each for each, what in self.generations.items() if what == meaning), None)
        if known is not None:
            return known
        self.highest += 1
        self.generations[self.highest] = meaning
        if kept:
            for old in [each for each in self.generations if each <= self.highest - kept]:
                del self.generations[old]
        return self.highest


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a round: its rows and the token that leads on; *is_last* makes it a deltaLink."""

    rows: list[Row]
    token: str
    is_last: bool


@dataclass(slots=True)
class Rounds:
    """The chains of all mailboxes."""

    store: Store
    chains: dict[int, Chain] = field(default_factory=dict)
    _count: int = 0

    def begin(self, calendar: Calendar, start: datetime, end: datetime, size: int) -> Page:
        """Start a chain: everything in the window, in pages of about *size* rows."""
        self._count += 1
        chain = self.chains[self._count] = Chain(self._count, calendar, start, end)
        self._forget_oldest(calendar)
        groups, known = _all_groups(chain)
        if self.store.switches.empty_delta_pages:
            groups = [(), *groups]
        return self._page(chain, Generation(tuple(groups), len(calendar.log), known), size)

    def resume(self, token: str, calendar: Calendar, size: int) -> Page:
        """
        Go on with a round, or begin the next one after a deltaLink. A token may be used again.

        Raises:
            ForgottenToken: too many tokens of its chain are newer, or it is another calendar's.
            MalformedToken: it is no token.
        """
        chain, generation = self._found(token, calendar)
        meaning = chain.generations.get(generation)
        if meaning is None:
            raise ForgottenToken(chain, generation)
        if not meaning.pending:
            groups, known = _changed_groups(self.store, chain, meaning)
            meaning = Generation(tuple(groups), len(calendar.log), known)
        return self._page(chain, meaning, size)

    def forget(self, account_id: str | None = None) -> int:
        """Forget every token of a mailbox, or of all, and tell how many chains that ended."""
        ended = 0
        for chain in self.chains.values():
            if account_id in (None, chain.calendar.mailbox.account.id) and chain.generations:
                chain.generations.clear()
                ended += 1
        return ended

    def _page(self, chain: Chain, meaning: Generation, size: int) -> Page:
        taken, rest = self._cut(meaning.pending, size)
        rows = [row for group in taken for row in group if not _is_gone(row)]
        if self.store.switches.delta_repeats_rows:
            rows += rows[:2]
        following = Generation(rest, meaning.until, meaning.occurrences)
        generation = chain.remember(following, self.store.limits.delta_generations)
        return Page(rows, _token(chain, generation), not rest)

    def _cut(self, groups: tuple[Group, ...], size: int) -> tuple[list[Group], tuple[Group, ...]]:
        if self.store.switches.series_split_over_pages:
            groups = tuple((row,) for group in groups for row in group)
        if groups and not groups[0]:
            return [], groups[1:]
        taken: list[Group] = []
        while groups and sum(map(len, taken)) < size:
            taken.append(groups[0])
            groups = groups[1:]
        return taken, groups

    def _found(self, token: str, calendar: Calendar) -> tuple[Chain, int]:
        try:
            text = base64.urlsafe_b64decode(token + "==").decode()
            number, generation = (int(part) for part in text.split("."))
        except (binascii.Error, ValueError) as error:
            raise MalformedToken from error
        chain = self.chains.get(number)
        if chain is None or chain.calendar is not calendar:
            raise ForgottenToken(None, generation)
        return chain, generation

    def _forget_oldest(self, calendar: Calendar) -> None:
        most = self.store.limits.delta_states
        own = [
            number
            for number, chain in self.chains.items()
            if chain.calendar.mailbox is calendar.mailbox and chain.generations
        ]
        for number in own[: max(0, len(own) - most + 1)] if most else []:
            self.chains[number].generations.clear()


def _token(chain: Chain, generation: int) -> str:
    return base64.urlsafe_b64encode(f"{chain.number}.{generation}".encode()).decode().rstrip("=")


def _is_gone(row: Row) -> bool:
    """Leave out what went away since the round began: the next round tells."""
    if isinstance(row, Removed):
        return False
    return row.item.is_gone or (row.on is not None and not view.has_occurrence(row.item, row.on))


def _all_groups(chain: Chain) -> tuple[list[Group], dict[int, frozenset[date]]]:
    found = [_group(chain, item) for item in list(chain.calendar.items.values())]
    present = [group for group in found if group]
    return list(present), {group[0].item.key: _days(group) for group in present}


def _group(chain: Chain, item: Item) -> tuple[Entry, ...]:
    """Return an item's rows within the window: a series' master first; none if nothing lies inside."""
    inside = tuple(view.instances(item, chain.start, chain.end))
    return (Entry(item), *inside) if inside and item.recurrence is not None else inside


def _days(group: Iterable[Entry]) -> frozenset[date]:
    return frozenset(entry.on for entry in group if entry.on is not None)


def _changed_groups(
    store: Store, chain: Chain, since: Generation
) -> tuple[list[Group], dict[int, frozenset[date]]]:
    """List what the log says since *since*, each item once, in the order of its last change."""
    known = dict(since.occurrences)
    latest: dict[tuple[str, str], tuple[Item, set[str]]] = {}
    for change in chain.calendar.log[since.until :]:
        _, kinds = latest.pop(change.cores, (change.item, set[str]()))
        latest[change.cores] = change.item, kinds | {change.kind}
    groups: list[Group] = []
    for cores, (item, kinds) in latest.items():
        had = known.get(item.key)
        is_here = not item.is_gone and item.core(immutable=False) == cores[0]
        group = _group(chain, item) if is_here else ()
        groups += _rows_of(store, cores, group, had, kinds)
        if group:
            known[item.key] = _days(group)
        elif item.key in known:
            del known[item.key]
    return groups, known


def _rows_of(
    store: Store,
    cores: tuple[str, str],
    group: tuple[Entry, ...],
    had: frozenset[date] | None,
    kinds: set[str],
) -> Iterator[Group]:
    """Yield the groups that tell one item's change to a client that had *had* of it (None: nothing)."""
    switches = store.switches
    if not group:
        if had is None and not switches.removed_rows_for_strangers:
            return
        occurrences = sorted(had or ()) if switches.removed_series_lists_occurrences else []
        yield (Removed(cores), *(Removed(cores, on) for on in occurrences))
        return
    is_only_occurrence = kinds == {"occurrence_gone"}
    if not is_only_occurrence or switches.deleted_occurrence_in_delta == "series":
        yield group
    if switches.deleted_occurrence_in_delta == "removed":
        lost = sorted((had or frozenset()) - _days(group))
        yield from ((Removed(cores, on),) for on in lost)
