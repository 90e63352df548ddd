"""
Meeting links: found in what people write, unwrapped, and written one way for every copy.

Nothing here opens a link. Only hosts of known meeting platforms ever come out, whatever goes in,
and time is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.domain.events import MeetingLink
from models.domain.links.addresses import read_address, trimmed
from models.domain.links.passcodes import has_passcode, redacted
from models.domain.links.platforms import PLATFORMS, as_it_stands, recognized
from models.domain.links.texts import candidates
from models.domain.links.wrappers import MAX_WRAPPINGS, unwrapped

__all__ = ["PLATFORMS", "canonical", "find_link", "redacted", "vouched"]


def find_link(texts: Sequence[str]) -> MeetingLink | None:
    """
    Find the meeting link in *texts*, HTML or plain, the most telling one first.

    The first link in the first text that has one names the meeting. Where the same meeting is
    linked again with its passcode, here or further down, that copy is preferred.
    """
    found: MeetingLink | None = None
    for text in texts:
        for candidate in candidates(text):
            link = canonical(candidate)
            if link is None:
                continue
            if found is None or (link.key == found.key and has_passcode(link.url)):
                found = link
            if has_passcode(found.url):
                return found
    return found


def vouched(url: str) -> MeetingLink | None:
    """
    Read a URL that its provider has itself recognised as a meeting's; None off the known platforms.

    Where we do not know the form of its path, the link stays as it is.
    """
    link = canonical(url)
    if link is not None:
        return link
    address = read_address(trimmed(url))
    return as_it_stands(address) if address else None


def canonical(url: str) -> MeetingLink | None:
    """
    Read one URL as a meeting link; None when it is not certainly one.

    Mail scanners' wrappings are taken off, at most five. Canonical links stay as they are.
    """
    text = trimmed(url)
    for _ in range(MAX_WRAPPINGS + 1):
        inner = unwrapped(text)
        if inner is None:
            address = read_address(text)
            return recognized(address) if address else None
        text = trimmed(inner)
    return None
