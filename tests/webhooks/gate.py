"""A gate between a receiver and its database that can be shut, frozen, or lose every answer."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL, make_url


class Gate:
    """
    Passes connections on to PostgreSQL.

    `shut` refuses and cuts connections, `freeze` keeps them and passes nothing, `go_mute` passes
    what is asked but nothing that is answered. `open` passes everything, including what was kept.
    `lose` silences for ever the connections there are, as a network does that has lost a host.
    """

    def __init__(self, url: str) -> None:
        self._upstream = make_url(url)
        self._folder = Path(tempfile.mkdtemp(prefix="gate"))
        self._state = "open"
        self._stop = threading.Event()
        self._ways: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._lost: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._lock = threading.RLock()
        self.open()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The database, seen through the gate."""
        through = URL.create(
            "postgresql",
            username=self._upstream.username,
            password=self._upstream.password,
            database=self._upstream.database,
            query={"host": str(self._folder)},
        )
        return through.render_as_string(hide_password=False)

    def open(self) -> None:
        with self._lock:
            self._state = "open"
            if self._listener is None:
                self._listener = socket.socket(socket.AF_UNIX)
                self._listener.bind(str(self._folder / ".s.PGSQL.5432"))
                self._listener.listen(64)
                self._listener.setblocking(False)

    def freeze(self) -> None:
        self._state = "frozen"

    def go_mute(self) -> None:
        self._state = "mute"

    def lose(self) -> None:
        with self._lock:
            self._lost += self._ways
            self._ways.clear()

    def shut(self) -> None:
        with self._lock:
            self._state = "shut"
            if self._listener is not None:
                self._listener.close()
                (self._folder / ".s.PGSQL.5432").unlink()
                self._listener = None
            self.cut()

    def cut(self) -> None:
        """Cut every connection there is; new ones are as welcome as before."""
        with self._lock:
            for end in (*self._ways, *self._lost):
                end.close()
            self._ways.clear()
            self._lost.clear()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.shut()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pass_on(self) -> None:
        while not self._stop.wait(0.0005):
            with self._lock:
                if self._state == "shut":
                    continue
                self._accept()
                if self._state == "frozen":
                    continue
                for end in self._readable():
                    self._pass(end)

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(BlockingIOError):
            near, _ = self._listener.accept()
            far = self._dial()
            self._ways[near] = (far, True)
            self._ways[far] = (near, False)

    def _dial(self) -> socket.socket:
        folder = self._upstream.query.get("host")
        port = self._upstream.port or 5432
        if isinstance(folder, str):
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{folder}/.s.PGSQL.{port}")
            return far
        return socket.create_connection((self._upstream.host or "localhost", port))

    def _readable(self) -> list[socket.socket]:
        return select.select(list(self._ways), [], [], 0)[0]

    def _pass(self, end: socket.socket) -> None:
        if end not in self._ways:
            return
        other, is_near = self._ways[end]
        if self._state == "mute" and not is_near:
            return
        try:
            taken = end.recv(65536)
            if taken:
                other.sendall(taken)
                return
        except OSError:
            pass
        for one in (end, other):
            self._ways.pop(one, None)
            one.close()


@contextlib.contextmanager
def gate_to(url: str) -> Iterator[Gate]:
    """A gate that is open, until the block ends."""
    gate = Gate(url)
    try:
        yield gate
    finally:
        gate.close()
