"""
Post over kept-alive HTTP/1.1 connections with as little work per message as Python allows.

A general client manages about a thousand posts a second on one core; an emulator that shall flood its consumer
needs several times that.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Wire:
    """One connection, used for one post at a time, opened when needed and again when it broke."""

    _target: tuple[str, int, bool] | None = None
    _streams: Streams | None = field(default=None, repr=False)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> int:
        """
        Return the status.

        Raises:
            OSError, EOFError, ValueError, TimeoutError: no answer, or none that is HTTP.
        """
        split = urlsplit(url)
        is_tls = split.scheme == "https"
        target = (split.hostname or "", split.port or (443 if is_tls else 80), is_tls)
        path = (split.path or "/") + (f"?{split.query}" if split.query else "")
        head = [
            f"POST {path} HTTP/1.1",
            f"host: {split.netloc.rpartition('@')[2]}",
            f"content-length: {len(body)}",
        ]
        head += [f"{name}: {value}" for name, value in headers.items()]
        message = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body
        try:
            async with asyncio.timeout(timeout_s):
                is_used = self._streams is not None and self._target == target
                try:
                    return await self._exchange(target, message)
                except (OSError, EOFError):
                    if not is_used:
                        raise
                    self.close()  # closed while idle: the post was never seen
                    return await self._exchange(target, message)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, target: tuple[str, int, bool], message: bytes) -> int:
        if self._target != target:
            self.close()
        if self._streams is None:
            host, port, is_tls = target
            context = ssl.create_default_context() if is_tls else None
            self._streams = await asyncio.open_connection(host, port, ssl=context)
            self._target = target
        reader, writer = self._streams
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        status = int(status_line.split(" ", 2)[1])
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if status not in (204, 304):
            await self._skip_body(reader, headers)
        if "close" in headers.get("connection", "").lower():
            self.close()
        return status

    async def _skip_body(self, reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        elif length := headers.get("content-length"):
            await reader.readexactly(int(length))
        else:
            self.close()
