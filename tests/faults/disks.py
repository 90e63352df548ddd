"""Small file systems that can be filled to the last byte, for root on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHUNK = 64 * 1024


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a file system of so many bytes (`64m`) for the length of a `with` block."""
    folder = Path(tempfile.mkdtemp(prefix="disk-", dir="/tmp"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path, filler: Path | None = None) -> Path:
    """Fill what is left of a file system, or what has become free again; the filling file is returned."""
    filler = filler or folder / "filler"
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(_CHUNK))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    return filler


def may_mount() -> bool:
    """Say whether we are allowed to mount anything."""
    return os.geteuid() == 0
