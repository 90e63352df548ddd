"""example.env names every setting there is, and nothing else."""

from __future__ import annotations

import re

import pytest
from pydantic_core import PydanticUndefined

from tests.deploy.reading import DEPLOY, text_of
from worker.settings import Settings, load_settings

LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
#: Read by Compose, which hands them to the services in its own ways.
COMPOSE_ALONE = {"PUNCTUAL_IMAGE"}
#: Not one value: what stands there shows the shape.
SHAPES = {
    "PUNCTUAL_DATABASE_URL",
    "PUNCTUAL_PUBLIC_URL",
    "PUNCTUAL_ENCRYPTION_KEYS",
    "PUNCTUAL_ADMIN_API_KEY",
    "PUNCTUAL_RECALL_API_KEY",
    "PUNCTUAL_RECALL_BASE_URL",
    "PUNCTUAL_RECALL_WEBHOOK_SECRETS",
    "PUNCTUAL_GOOGLE_CLIENT_ID",
    "PUNCTUAL_GOOGLE_CLIENT_SECRET",
    "PUNCTUAL_MICROSOFT_CLIENT_ID",
    "PUNCTUAL_MICROSOFT_CLIENT_SECRET",
    "PUNCTUAL_EVENTS_URL",
    "PUNCTUAL_LOG_FORMAT",
}


def named() -> dict[str, str]:
    return dict(LINE.findall(text_of("deploy/example.env")))


def test_it_names_exactly_the_settings() -> None:
    settings = {f"PUNCTUAL_{name.upper()}" for name in Settings.model_fields}

    assert {name for name in named() if name.startswith("PUNCTUAL_")} - COMPOSE_ALONE == settings


def test_what_else_it_names_is_for_compose() -> None:
    others = {name for name in named() if not name.startswith("PUNCTUAL_")} | COMPOSE_ALONE

    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text_of("deploy/compose.yaml")))

    assert others == used


def test_it_shows_the_defaults() -> None:
    for name, shown in named().items():
        if name in SHAPES or not name.startswith("PUNCTUAL_") or name in COMPOSE_ALONE:
            continue
        default = Settings.model_fields[name.removeprefix("PUNCTUAL_").lower()].default
        assert default is not PydanticUndefined
        plain = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        assert shown == (str(plain).lower() if isinstance(plain, bool) else str(plain)), name


def test_every_setting_is_explained_above_it() -> None:
    before = ""
    for line in text_of("deploy/example.env").splitlines():
        if LINE.match(line):
            assert before.startswith("#"), f"{line}: nothing says what it means"
        before = line


def test_as_it_is_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PUNCTUAL_{name.upper()}", raising=False)

    assert load_settings(env_file=str(DEPLOY / "example.env")) == load_settings(env_file=None)
