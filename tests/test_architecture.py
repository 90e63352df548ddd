"""The arrows hold, and a turned one is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from worker import jobs
from worker.tasks import add_tasks

ROOT = Path(__file__).parent.parent
LONGEST_MODULE = 400


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contracts on the packages in *folder*."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    for name in ("models", "worker", "webhooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_arrow_points_inwards(a_copy: Path) -> None:
    result = lint_imports(a_copy)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("models/domain/times.py", "import sqlalchemy"),
        ("models/db.py", "import worker.clock"),
        ("worker/settling.py", "import webhooks.app"),
        ("worker/settling.py", "import worker.providers.recall"),
        ("worker/providers/recall/source.py", "import models.tables.events"),
        ("worker/sandbox/recall/store.py", "import models.domain.times"),
    ],
)
def test_a_turned_arrow_is_noticed(a_copy: Path, module: str, line: str) -> None:
    path = a_copy / module
    source = path.read_text()
    path.write_text(source.replace("from __future__ import annotations", line, 1))

    assert lint_imports(a_copy).returncode != 0


def test_every_job_has_a_queue_and_a_task() -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    add_tasks(app, lambda: pytest.fail("no job runs here"))

    assert set(jobs.JOBS) == set(jobs.QUEUE_BY_JOB)
    assert set(jobs.JOBS) <= set(app.tasks)


def test_no_module_has_outgrown_its_purpose() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("models", "worker", "webhooks")
        for path in (ROOT / folder).rglob("*.py")
        if "versions" not in path.parts
        and (lines := len(path.read_text().splitlines())) > LONGEST_MODULE
    }

    assert long == {}


def test_the_top_level_holds_what_the_layout_names() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    top = {path.split("/")[0] for path in listed}

    assert {name for name in top if not name.startswith(".")} <= {
        "README.md",
        "LICENSE",
        "Makefile",
        "deploy",
        "models",
        "pyproject.toml",
        "tests",
        "uv.lock",
        "webhooks",
        "worker",
    }
