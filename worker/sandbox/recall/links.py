"""
Meeting links: which platform one belongs to, which one of an event wins, and how a bot shows it.

Sources: docs.recall.ai calendar-integration-faq (precedence), meeting-urls (the object on bots).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit

from worker.sandbox.recall.forms import Json

# In order of precedence inside one text.
_PATTERNS = (
    (
        "zoom",
        re.compile(
            r"https://(?:[\w-]+\.)*zoom(?:gov)?\.(?:us|com)/(?:j|s|w|my)/[^\s\"'<>)\]]+", re.IGNORECASE
        ),
    ),
    (
        "google_meet",
        re.compile(
            r"https://meet\.google\.com/[a-z]{3,4}-[a-z]{3,4}-[a-z]{3,4}[^\s\"'<>)\]]*", re.IGNORECASE
        ),
    ),
    (
        "microsoft_teams",
        re.compile(
            r"https://teams\.microsoft\.(?:com|us)/(?:l/meetup-join|meet)/[^\s\"'<>)\]]+", re.IGNORECASE
        ),
    ),
    (
        "microsoft_teams_live",
        re.compile(r"https://teams\.live\.com/meet/[^\s\"'<>)\]]+", re.IGNORECASE),
    ),
    ("webex", re.compile(r"https://[\w-]+\.webex\.com/[^\s\"'<>)\]]+", re.IGNORECASE)),
    (
        "goto_meeting",
        re.compile(
            r"https://(?:meet\.goto\.com|(?:[\w-]+\.)?gotomeeting\.com/join|gotomeet\.me)/[^\s\"'<>)\]]+",
            re.IGNORECASE,
        ),
    ),
)

_TEAMS_FIELDS = (
    "meeting_id", "meeting_password", "organizer_id", "tenant_id", "message_id", "thread_id",
    "business_meeting_id", "business_meeting_password",
)  # fmt: skip


def platform_of(url: str) -> str | None:
    """Name the platform of a link that bots can open."""
    return next((name for name, pattern in _PATTERNS if pattern.match(url)), None)


def chosen_link(texts: Iterable[str | None]) -> tuple[str, str] | None:
    """Pick (platform, url): the first text with any link, and in it the platform that comes first."""
    for text in texts:
        for name, pattern in _PATTERNS:
            if found := pattern.search(text or ""):
                return name, found.group(0).replace("&amp;", "&").rstrip(".,;")
    return None


def link_object(url: str) -> Json | None:
    """Take a link apart the way Bot answers show it; None if no known platform."""
    platform = platform_of(url)
    split = urlsplit(url)
    parts = [unquote(part) for part in split.path.split("/") if part]
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    match platform:
        case "zoom":
            return {"meeting_id": parts[-1], "meeting_password": query.get("pwd"), "platform": platform}
        case "google_meet":
            return {"meeting_id": parts[0], "platform": platform}
        case "microsoft_teams" | "microsoft_teams_live":
            return _teams(platform, parts, query)
        case "webex":
            subdomain = split.netloc.split(".")[0]
            if "MTID" in query or "mtid" in query:
                mtid = query.get("MTID") or query["mtid"]
                return {
                    "meeting_subdomain": subdomain,
                    "meeting_mtid": mtid,
                    "meeting_path": split.path,
                    "platform": platform,
                }
            return {
                "meeting_subdomain": subdomain,
                "meeting_personal_room_id": parts[-1],
                "platform": platform,
            }
        case "goto_meeting":
            return {"meeting_id": parts[-1], "platform": platform}
        case _:
            return None


def _teams(platform: str, parts: list[str], query: dict[str, str]) -> Json:
    shown: Json = dict.fromkeys(_TEAMS_FIELDS)
    shown["platform"] = platform
    if parts[:2] == ["l", "meetup-join"]:
        try:
            context = json.loads(query.get("context", "{}"))
        except ValueError:
            context = {}
        shown |= {"organizer_id": context.get("Oid"), "tenant_id": context.get("Tid")}
        shown |= {
            "thread_id": parts[2] if len(parts) > 2 else None,
            "message_id": parts[3] if len(parts) > 3 else "0",
        }
    elif platform == "microsoft_teams":
        shown |= {"business_meeting_id": parts[-1], "business_meeting_password": query.get("p")}
    else:
        shown |= {"meeting_id": parts[-1], "meeting_password": query.get("p")}
    return shown
