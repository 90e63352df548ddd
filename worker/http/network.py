"""Connections on which nothing lasts longer than the call it serves."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_deadline: ContextVar[float | None] = ContextVar("_deadline", default=None)


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Let no read, write or connection inside go on after *deadline*, on the monotonic clock."""
    outer = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(outer)


def bounded_transport() -> httpx.HTTPTransport:
    """Make a pooled transport that keeps to `until`, with certificates checked and no proxy."""
    context = httpx.create_ssl_context(trust_env=False)
    transport = httpx.HTTPTransport(verify=context)
    transport.close()
    # httpx offers no way to choose the network of its pool; test_http.py shows that this one takes.
    transport._pool = httpcore.ConnectionPool(
        ssl_context=context,
        max_connections=64,
        max_keepalive_connections=16,
        keepalive_expiry=20.0,
        http1=True,
        http2=False,
        network_backend=_BoundedNetwork(),
    )
    return transport


def _remaining(timeout_s: float | None) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout_s
    left = deadline - time.monotonic()
    return left if timeout_s is None else min(timeout_s, left)


class _BoundedStream(httpcore.NetworkStream):
    """
    A connection on which nothing lasts longer than the call it serves.

    A read time-out alone starts anew with every byte that drips in.
    """

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _remaining(timeout)
        if left is not None and left <= 0:
            raise httpcore.ReadTimeout
        return self._inner.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _remaining(timeout)
        if left is not None and left <= 0:
            raise httpcore.WriteTimeout
        self._inner.write(buffer, left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _remaining(timeout)
        if left is not None and left <= 0:
            raise httpcore.ConnectTimeout
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # as the base class has it
        return self._inner.get_extra_info(info)


class _BoundedNetwork(httpcore.NetworkBackend):
    """Opens connections that keep to the deadline of the call."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _remaining(timeout)
        if left is not None and left <= 0:
            raise httpcore.ConnectTimeout
        return _BoundedStream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)
