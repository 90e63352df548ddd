"""What the world does while processes die: people edit calendars, Recall misbehaves, clients call the API."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import text

from tests.faults.dying import PATIENCE_S, RECEIVER, Cast, Trouble, dies_soon
from tests.publishers.sink import Sink
from tests.system.oracle import Copy, Oracle, spec_of
from tests.system.rig import answer

HOUR = timedelta(hours=1)
_BASE = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=2)


@dataclass(kw_only=True)
class World(Cast):
    """
    The cast, and what happens to it.

    `oracle` is told of every edit and knows which bots should live; nothing of the product helps it.
    """

    sink: Sink
    oracle: Oracle = field(default_factory=Oracle)
    people: tuple[str, ...] = ()
    _meetings: int = 0

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API as a careful client does: again, under the same key, until there is an answer."""
        key = uuid4().hex
        headers = {"Idempotency-Key": key} if method == "POST" else {}
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                response = self.api.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                if self.lives[RECEIVER].is_over or dies_soon(self.lives[RECEIVER]):
                    self.revive(RECEIVER)
                continue
            if response.status_code == 409 and "request_in_flight" in response.text:
                self._forget_open_requests()
                continue
            if response.status_code == 404 and method == "DELETE":
                return None
            return answer(response)
        raise Trouble(f"{method} {path}: no answer")

    def _forget_open_requests(self) -> None:
        with self.db.begin() as tx:
            tx.execute(
                text(
                    "UPDATE idempotent_requests SET created_at = created_at - interval '1 hour'"
                    " WHERE status IS NULL"
                )
            )

    def calendar(self, email: str | None = None) -> str:
        """Connect a mailbox at Recall; Recall's id for it is returned."""
        wish = {"email": email or f"person{uuid4().hex[:8]}@example.com"}
        return str(answer(self.emulator.post("/calendars", json=wish))["id"])

    def ours(self, ref: str) -> str:
        """Return our own id of a calendar."""
        found = self.call("GET", f"/v1/calendars?external_id={ref}")["data"]
        return str(found[0]["id"])

    def meeting(self, calendar: str, *, title: str = "weekly sync", like: str | None = None) -> str:
        """Put a meeting into a calendar, a new one or another one's copy."""
        if like is None:
            copy = self.new_copy(calendar, title)
        else:
            known = self.oracle.copies[like]
            copy = Copy(calendar, known.start, known.link, known.title)
        made = answer(self.emulator.post(f"/calendars/{calendar}/events", json=spec_of(copy)))
        self.oracle.copies[made["id"]] = copy
        return str(made["id"])

    def new_copy(self, calendar: str, title: str = "weekly sync") -> Copy:
        """Think of a meeting that nobody has yet: a place and a time of its own."""
        self._meetings += 1
        start = _BASE + self._meetings * timedelta(minutes=5)
        return Copy(calendar, start, f"https://meet.google.com/{_letters(self._meetings)}", title)

    def edit(self, event: str, **fields: Any) -> None:
        """Change a meeting at its calendar; `start` and `link` as the oracle keeps them."""
        copy = self.oracle.copies[event]
        wish = dict(fields)
        if "start" in fields:
            wish["start"] = fields["start"].isoformat()
            wish["end"] = (fields["start"] + HOUR).isoformat()
        answer(self.emulator.patch(f"/events/{event}", json=wish))
        known: dict[str, Any] = {
            name: fields[name] for name in ("start", "link", "title") if name in fields
        }
        self.oracle.copies[event] = replace(copy, **known)

    def move(self, event: str, minutes: int = 2) -> None:
        """Move a meeting a little."""
        self.edit(event, start=self.oracle.copies[event].start + timedelta(minutes=minutes))

    def relink(self, event: str) -> None:
        """Give a meeting another link."""
        self._meetings += 1
        self.edit(event, link=f"https://meet.google.com/{_letters(self._meetings)}")

    def delete(self, event: str) -> None:
        """Delete a meeting at its calendar."""
        self.erase(event)
        self.forget(event)

    def erase(self, event: str) -> None:
        """Take an event out of its calendar, whatever is expected of its bot."""
        answer(self.emulator.delete(f"/events/{event}"))

    def forget(self, *events: str) -> None:
        """Expect no bot for these any more."""
        for event in events:
            copy = self.oracle.copies[event]
            self.oracle.copies[event] = replace(copy, gone=True)

    def exclude(self, *words: str) -> None:
        """Rule out titles with these words."""
        self.call("PUT", "/v1/rules", {"select": ["all"], "title_excludes": list(words)})
        self.oracle.excluded = list(words)

    def bots_of(self, event: str) -> list[dict[str, Any]]:
        """List the live bots at a meeting's link and time."""
        copy = self.oracle.copies[event]
        seat = (copy.link, copy.start.isoformat()[:19])
        return [bot for bot in self.live_bots() if seat_of(bot) == seat]

    def live_bots(self) -> list[dict[str, Any]]:
        """List the bots that live at Recall; one that is leaving does not."""
        found = answer(self.emulator.get("/bots", params={"live": "true"}))
        return [bot for bot in found if bot["state"] != "call_ended"]

    def fault(self, **wish: Any) -> None:
        """Order a fault of Recall's."""
        answer(self.emulator.post("/faults", json=wish))

    def recover(self) -> None:
        """Withdraw every fault of Recall's."""
        answer(self.emulator.delete("/faults"))

    def keep_bot_news_back(self, *, kept: bool) -> None:
        """Have Recall say nothing about bots, or again what happens to them."""
        only = ["calendar.sync_events", "calendar.update"]
        answer(self.emulator.put("/webhook", json={"events": only if kept else None}))

    def put_astray_bot(self) -> None:
        """Have a bot of this installation's live at Recall that no slot knows."""
        with self.db.begin() as tx:
            install_id = tx.execute(text("SELECT install_id FROM installation")).scalar_one()
        marks = {"punctual_install": str(install_id), "punctual_slot": str(uuid4())}
        join_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        answer(self.emulator.post("/bots", json={"join_at": join_at, "metadata": marks}))

    def have_duties_done(self) -> None:
        """Let the time come for what is done every few minutes, and have it done."""
        with self.db.begin() as tx:
            tx.execute(text("UPDATE slots SET updated_at = updated_at - interval '5 minutes'"))
            tx.execute(text("UPDATE duties SET wanted = wanted + 1, due_at = now()"))

    def subscribe(self, path: str = "") -> str:
        """Make the sink a subscriber; our id of the endpoint is returned."""
        url = f"http://127.0.0.1:{self.sink.port}/{path or uuid4().hex}"
        return str(self.call("POST", "/v1/endpoints", {"url": url})["id"])

    def clean_up(self) -> None:
        """Delete every meeting that is left."""
        for event, copy in self.oracle.copies.items():
            if not copy.gone:
                self.erase(event)
        self.oracle.copies.clear()


def seat_of(bot: Mapping[str, Any]) -> tuple[str, str]:
    return (str(bot["meeting_url"]), str(bot["join_at"])[:19])


def _letters(number: int) -> str:
    """Spell a number as the code of a meeting."""
    letters = ""
    for _ in range(10):
        number, rest = divmod(number, 26)
        letters += chr(97 + rest)
    return f"{letters[:3]}-{letters[3:7]}-{letters[7:]}"
