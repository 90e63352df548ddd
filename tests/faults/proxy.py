"""
A TCP proxy that does to a connection what networks do: nothing, or worse.

Stands in front of any server. `weather` is changed at any time, from any thread, and strikes open
connections as well as new ones. What a hole swallows is held and delivered when the hole closes, as TCP
does; a reset or a cut is final.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_CHUNK = 64 * 1024
#: Zero seconds of lingering make `close` a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Weather:
    """
    What happens to bytes.

    `up` is towards the server, `down` towards the client; False holds them back. `cut_after` counts
    the bytes of one connection towards the client, and lets no more pass: then both ends are closed.
    `corrupt` is the chance of a chunk to have one bit flipped. `refused` resets every connection.
    """

    delay_s: float = 0.0
    up: bool = True
    down: bool = True
    bytes_per_s: float | None = None
    cut_after: int | None = None
    corrupt: float = 0.0
    refused: bool = False


FAIR = Weather()
BLACKHOLE = Weather(up=False, down=False)
DEAF = Weather(down=False)  # half open: the server hears us, we never hear it
MUTE = Weather(up=False)
RESET = Weather(refused=True)


class Proxy:
    """A proxy in front of 127.0.0.1:*target*; runs in a thread of its own between start and stop."""

    def __init__(self, target: int, *, seed: int = 1, host: str = "127.0.0.1") -> None:
        self.target = target
        self.host = host
        self.port = 0
        self.accepted = 0
        self.weather = FAIR
        self._chance = random.Random(seed)
        self._trips: dict[bytes, Weather] = {}
        self._tripped = threading.Event()
        self._lines: set[_Line] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._ready = threading.Event()

    @classmethod
    @contextmanager
    def running(cls, target: int, *, seed: int = 1, host: str = "127.0.0.1") -> Iterator[Proxy]:
        """Run a proxy for the length of a `with` block, listening on *host*."""
        proxy = cls(target, seed=seed, host=host)
        proxy.start()
        try:
            yield proxy
        finally:
            proxy.stop()

    def start(self) -> None:
        """Listen on a free port, which is `port` from then on."""
        self._thread.start()
        assert self._ready.wait(5), "the proxy did not start"

    def stop(self) -> None:
        """Reset every connection and listen no more."""
        self._call(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def change(self, weather: Weather) -> None:
        """Let the weather be *weather* from now on, for open connections too."""
        self._call(lambda: self._become(weather))

    def reset(self) -> None:
        """Reset every open connection once; new ones are as the weather is."""
        self._call(self._reset_all)

    @contextmanager
    def under(self, weather: Weather) -> Iterator[None]:
        """Have bad weather for the length of a `with` block."""
        self.change(weather)
        try:
            yield
        finally:
            self.change(FAIR)

    def trip(self, request: bytes, weather: Weather) -> threading.Event:
        """
        Change the weather as soon as *request* has gone by towards the server, itself included.

        The event is set then. This is how an answer is lost after its request has been served.
        """
        self._tripped = threading.Event()
        self._trips[request] = weather
        return self._tripped

    @property
    def connections(self) -> int:
        return len(self._lines)

    def _call(self, what: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(5)

    def _become(self, weather: Weather) -> None:
        self.weather = weather
        if weather.refused:
            self._reset_all()
        for line in self._lines:
            line.changed.set()

    def _reset_all(self) -> None:
        for line in list(self._lines):
            line.reset()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, self.host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = _Line(self, writer)
        self._lines.add(line)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await line.carry(reader)
        finally:
            line.reset()
            self._lines.discard(line)

    def _seen(self, chunk: bytes) -> None:
        for request, weather in list(self._trips.items()):
            if request in chunk:
                del self._trips[request]
                self._become(weather)
                self._tripped.set()

    def _spoil(self, chunk: bytes) -> bytes:
        if not self.weather.corrupt or self._chance.random() >= self.weather.corrupt:
            return chunk
        place = self._chance.randrange(len(chunk))
        flipped = chunk[place] ^ (1 << self._chance.randrange(8))
        return chunk[:place] + bytes([flipped]) + chunk[place + 1 :]


class _Line:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self.changed = asyncio.Event()
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._down_bytes = 0

    async def carry(self, client: asyncio.StreamReader) -> None:
        """Carry bytes both ways until both sides have said all, or the weather ends it."""
        if self._proxy.weather.refused:
            return
        await self._pass(lambda weather: weather.up)
        server, self._server = await asyncio.open_connection("127.0.0.1", self._proxy.target)
        ways = [
            asyncio.create_task(self._pump(client, self._server, up=True)),
            asyncio.create_task(self._pump(server, self._client, up=False)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()

    def reset(self) -> None:
        """Drop both connections without a farewell."""
        for writer in (self._client, self._server):
            if writer is None:
                continue
            line = writer.get_extra_info("socket")
            with suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()
        self.changed.set()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        while True:
            chunk = await reader.read(_CHUNK)
            if self._proxy.weather.delay_s:
                await asyncio.sleep(self._proxy.weather.delay_s)
            await self._pass(lambda weather: weather.up if up else weather.down)
            if not chunk:
                with suppress(OSError):
                    writer.write_eof()
                return
            if not up:
                chunk = self._cut(chunk)
            if chunk:
                await self._write(writer, self._proxy._spoil(chunk))
            if up:
                self._proxy._seen(chunk)  # before anything is awaited: no answer may slip through
            await writer.drain()
            if not up and self._is_cut():
                raise ConnectionResetError

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        while rate := self._proxy.weather.bytes_per_s:
            piece, chunk = chunk[: max(1, int(rate / 10))], chunk[max(1, int(rate / 10)) :]
            await asyncio.sleep(len(piece) / rate)
            writer.write(piece)
            if not chunk:
                return
        writer.write(chunk)

    async def _pass(self, is_open: Callable[[Weather], bool]) -> None:
        while not is_open(self._proxy.weather):
            self.changed.clear()
            await self.changed.wait()
            if self._client.transport.is_closing():
                raise ConnectionResetError

    def _cut(self, chunk: bytes) -> bytes:
        most = self._proxy.weather.cut_after
        if most is None:
            return chunk
        kept = chunk[: max(0, most - self._down_bytes)]
        self._down_bytes += len(chunk)
        return kept

    def _is_cut(self) -> bool:
        most = self._proxy.weather.cut_after
        return most is not None and self._down_bytes >= most
