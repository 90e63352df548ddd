"""
The way out to addresses that strangers chose: nothing inside our network is ever reached.

`check_url` judges the text when an endpoint is made. When it is posted to, the name is resolved
once, every address is judged, and the connection goes to a judged address, with the certificate and
`Host` of the name; so a name that changes its mind in between gains nothing.
"""

from __future__ import annotations

import ipaddress
import math
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import httpcore
import httpx

from worker.errors import Refused

Address = IPv4Address | IPv6Address
#: Yields the addresses of a name; OSError when there are none.
Resolve = Callable[[str, int], Iterable[str]]

LONGEST_URL = 2_000
RESOLVE_TIMEOUT = timedelta(seconds=5)
CONNECT_TIMEOUT = timedelta(seconds=5)

# IANA special-purpose registries, and every way to write an IPv4 address inside an IPv6 one.
_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)
#: Outside of it nothing is global unicast: mapped, NAT64, unique-local, link-local, multicast …
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_PRIVATE: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ipaddress.ip_network(block)
    for block in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
#: Answers credentials to whoever asks; never a subscriber, even where private ones are.
_METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("fd20:ce::254"))

_URL = re.compile(r"(?P<scheme>[^:/?#]+)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]|-]|%[0-9A-Fa-f]{2})*")
_LOOKS_NUMERIC = re.compile(r"\d+|0x[0-9a-f]*")
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa", "corp")
_PORT_BY_SCHEME = {"http": 80, "https": 443}
#: Services that would take an HTTP request for commands, or that nobody serves webhooks on.
_FORBIDDEN_PORTS = frozenset(
    {
        1099,
        1433,
        1521,
        1719,
        1720,
        1723,
        2049,
        2181,
        2375,
        2376,
        2379,
        2380,
        3306,
        3389,
        3659,
        4045,
        4190,
    }
    | {4369, 5060, 5061, 5432, 5433, 5671, 5672, 5900, 5984, 5985, 5986, 6000, 6379, 6380, 6432, 6566}
    | {6667, 6697, 9042, 9092, 9200, 9300, 10080, 10250, 10255, 11211, 15672}
    | {25672, 26379, 27017, 27018, 50070, 61613, 61616}
)

_deadline: ContextVar[float] = ContextVar("deadline")


class ForbiddenUrl(Refused):
    """A URL we will not post to, and why."""


def check_url(url: str, *, allow_private: bool) -> str:
    """
    Return *url* in its one normal form, or raise ForbiddenUrl with the reason.

    Only plain ASCII URLs in which every parser sees the same host pass. What a name resolves to is
    judged at connect time.
    """
    if len(url) > LONGEST_URL:
        msg = f"the URL is longer than {LONGEST_URL} characters"
        raise ForbiddenUrl(msg)
    if re.search(r"[^\x21-\x7e]", url) or "\\" in url:
        msg = "the URL has spaces, control characters, backslashes or non-ASCII characters"
        raise ForbiddenUrl(msg)
    if "#" in url:
        msg = "the URL has a fragment"
        raise ForbiddenUrl(msg)
    parts = _URL.fullmatch(url)
    if parts is None or parts["scheme"].lower() not in _PORT_BY_SCHEME:
        msg = "the URL does not begin with https:// or http://"
        raise ForbiddenUrl(msg)
    if "@" in parts["authority"]:
        msg = "the URL has a user name or password"
        raise ForbiddenUrl(msg)
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        msg = "the URL has no readable host and port"
        raise ForbiddenUrl(msg)
    tail = (parts["path"] or "/") + (parts["query"] or "")
    if not _PATH.fullmatch(tail):
        msg = "the path or query has characters that must be percent-encoded"
        raise ForbiddenUrl(msg)
    scheme = parts["scheme"].lower()
    host = _checked_host(authority["host"].lower(), allow_private=allow_private)
    port = _checked_port(authority["port"], scheme)
    return f"{scheme}://{host}{port}{tail}"


def why_forbidden(address: Address, *, allow_private: bool) -> str | None:
    """Say why nothing may be sent to *address*; None when it may."""
    if any(address in block for block in _PRIVATE):
        if allow_private and address not in _METADATA:
            return None
        return f"{address} is a private address"
    if any(address in block for block in _NEVER) or (
        isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6
    ):
        return f"{address} is not a public address"
    return None


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a name; OSError when there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def time_limit(limit: timedelta) -> Iterator[float]:
    """
    Bound everything sent and read inside, however slowly the other side drips; yields the end.

    A limit inside another can only be tighter.
    """
    end = min(time.monotonic() + limit.total_seconds(), _deadline.get(math.inf))
    token = _deadline.set(end)
    try:
        yield end
    finally:
        _deadline.reset(token)


def make_client(
    *, allow_private: bool, tls: ssl.SSLContext | None = None, resolver: Resolve = resolve
) -> httpx.Client:
    """
    Make an HTTP client that reaches judged addresses only; use it inside `time_limit`.

    No redirects, no cookies, no proxies or credentials from the environment. Safe between threads.
    """
    return httpx.Client(
        transport=_Transport(
            httpcore.ConnectionPool(
                ssl_context=tls or httpx.create_ssl_context(trust_env=False),
                network_backend=_Backend(allow_private=allow_private, resolver=resolver),
                max_connections=None,
                max_keepalive_connections=50,
                keepalive_expiry=5.0,
            )
        ),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(15.0, connect=CONNECT_TIMEOUT.total_seconds()),
        follow_redirects=False,
        trust_env=False,
    )


def _checked_host(host: str, *, allow_private: bool) -> str:
    if host.startswith("["):
        try:
            literal: Address = IPv6Address(host[1:-1])
        except ValueError as malformed:
            msg = "the URL has a malformed IPv6 address"
            raise ForbiddenUrl(msg) from malformed
    else:
        host = host.removesuffix(".")
        labels = host.split(".")
        if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            msg = "the URL has a malformed host name"
            raise ForbiddenUrl(msg)
        if not _LOOKS_NUMERIC.fullmatch(labels[-1]):
            return _checked_name(host, allow_private=allow_private)
        try:
            literal = IPv4Address(host)
        except ValueError as odd:
            # Decimal, octal, hexadecimal and short forms mean different addresses to different readers.
            msg = "an IPv4 address is four decimal numbers"
            raise ForbiddenUrl(msg) from odd
    reason = why_forbidden(literal, allow_private=allow_private)
    if reason:
        raise ForbiddenUrl(reason)
    return str(literal) if literal.version == 4 else f"[{literal}]"


def _checked_name(host: str, *, allow_private: bool) -> str:
    is_local = "." not in host or any(
        host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES
    )
    if is_local and not allow_private:
        msg = f"{host} is a name of a private network"
        raise ForbiddenUrl(msg)
    return host


def _checked_port(port: str | None, scheme: str) -> str:
    number = int(port) if port else _PORT_BY_SCHEME[scheme]
    is_usual = number in _PORT_BY_SCHEME.values()
    if not is_usual and (number < 1024 or number > 65535 or number in _FORBIDDEN_PORTS):
        msg = f"port {number} is not one that webhooks are received on"
        raise ForbiddenUrl(msg)
    return "" if number == _PORT_BY_SCHEME[scheme] else f":{number}"


def _remaining(timeout: float | None) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    """Connects to judged addresses."""

    def __init__(self, *, allow_private: bool, resolver: Resolve) -> None:
        self._allow_private = allow_private
        self._resolver = resolver
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        unreachable: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in self._judged(host, port):
            try:
                stream = self._plain.connect_tcp(
                    address,
                    port,
                    _in_time(timeout, httpcore.ConnectTimeout),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                unreachable = failed
            else:
                return _Stream(stream)
        raise unreachable or httpcore.ConnectError(f"{host} has no address")

    def _judged(self, host: str, port: int) -> list[str]:
        addresses = _resolve_in_time(self._resolver, host, port)
        for address in addresses:
            reason = why_forbidden(ipaddress.ip_address(address), allow_private=self._allow_private)
            if reason:
                msg = f"{host}: {reason}"
                raise ForbiddenUrl(msg)
        return addresses


class _Stream(httpcore.NetworkStream):
    """Ends at the deadline of whoever uses it, not only when nothing comes for a while."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _in_time(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _in_time(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = _in_time(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """httpx over our own pool; its own transport cannot be given a network backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _in_time(timeout: float | None, late: type[httpcore.TimeoutException]) -> float:
    try:
        return _remaining(timeout)
    except TimeoutError as over:
        msg = "the time is over"
        raise late(msg) from over


def _resolve_in_time(resolver: Resolve, host: str, port: int) -> list[str]:
    # The system's resolver knows no time-out; a daemon thread may hang without holding anybody up.
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(list(resolver(host, port)))
        except (OSError, UnicodeError) as unknown:
            answers.put(OSError(str(unknown)))

    limit = _in_time(RESOLVE_TIMEOUT.total_seconds(), httpcore.ConnectTimeout)
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty as slow:
        msg = f"{host} was not resolved in time"
        raise httpcore.ConnectTimeout(msg) from slow
    if isinstance(answer, OSError):
        msg = f"{host} was not resolved: {answer}"
        raise httpcore.ConnectError(msg) from answer
    return answer
