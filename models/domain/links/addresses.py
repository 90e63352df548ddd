"""URLs taken apart and put together strictly: what is odd is no address. Knows no platform."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

MAX_URL_CHARS = 2_000
MAX_WRAPPED_CHARS = 8_192  # a wrapped Teams link has about 1,000
_MAX_PARAMETERS = 100
_MAX_DECODINGS = 5

_URL = re.compile(
    r"(?:https?|zoommtg|zoomus)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE
)
_HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,9}")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\<>`]")
_PASSCODE = re.compile(r"[A-Za-z0-9._~+/=!@$*-]{1,1500}")
_SECOND_URL = re.compile(r"://")


@dataclass(frozen=True, slots=True)
class Address:
    """
    A URL in parts. *host* is lower case and has no port; *path* is as written; *query* has
    lower-case names and values decoded once; *fragment* is as written.
    """

    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    fragment: str

    def segments(self) -> list[str]:
        """List the parts of the path, each decoded once, empty ones left out."""
        return [unquote(part) for part in self.path.split("/") if part]

    def value(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def passcode(self, name: str) -> str | None:
        """Return a query value fit to be handed on: short, and unable to carry another URL."""
        value = self.value(name)
        return value if value and _PASSCODE.fullmatch(value) else None

    def is_at(self, *domains: str) -> bool:
        """Say whether the host is one of *domains* or below one."""
        return any(self.host == name or self.host.endswith("." + name) for name in domains)


def read_address(url: str) -> Address | None:
    """
    Take a web address apart; None for other schemes, user names, odd ports and hosts, white space,
    control characters, and more than MAX_WRAPPED_CHARS.
    """
    if len(url) > MAX_WRAPPED_CHARS or _UNFIT.search(url) or not is_encodable(url):
        return None
    found = _URL.fullmatch(url)
    if not found:
        return None
    authority, path, query, fragment = found.groups()
    host = authority.lower().removesuffix(":443").removesuffix(":80").removesuffix(".")
    if not _HOST.fullmatch(host):
        return None
    return Address(host, path, tuple(_parameters(query or "")), fragment or "")


def write_url(
    host: str, segments: Sequence[str], parameters: Iterable[tuple[str, str | None]] = ()
) -> str | None:
    """
    Put a link together, parameters without a value left out.

    None when it would be too long, climb up its path or, decoded, contain a second URL.
    """
    if {".", ".."}.intersection(segments):
        return None
    path = "/".join(quote(part, safe="") for part in segments)
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters if value)
    rest = f"{host}/{path}" + (f"?{query}" if query else "")
    if rest.endswith("."):
        rest = rest.removesuffix(".") + "%2E"  # a bare one would be taken for the end of a sentence
    if len(rest) + len("https://") > MAX_URL_CHARS or _SECOND_URL.search(decoded(rest)):
        return None
    return f"https://{rest}"


def decoded(text: str) -> str:
    """Undo percent-encoding until nothing changes, at most a few rounds."""
    for _ in range(_MAX_DECODINGS):
        plainer = unquote(text)
        if plainer == text:
            break
        text = plainer
    return text


def trimmed(url: str) -> str:
    """Take off the punctuation that sentences, quotes and brackets leave around a URL."""
    return url.strip().lstrip("<([{\"'*").rstrip(">)].,;:!?\"'*")


def is_encodable(text: str) -> bool:
    """Say whether *text* can be written as UTF-8: no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parameters(query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        name, _, value = pair.partition("=")
        # `&amp;` that was escaped twice arrives as `&amp;pwd=`
        yield unquote(name).lower().removeprefix("amp;"), unquote(value)
