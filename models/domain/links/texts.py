"""Where URLs stand in what people and programs write: HTML, plain text, or half of each."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from models.domain.links.platforms import is_platform_host

MAX_TEXT_CHARS = 64 * 1024
_MAX_CANDIDATES = 1_000

_BREAK = r"\s<>\"'\u200b-\u200d\u2060\ufeff"  # what no URL contains; the last ones are invisible
_TOKEN = re.compile(rf"[^{_BREAK}]+")
_BREAKS = re.compile(rf"[{_BREAK}]")
_HREF = re.compile(r"href\s{0,20}=\s{0,20}(?:\"([^\"<>]{1,8192})\"|'([^'<>]{1,8192})')", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?|zoommtg|zoomus)(?:://|%3a%2f%2f)", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)


def candidates(text: str) -> Iterator[str]:
    """
    Yield what may be URLs in *text*: the targets of HTML links, then what is written, in order.

    A host of a meeting platform counts without `https://` too; that is how people fill in places.
    """
    text = _shortened(text)
    left = _MAX_CANDIDATES
    for candidate in _all(text):
        yield candidate
        left -= 1
        if not left:
            return


def _all(text: str) -> Iterator[str]:
    for link in _HREF.finditer(text):
        yield _unescaped(link[1] or link[2])
    for token in _TOKEN.findall(_unescaped(text)):
        scheme = _SCHEME.search(token)
        if scheme:
            yield token[scheme.start() :]
        elif "/" in token:
            bare = token.lstrip("([{*_,;:")
            if is_platform_host(bare.partition("/")[0].lower()):
                yield f"https://{bare}"


def _unescaped(text: str) -> str:
    """Undo entities that end in `;`: html.unescape alone would cut `…&gtm=1` at its `&gt`."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _shortened(text: str) -> str:
    """
    Keep the two ends of a long text; invitations stand at the top or below everything else.

    Never half a word: half a link may be another meeting's.
    """
    if len(text) <= MAX_TEXT_CHARS:
        return text
    half = MAX_TEXT_CHARS // 2
    head, tail = text[:half], text[-half:]
    breaks = [found.start() for found in _BREAKS.finditer(head)]
    first_break = _BREAKS.search(tail)
    head = head[: breaks[-1]] if breaks else ""
    tail = tail[first_break.start() :] if first_break else ""
    return f"{head}\n{tail}"
