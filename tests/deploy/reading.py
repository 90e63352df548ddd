"""The files of `deploy/` as data, for the tests beside this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def text_of(name: str) -> str:
    """Return a file, named from the repository's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def documents(name: str) -> list[dict[str, Any]]:
    """Return the YAML documents of a file under deploy/; the test is skipped without a parser."""
    yaml = pytest.importorskip("yaml")
    with (DEPLOY / name).open(encoding="utf-8") as stream:
        return [document for document in yaml.safe_load_all(stream) if document is not None]


def document(name: str) -> dict[str, Any]:
    """Return the only YAML document of a file under deploy/."""
    (only,) = documents(name)
    return only
