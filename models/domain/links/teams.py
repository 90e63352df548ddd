"""
Microsoft Teams links: one meeting, five spellings.

Source: the link collections in MeetingBar's and Attendee's tests.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import quote

from models.domain.events import MeetingLink
from models.domain.links.addresses import Address, decoded, read_address, write_url

HOSTS = ("teams.microsoft.com", "teams.microsoft.us", "teams.live.com", "teams.cloud.microsoft")
PLATFORM = "microsoft_teams"

_THREAD = re.compile(r"[A-Za-z0-9_:.@=~+-]{1,300}")
_MESSAGE = re.compile(r"[0-9]{1,30}")
_NUMBER = re.compile(r"[0-9]{4,30}")
_ID = r"\"\s{0,5}:\s{0,5}\"([0-9A-Za-z-]{1,64})\""
_TENANT = re.compile(rf"\"Tid{_ID}", re.IGNORECASE)
_ORGANIZER = re.compile(rf"\"Oid{_ID}", re.IGNORECASE)


def teams_link(address: Address) -> MeetingLink | None:
    """Recognise a Teams meeting: long link, short link, web client, launcher or light meeting."""
    if coords := address.value("coords"):
        return _from_coordinates(address.host, coords)
    route = _route(address)
    if route is None:
        return None
    match _from_known_part(route.segments()):
        case ["meetup-join", thread, *rest]:
            message = rest[0] if rest else "0"
            return _long(route.host, decoded(thread), message, decoded(route.value("context") or ""))
        case ["meet", number]:
            return _short(route, number)
    return None


def _route(address: Address) -> Address | None:
    """Find the part of the address that names the meeting: launchers and web clients wrap it."""
    inside = address.fragment
    if launched := address.value("url"):
        inside = launched.partition("#")[2] or launched
    if not inside.startswith("/"):
        return address
    return read_address(f"https://{address.host}" + quote(inside, safe="/?&=#%:@+,;~$!*'()"))


def _from_known_part(segments: list[str]) -> list[str]:
    """Drop what stands before the meeting: `v2`, `_`, a language."""
    for position, segment in enumerate(segments):
        if segment == "meetup-join" and segments[position - 1 : position] == ["l"]:
            return segments[position:]
        if segment == "meet":
            return segments[position:]
    return []


def _short(route: Address, number: str) -> MeetingLink | None:
    """Personal meetings may have no passcode; in work ones a link without it opens nothing."""
    passcode = route.passcode("p")
    if not _NUMBER.fullmatch(number) or not (passcode or route.is_at("teams.live.com")):
        return None
    url = write_url(route.host, ["meet", number], [("p", passcode)])
    return MeetingLink(PLATFORM, url, f"{PLATFORM}:meet/{number}") if url else None


def _long(host: str, thread: str, message: str, context: str) -> MeetingLink | None:
    if not _THREAD.fullmatch(thread) or not _MESSAGE.fullmatch(message):
        return None
    tenant, organizer = (
        found[1].lower() if found else ""
        for found in (_TENANT.search(context), _ORGANIZER.search(context))
    )
    kept = context if (tenant or organizer) and "%" not in context else None
    url = write_url(host, ["l", "meetup-join", thread, message], [("context", kept)])
    if url is None:
        return None
    if kept is None:
        tenant = organizer = ""
    return MeetingLink(PLATFORM, url, f"{PLATFORM}:{thread}/{message}/{tenant}/{organizer}")


def _from_coordinates(host: str, coords: str) -> MeetingLink | None:
    """Read `light-meetings/launch?coords=`: base64 of a JSON object that names the long link."""
    plain = coords.replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=")
    try:
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    named = {
        name: found[1]
        for name in ("conversationId", "messageId", "tenantId", "organizerId")
        if (
            found := re.search(rf"\"{name}\"\s{{0,5}}:\s{{0,5}}\"?([A-Za-z0-9_:.@=~+-]{{1,300}})", text)
        )
    }
    if "conversationId" not in named:
        return None
    context = f'{{"Tid":"{named.get("tenantId", "")}","Oid":"{named.get("organizerId", "")}"}}'
    return _long(host, named["conversationId"], named.get("messageId", "0"), context)
