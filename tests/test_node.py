"""A machine that cannot have packages of npm is told why, soon."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.node import Unavailable, installed
from tests.tokens.server import SOURCES


def test_without_node_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match="not installed"):
        installed(SOURCES)


def test_an_old_node_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho v18.20.4\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match=r"this is 18"):
        installed(SOURCES)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_without_a_registry_nothing_half_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))

    with pytest.raises(Unavailable, match="npm ci failed"):
        installed(SOURCES)

    assert not list((tmp_path / "punctual").iterdir())
