"""Copies of the project to plant bugs in: what is versioned or new, nothing else."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = frozenset(
    {".venv", "var", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
_PACKAGES = ("models", "worker", "webhooks", "tests")


def source_files(root: Path = ROOT) -> list[Path]:
    """List the project's files relative to *root*: those git knows or would add, else all but caches."""
    git = shutil.which("git")
    if git is not None and (root / ".git").exists():
        listed = subprocess.run(
            [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode == 0:
            known = [Path(name) for name in listed.stdout.split("\0") if name]
            return [name for name in known if (root / name).is_file()]
    found: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _LEFT_OUT]
        found += [(Path(folder) / name).relative_to(root) for name in names]
    return found


def copy_project(target: Path, root: Path = ROOT) -> Path:
    """
    Copy the project and compile it; every further copy starts without compiling.

    The compiled files are checked by content: by time and size a mistake of the same length, planted
    within the second, would not be noticed.
    """
    for name in source_files(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(root / name, target / name)
        except FileNotFoundError:  # deleted since it was listed
            continue
    for package in _PACKAGES:
        compileall.compile_dir(
            target / package, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH
        )
    return target


def copy_of(tree: Path, target: Path) -> Path:
    """Copy a copy, compiled files and all; files are shared, so change one by putting another in its place."""
    shutil.copytree(tree, target, copy_function=os.link)
    return target
