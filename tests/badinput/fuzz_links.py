"""
Fuzz targets of what people write: links in texts, names of time zones, events of providers.

Nothing ever raises but what a reader promises to raise, a canonical link stays what it is, and a
redacted one shows no passcode.
"""

from __future__ import annotations

import json
import re
from typing import Any

from models.domain.events import MeetingLink
from models.domain.links import PLATFORMS, canonical, find_link, redacted, vouched
from models.domain.zones import zone
from tests.providers.payloads.builders import NAMES, a_google_event, a_graph_event
from worker.ports import FoundEvent, Unreadable
from worker.providers.recall.rows import read_row

PASSCODES = frozenset(
    {"pwd", "p", "tk", "pw", "passcode", "password", "pass", "jwt", "roomkey", "zak", "token", "secret"}
)
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f<>\"'\\]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read_links(data: bytes) -> None:
    """Search texts for a link, and read each of them as one."""
    texts = data.decode("utf-8", "surrogateescape").split("\x00")[:6]
    check(find_link(texts))
    for text in texts:
        link = canonical(text)
        check(link)
        trusted = vouched(text)
        check(trusted)
        assert link is None or trusted == link, "a recognised link is vouched for as something else"
        assert link is None or canonical(link.url) == link, "a canonical link changed"
        once = redacted(text)
        assert redacted(once) == once, "a redacted text changed"


def check(link: MeetingLink | None) -> None:
    """Fail unless a link is on a known platform, clean, and redacted without its passcodes."""
    if link is None:
        return
    assert link.platform in PLATFORMS
    assert link.url.startswith("https://")
    assert "://" not in link.url[len("https://") :]
    assert len(link.url) <= 2_000
    assert not _UNFIT.search(link.url)
    safe = redacted(link.url)
    for pair in link.url.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if name.lower() in PASSCODES and value:
            assert f"{name}={value}&" not in f"{safe}&" or value == "***", "a passcode shows"


def read_zones(data: bytes) -> None:
    """Look a name up."""
    found = zone(data.decode("utf-8", "surrogateescape"))
    assert found is None or (found.key and ".." not in found.key)


def read_events(data: bytes) -> None:
    """Read a row of a listing: the bytes as JSON, or a good row with values from the bytes in it."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        row = _spoiled(data)
    found = read_row(row, email_of=lambda _ref: "anna@acme.test")
    if isinstance(found, Unreadable):
        assert "@" not in (found.reason or "")
        return
    assert isinstance(found, FoundEvent)
    event = found.event
    # A tombstone may know no more than when something was.
    assert event.start < event.end or (event.deleted and event.start == event.end)
    assert event.start.utcoffset() is not None
    texts = [event.title, event.external_id, event.ical_uid, event.series_id or ""]
    texts += [person.email for person in event.attendees]
    assert not any(_UNSTORABLE.search(text) for text in texts)
    check(event.link)


class Spring:
    """Gives values for as long as there are bytes, then dull ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % below

    def text(self) -> str:
        size = self.number(40)
        self._at += size
        return self._data[self._at - size : self._at].decode("utf-8", "surrogateescape")

    def value(self, depth: int = 0) -> Any:
        match self.number(9 if depth < 4 else 7):
            case 0:
                return None
            case 1:
                return self.number(2) == 1
            case 2:
                return self.number(256) * 10 ** self.number(20)
            case 3:
                return _TIMES[self.number(len(_TIMES))]
            case 4:
                return _URLS[self.number(len(_URLS))] + self.text()
            case 5 | 6:
                return self.text()
            case 7:
                return [self.value(depth + 1) for _ in range(self.number(4))]
            case _:
                return {self.name(): self.value(depth + 1) for _ in range(self.number(4))}

    def name(self) -> str:
        return NAMES[self.number(len(NAMES))] if self.number(4) else self.text()


_TIMES = [
    "2026-11-23T12:00:00Z", "2026-02-30T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-11-23", "infinity", "",
]  # fmt: skip
_URLS = [
    "https://zoom.us/j/",
    "https://meet.google.com/",
    "https://teams.microsoft.com/meet/",
    "javascript:",
    "",
]


def _row(platform: str, raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001",
        "calendar_id": "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f002",
        "updated_at": "2026-11-20T12:00:00Z",
        "start_time": "2026-11-23T12:00:00Z",
        "end_time": "2026-11-23T13:00:00Z",
        "meeting_url": "https://meet.google.com/abc-defg-hij",
        "ical_uid": "abc@google.com",
        "platform": platform,
        "is_deleted": False,
        "bots": [],
        "raw": raw,
    }


def _spoiled(data: bytes) -> dict[str, Any]:
    spring = Spring(data)
    row = _row("google_calendar", a_google_event())
    if spring.number(2):
        row = _row("microsoft_outlook", a_graph_event())
    for _ in range(1 + spring.number(3)):
        where = row["raw"] if spring.number(3) and isinstance(row["raw"], dict) else row
        names = sorted(where)
        where[names[spring.number(len(names))] if names else spring.name()] = spring.value()
    return row


LINK_SEEDS = [
    text.encode()
    for text in (
        "https://us02web.zoom.us/j/81234567890?pwd=abcDEF123.1&tk=token",
        "https://zoom.us/my/anna?pwd=secret1234",
        "https://meet.google.com/abc-defg-hij?authuser=0&hs=122",
        "https://teams.microsoft.com/l/meetup-join/19%3ameeting_abc%40thread.v2/0?context=%7b%22Tid%22%3a%22x%22%7d",
        "https://teams.live.com/meet/9312345678901?p=AbCdEf",
        "https://acme.webex.com/acme/j.php?MTID=m0123456789abcdef",
        "https://whereby.com/room?roomKey=secretkey",
        "https://meet.jit.si/Room?jwt=eyJhbGciOi.x.y",
        "https://bluejeans.com/123456/7890",
        "https://v.ringcentral.com/join/123456?pw=topsecret",
        "https://www.google.com/url?q=https%3A%2F%2Fzoom.us%2Fj%2F812%3Fpwd%3Dabcd&sa=D",
        "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fzoom.us%2Fj%2F812&data=x",
        "https://urldefense.com/v3/__https://zoom.us/j/812?pwd=abcd__;!!x",
        "https://urldefense.proofpoint.com/v2/url?u=https-3A__zoom.us_j_812&d=x",
        '<a href="https://zoom.us/j/812?pwd=a&amp;x=1">join</a> or https://meet.google.com/abc-defg-hij.',
        "Join: zoom.us/j/812 (pwd: abc), https://anna:pw@zoom.us/j/1",
        "https://zoom.us@evil.example/j/812\x00https://zoom.us.evil.example/j/1",
        "javascript:alert(1)//zoom.us/j/812",
    )
]
LINK_TOKENS = [
    text.encode()
    for text in (
        "https://", "http://", "zoommtg://", "://", "%3A%2F%2F", "%253A", "?pwd=", "&pwd=", "&amp;", "&tk=",
        "?p=", "#", "@", "/j/", "/my/", "/wc/join/", "zoom.us", "meet.google.com", "teams.microsoft.com",
        ".evil.example", "__;", "*", "**A",  "\u202e", "\u200b", "..", "/../", "%2e%2e", "\\",
        '<a href="', '">', "&#47;", "&gt;",
        "jwt=", "roomKey=", "***", "bluejeans.com/1/2", "context=%7b", "\x00", "\xe9", "①",
    )
]  # fmt: skip
ZONE_SEEDS = [
    text.encode()
    for text in (
        "Europe/Berlin", "UTC", "W. Europe Standard Time", "tzone://Microsoft/Utc", "Customized Time Zone",
        "../../etc/passwd", "Mars/Phobos", "localtime", "posix/Europe/Berlin", "Etc/GMT+12", "",
    )
]  # fmt: skip
EVENT_SEEDS = [
    json.dumps(_row(platform, raw)).encode()
    for platform, raw in (
        ("google_calendar", a_google_event()),
        ("microsoft_outlook", a_graph_event()),
        (
            "google_calendar",
            a_google_event(start={"date": "2026-11-23"}, recurrence=["RRULE:FREQ=DAILY"]),
        ),
        ("other", {}),
    )
] + [bytes(range(at, at + 60)) for at in range(0, 190, 20)]
