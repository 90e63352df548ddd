"""The demo is a whole installation: real processes, the sandbox, and a story that has to come true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = Path(__file__).resolve().parents[2]


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # What a running instance is set to must not matter.
    around = {**os.environ, "PUNCTUAL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "demo", *arguments],
        env={**around, "PYTHONPATH": str(CODE), "TMPDIR": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("provider", ["recall", "google", "microsoft"])
def test_the_story_comes_true_in_real_processes(tmp_path: Path, provider: str) -> None:
    process = begin(tmp_path, "--json", "--provider", provider)
    said, wrong = process.communicate(timeout=150)

    story = json.loads(said)
    assert process.returncode == 0, wrong
    assert story["ok"] is True
    assert story["live_bots"] == 0
    assert [scene["live_bots"] for scene in story["scenes"]] == [0, 1, 1, 1, 1, 1, 0, 1, 0]
    kinds = {line["kind"] for scene in story["scenes"] for line in scene["lines"]}
    assert kinds == {"action", "notification", "decision", "bot", "emitted"}
    assert not list(tmp_path.glob("punctual-*")), "the folder goes away"


@pytest.mark.timeout(120)
def test_a_demo_that_is_told_to_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    process = begin(tmp_path)
    time.sleep(6)

    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert time.monotonic() - began < 25
    assert process.returncode != 0
    assert not list(tmp_path.glob("punctual-*"))
