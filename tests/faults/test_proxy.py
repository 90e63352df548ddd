"""The fault proxy does each thing it promises, to open connections and to new ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import BLACKHOLE, DEAF, FAIR, MUTE, RESET, Proxy, Weather


class Echo:
    """Sends back whatever it gets, and remembers it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            try:
                while chunk := line.recv(65536):
                    self.heard += chunk
                    line.sendall(chunk)
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy.running(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with dial(proxy) as client:
        assert said(client, b"hello") == b"hello"
        yield client


def dial(proxy: Proxy, timeout: float = 3) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout)


def said(client: socket.socket, words: bytes) -> bytes:
    """Say something and return what comes back."""
    client.sendall(words)
    return heard(client, len(words))


def heard(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        chunk = client.recv(size - len(got))
        if not chunk:
            return got
        got += chunk
    return got


def test_in_fair_weather_every_byte_passes(client: socket.socket) -> None:
    words = bytes(range(256)) * 2000

    assert said(client, words) == words


def test_a_black_hole_holds_back_both_ways_until_it_closes(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    client.settimeout(0.3)

    proxy.change(BLACKHOLE)
    with pytest.raises(TimeoutError):
        said(client, b"lost?")
    assert b"lost?" not in echo.heard

    client.settimeout(3)
    proxy.change(FAIR)
    assert heard(client, 5) == b"lost?"


def test_a_half_open_connection_hears_nothing_though_it_is_heard(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    client.settimeout(0.3)

    proxy.change(DEAF)
    with pytest.raises(TimeoutError):
        said(client, b"one way")

    assert b"one way" in echo.heard


def test_a_mute_connection_is_not_heard(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    client.settimeout(0.3)

    proxy.change(MUTE)
    with pytest.raises(TimeoutError):
        said(client, b"other way")

    assert b"other way" not in echo.heard


def test_a_reset_ends_open_connections_and_spares_later_ones(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.reset()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with dial(proxy) as another:
        assert said(another, b"again") == b"again"


def test_while_connections_are_refused_nobody_gets_through(proxy: Proxy, client: socket.socket) -> None:
    proxy.change(RESET)

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionError), dial(proxy) as another:
        said(another, b"hello")
        another.recv(1)
        raise ConnectionResetError  # an orderly end would be one too


def test_a_cut_lets_exactly_so_many_bytes_pass_and_ends_the_line(proxy: Proxy) -> None:
    proxy.change(Weather(cut_after=7))

    with dial(proxy) as client:
        client.sendall(b"0123456789")
        got = b""
        with pytest.raises(ConnectionResetError):
            while chunk := client.recv(100):
                got += chunk
            raise ConnectionResetError
    assert got in (b"0123456", b"")  # a reset may overtake what was not read yet


def test_delay_and_a_narrow_line_take_their_time(proxy: Proxy, client: socket.socket) -> None:
    proxy.change(Weather(delay_s=0.15))
    began = time.monotonic()
    said(client, b"slow")
    assert time.monotonic() - began >= 0.3  # once each way

    proxy.change(Weather(bytes_per_s=1000))
    began = time.monotonic()
    said(client, b"x" * 500)
    assert 0.4 <= time.monotonic() - began < 3


def test_corruption_changes_bytes_and_keeps_their_number(proxy: Proxy, client: socket.socket) -> None:
    proxy.change(Weather(corrupt=1.0))

    got = said(client, b"0" * 100)

    assert len(got) == 100
    assert got != b"0" * 100


def test_a_trip_loses_the_answer_of_exactly_that_request(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    client.settimeout(0.5)
    tripped = proxy.trip(b"COMMIT", BLACKHOLE)

    assert said(client, b"BEGIN") == b"BEGIN"
    with pytest.raises(TimeoutError):
        said(client, b"COMMIT")

    assert tripped.is_set()
    assert echo.heard.endswith(b"COMMIT")
