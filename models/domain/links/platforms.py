"""
The meeting platforms: which hosts are theirs, which paths are meetings, what makes two one.

A key says the least that tells meetings apart. Links are rebuilt from parts that were checked,
so nothing unknown is handed on: no tracking, no fragment, no second address.
Source: the link collections in MeetingBar's and Attendee's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from models.domain.events import MeetingLink
from models.domain.links import teams
from models.domain.links.addresses import Address, write_url

_DIGITS = re.compile(r"[0-9]{1,20}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,200}")
_NAME = re.compile(r"[^\x00-\x20\x7f-\x9f/\\?#%<>\"':]{1,200}")
_MEET_CODE = re.compile(r"[a-z0-9]{3}-[a-z0-9]{4}-[a-z0-9]{3}")
_SHARED_ZOOM_HOST = re.compile(r"(?:(?:www|app|[a-z]{2}[0-9]{2}web)\.)?zoom\.(?:us|com)")
_LONG_ID = re.compile(r"[0-9a-z]{16,64}")
_WHEREBY_PAGES = frozenset(
    [
        "about",
        "blog",
        "contact",
        "information",
        "legal",
        "org",
        "partner-program",
        "pricing",
        "product",
        "user",
    ]
)


def recognized(address: Address) -> MeetingLink | None:
    """Read an address as the meeting it opens; None when it is no meeting of a known platform."""
    for hosts, read in _READERS:
        if address.is_at(*hosts):
            return read(address)
    return None


def as_it_stands(address: Address) -> MeetingLink | None:
    """
    Read an address on a platform's host as a meeting although its path is none we know.

    Only for links that somebody vouches for. The path names the meeting; of the query only a
    passcode is handed on.
    """
    segments = address.segments()
    for name, (hosts, _) in zip(_NAMES, _READERS, strict=True):
        if address.is_at(*hosts) and segments:
            place = "/".join([address.host, *segments]).lower()
            known = [(key, address.passcode(key)) for key in ("pwd", "p", "tk")]
            return _link(name, place, address.host, segments, known)
    return None


def is_platform_host(host: str) -> bool:
    """Say whether *host* belongs to a known platform."""
    return any(host == name or host.endswith("." + name) for name in _HOSTS)


def _link(
    platform: str,
    place: str,
    host: str,
    segments: Sequence[str],
    parameters: Iterable[tuple[str, str | None]] = (),
) -> MeetingLink | None:
    url = write_url(host, segments, parameters)
    return MeetingLink(platform, url, f"{platform}:{place}") if url else None


def _zoom(address: Address) -> MeetingLink | None:
    secrets = [(name, address.passcode(name)) for name in ("pwd", "tk")]
    match address.segments():
        case ["j" | "s" | "wc" | "w" as form, text]:
            kind = "w" if form == "w" else "j"
        case ["wc", "join", text] | ["wc", text, "join" | "start"]:
            kind = "j"
        case ["join"]:
            kind, text = "j", address.value("confno") or ""
        case ["my", name] if _NAME.fullmatch(name):
            # a personal name is only sure to be one person's within its company's host
            company = "" if _SHARED_ZOOM_HOST.fullmatch(address.host) else f"{address.host}/"
            return _link("zoom", f"{company}my/{name.lower()}", address.host, ["my", name], secrets)
        case ["webinar" | "meeting" as what, "register", token] if _WORD.fullmatch(token):
            place = f"register/{token}"
            return _link("zoom", place, address.host, [what, "register", token])
        case _:
            return None
    number = text.replace(" ", "").replace("-", "")
    if not _DIGITS.fullmatch(number):
        return None
    cloud = "gov/" if address.is_at("zoomgov.com") else ""
    return _link("zoom", f"{cloud}{number}", address.host, [kind, number], secrets)


def _google_meet(address: Address) -> MeetingLink | None:
    match [part.lower() for part in address.segments() if part != "_meet"]:
        case [code] if _MEET_CODE.fullmatch(code):
            return _link("google_meet", code, "meet.google.com", [code])
        case ["lookup", name] if _WORD.fullmatch(name):
            return _link("google_meet", f"lookup/{name}", "meet.google.com", ["lookup", name])
    return None


def _webex(address: Address) -> MeetingLink | None:
    segments = address.segments()
    match segments:
        case ["meet" | "join" as kind, name] if _NAME.fullmatch(name):
            return _link("webex", f"{address.host}/{name.lower()}", address.host, [kind, name])
        case [*sites, "j.php"] if sites and all(map(_WORD.fullmatch, sites)):
            meeting = address.value("mtid") or ""
            if not _WORD.fullmatch(meeting):
                return None
            parameters = [("MTID", meeting)]
            return _link("webex", f"mtid/{meeting.lower()}", address.host, segments, parameters)
        case ["wbxmjs", "joinservice", _, *_] | ["webappng", "sites", _, *_]:
            if not all(map(_NAME.fullmatch, segments)):
                return None
            last = segments[-1].lower()
            whole = f"{address.host}/{'/'.join(segments[1:])}".lower()
            place = f"id/{last}" if _LONG_ID.fullmatch(last) else whole
            return _link("webex", place, address.host, segments)
    return None


def _goto_meeting(address: Address) -> MeetingLink | None:
    host, segments = address.host, address.segments()
    match segments:
        case [] if address.is_at("gotomeeting.com"):
            host, room = "global.gotomeeting.com", [address.value("meetingid") or ""]
            segments = ["join", *room]
        case ["join", *room] if address.is_at("gotomeeting.com") and len(room) == 1:
            pass
        case ["meet", *room] if host in {"goto.com", "app.goto.com"} and len(room) == 1:
            pass
        case [_] | [_, _] if host == "meet.goto.com" or address.is_at("gotomeet.me"):
            room = segments
        case _:
            return None
    if not all(map(_NAME.fullmatch, room)):
        return None
    return _link("goto_meeting", "/".join(room).lower(), host, segments)


def _slack_huddle(address: Address) -> MeetingLink | None:
    match address.segments():
        case ["huddle", team, channel] if _WORD.fullmatch(team) and _WORD.fullmatch(channel):
            ids = [team.upper(), channel.upper()]
            return _link("slack_huddle", "/".join(ids), "app.slack.com", ["huddle", *ids])
    return None


def _chime(address: Address) -> MeetingLink | None:
    match address.segments():
        case [name] | ["meetings", name] if name != "meetings" and _WORD.fullmatch(name):
            return _link("chime", name.lower(), address.host, address.segments())
    return None


def _whereby(address: Address) -> MeetingLink | None:
    match address.segments():
        case [room] if _WORD.fullmatch(room) and room.lower() not in _WHEREBY_PAGES:
            place = f"{address.host.removeprefix('www.')}/{room.lower()}"
            key = [("roomKey", address.passcode("roomkey"))]
            return _link("whereby", place, address.host, [room], key)
    return None


def _jitsi(address: Address) -> MeetingLink | None:
    segments = address.segments()
    if not 1 <= len(segments) <= 2 or not all(map(_NAME.fullmatch, segments)):
        return None
    if address.host == "meet.jit.si" and segments[0] in {"static", "libs", "images"}:
        return None
    place = f"{address.host}/{'/'.join(segments).lower()}"
    return _link("jitsi", place, address.host, segments, [("jwt", address.passcode("jwt"))])


def _ringcentral(address: Address) -> MeetingLink | None:
    match address.segments():
        case ["join" | "j" as kind, number] if _WORD.fullmatch(number):
            secrets = [(name, address.passcode(name)) for name in ("pw", "pwd", "password")]
            return _link("ringcentral", number.lower(), address.host, [kind, number], secrets)
    return None


def _lark(address: Address) -> MeetingLink | None:
    match address.segments():
        case ["j", number] if _DIGITS.fullmatch(number):
            brand = "feishu" if address.is_at("feishu.cn") else "lark"
            return _link("lark", f"{brand}/{number}", address.host, ["j", number])
    return None


def _bluejeans(address: Address) -> MeetingLink | None:
    match address.segments():
        case [number, *rest] if len(rest) <= 1 and all(map(_DIGITS.fullmatch, [number, *rest])):
            return _link("bluejeans", number, address.host, [number, *rest])
    return None


_Reader = Callable[[Address], MeetingLink | None]
_READERS: tuple[tuple[tuple[str, ...], _Reader], ...] = (
    (("zoom.us", "zoom.com", "zoom.com.cn", "zoom.de", "zoom-x.de", "zoomgov.com"), _zoom),
    (("meet.google.com",), _google_meet),
    (teams.HOSTS, teams.teams_link),
    (("webex.com",), _webex),
    (("gotomeeting.com", "goto.com", "gotomeet.me"), _goto_meeting),
    (("app.slack.com",), _slack_huddle),
    (("chime.aws",), _chime),
    (("whereby.com",), _whereby),
    (("meet.jit.si", "8x8.vc"), _jitsi),
    (("v.ringcentral.com", "meetings.ringcentral.com", "video.ringcentral.com"), _ringcentral),
    (("larksuite.com", "feishu.cn"), _lark),
    (("bluejeans.com",), _bluejeans),
)
_HOSTS = tuple(host for hosts, _ in _READERS for host in hosts)

#: In the order of `_READERS`.
_NAMES = (
    "zoom",
    "google_meet",
    "microsoft_teams",
    "webex",
    "goto_meeting",
    "slack_huddle",
    "chime",
    "whereby",
    "jitsi",
    "ringcentral",
    "lark",
    "bluejeans",
)
PLATFORMS = frozenset(_NAMES)
