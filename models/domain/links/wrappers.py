"""
Links inside links: what mail scanners and chat programs make of a URL, undone.

Every wrapper here carries its target in the open. The target is as untrusted as the wrapper.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from itertools import islice
from urllib.parse import unquote

from models.domain.links.addresses import Address, read_address

MAX_WRAPPINGS = 5

# host (itself and everything below it), a part of the path, the parameter with the target
_IN_A_PARAMETER = (
    ("safelinks.protection.outlook.com", "", "url"),
    ("safelinks.protection.office365.us", "", "url"),
    ("safelinks.protection.partner.outlook.cn", "", "url"),
    ("safelinks.office.com", "", "url"),
    ("statics.teams.cdn.office.net", "safelinks", "url"),
    ("meet.google.com", "/linkredirect", "dest"),
    ("urldefense.proofpoint.com", "/v1/", "u"),
    ("slack-redir.net", "/link", "url"),
    ("linkprotect.cudasvc.com", "/url", "a"),
)
_GOOGLE = re.compile(r"(?:www\.)?google\.[a-z]{2,3}(?:\.[a-z]{2})?")
_ENCODED_SCHEME = re.compile(r"https?%(?:25)*3a%(?:25)*2f", re.IGNORECASE)
_PROOFPOINT_V3 = re.compile(r"https?://urldefense\.(?:com|us)/v3/__", re.IGNORECASE)
_STAND_IN = re.compile(r"\*(?:\*(.))?")
_MISSING = "\0"  # no URL contains it
_RUN_LENGTHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def unwrapped(url: str) -> str | None:
    """Return the URL that *url* wraps, one layer off; None when it wraps none."""
    if _ENCODED_SCHEME.match(url):
        return unquote(url)
    if _PROOFPOINT_V3.match(url):
        return _from_proofpoint_v3(url)
    address = read_address(url)
    return _target(address) if address else None


def _target(address: Address) -> str | None:
    if _GOOGLE.fullmatch(address.host) and address.path == "/url":
        return address.value("q") or address.value("url")
    if address.is_at("urldefense.proofpoint.com") and address.path.startswith("/v2/"):
        written = address.value("u") or ""
        return html.unescape(unquote(written.translate({ord("-"): "%", ord("_"): "/"})))
    for domain, part, name in _IN_A_PARAMETER:
        if address.is_at(domain) and part in address.path.lower():
            return address.value(name)
    return None


def _from_proofpoint_v3(url: str) -> str | None:
    """
    Undo `https://urldefense.com/v3/__URL__;BYTES!…`: each `*` stands for the next of BYTES,
    `**X` for as many as X says.

    Source: Proofpoint's published decoder (URLDefenseDecode).
    """
    _, _, rest = url.partition("__")
    target, marker, tail = rest.partition("__;")
    if not marker:
        return None
    taken_out = tail.partition("!")[0]
    try:
        bytes_ = base64.b64decode(taken_out + "=" * (-len(taken_out) % 4), altchars=b"-_")
        replaced = iter(bytes_.decode())
    except (binascii.Error, ValueError):
        return None

    def put_back(stand_in: re.Match[str]) -> str:
        length = _RUN_LENGTHS.find(stand_in[1]) + 2 if stand_in[1] else 1
        chars = "".join(islice(replaced, length))
        return chars if len(chars) == length else _MISSING

    target = _STAND_IN.sub(put_back, target)
    if _MISSING in target:
        return None
    return re.sub(r"^(https?:/)(?!/)", r"\1/", target, flags=re.IGNORECASE)
