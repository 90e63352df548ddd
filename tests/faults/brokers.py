"""
Brokers of our own to maltreat: RabbitMQ and Redis, each on a free port and in a folder of its own.

Nothing here touches the machine's servers.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types

from tests.faults.servers import PROGRAMS, Server
from tests.system.rig import free_port


class RabbitMQ(Server):
    """A RabbitMQ node with a name, a cookie and an epmd of its own."""

    name = "rabbitmq"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder)
        self.port = port or self.port
        self.node = f"f{uuid4().hex[:8]}@localhost"
        self._epmd_port, self._dist_port = free_port(), free_port()
        (folder / "home").mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text("[].\n")
        # Read last, else the machine's own would name the machine's node and port.
        (folder / "env.conf").write_text("")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nloopback_users = none\n"
            "disk_free_limit.absolute = 50MB\nlog.console = false\nlog.file.level = warning\n"
        )

    @classmethod
    @contextmanager
    def running(cls, port: int | None = None) -> Iterator[RabbitMQ]:
        """Run a node for the length of a `with` block, on a free port unless one is given."""
        folder = Path(tempfile.mkdtemp(prefix="rmq-", dir="/tmp"))
        server = cls(folder, port)
        try:
            server.start()
            yield server
        finally:
            server.thaw()
            server.kill()
            server.end()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the URL by way of another *port*, where a proxy stands."""
        return f"amqp://guest:guest@127.0.0.1:{port}//"

    def answers(self) -> bool:
        # A listener alone serves nobody yet: the handshake shows that the node is up.
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.settimeout(1)
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return client.recv(1) == b"\x01"
        except OSError:
            return False

    def control(self, *arguments: str, within: float = 30) -> str:
        """Run `rabbitmqctl` against the node and return what it said."""
        done = subprocess.run(
            [_sbin("rabbitmqctl"), "-n", self.node, *arguments],
            env=self._environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, (
            f"rabbitmqctl {arguments}: {done.stdout[-500:]} {done.stderr[-500:]}"
        )
        return done.stdout

    def queues(self) -> dict[str, int]:
        """Return the number of messages in every queue."""
        listed = self.control("-q", "list_queues", "name", "messages", "--no-table-headers")
        lines = [line.split("\t") for line in listed.splitlines() if "\t" in line]
        return {name: int(messages) for name, messages in lines}

    def wipe(self) -> None:
        """Forget everything the stopped node knew: messages, queues, exchanges, users."""
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def end(self) -> None:
        """Stop the port mapper that the node has started beside itself; it never ends by itself."""
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):
                if process.name() == "epmd" and self._is_ours(process.environ()):
                    process.kill()

    def _is_ours(self, environment: dict[str, str]) -> bool:
        return environment.get("ERL_EPMD_PORT") == str(self._epmd_port)

    def _launch(self, log: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [_sbin("rabbitmq-server")],
            env=self._environment(),
            cwd=self.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": PROGRAMS,
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
        }


class Redis(Server):
    """A Redis that keeps nothing on disk: a restart is an empty one."""

    name = "redis"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Redis]:
        """Run a server for the length of a `with` block."""
        folder = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        server = cls(folder)
        try:
            server.start()
            yield server
        finally:
            server.thaw()
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the URL by way of another *port*, where a proxy stands."""
        return f"redis://127.0.0.1:{port}/0"

    def answers(self) -> bool:
        return self.ask("PING") == "+PONG"

    def ask(self, *words: str) -> str:
        """Send one command and return the first line of the answer; nothing when nobody answers."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.settimeout(2)
                client.sendall(request.encode())
                return client.recv(65536).decode(errors="replace").split("\r\n", 1)[0]
        except OSError:
            return ""

    def _launch(self, log: Any) -> subprocess.Popen[bytes]:
        chosen = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return subprocess.Popen(
            ["/usr/bin/redis-server", *chosen, "--dir", str(self.folder)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _sbin(program: str) -> str:
    """Return the real program behind Debian's wrapper, which would change the user and the folder."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob(f"*/sbin/{program}"))
    return str(found[-1]) if found else str(shutil.which(program, path=PROGRAMS))
