"""README, RUNBOOK and DECISIONS: what they name exists, and what they show runs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import click
import pytest

from models.domain.rules import RuleSet, rule_set, to_json
from tests.deploy.reading import DEPLOY, ROOT, text_of
from worker.cli import main
from worker.publishers.signing import new_secret, signed_headers

PARTS = ("Context", "Decision", "Consequence", "Alternatives")
PAGES = ("README.md", "deploy/RUNBOOK.md", "deploy/DECISIONS.md")


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [body for _, found, body in fenced if found == language]


def named_commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for words in re.findall(
            r"(?:^|`|bin/|&& )punctual ((?:[a-z][a-z-]* ?)+)", text_of(page), re.MULTILINE
        ):
            yield page, words.split()


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_it_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text_of(page), re.MULTILINE))

    assert named <= targets


def test_every_command_they_name_exists() -> None:
    for page, words in named_commands():
        group: click.Command = main
        for word in words:
            if not isinstance(group, click.Group):
                break
            assert word in group.commands, f"{page}: punctual {' '.join(words)}"
            group = group.commands[word]


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_it_names_exists(page: str) -> None:
    example = text_of("deploy/example.env")
    for name in set(re.findall(r"PUNCTUAL_[A-Z_]+[A-Z]", text_of(page))):
        assert f"{name}=" in example or f"{name}_" in example, name


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    here = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        assert (here / path).exists(), target
        if anchor:
            there = here / path if path else ROOT / page
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(text_of("README.md").splitlines()) <= 250


def test_the_readme_explains_every_rule() -> None:
    table = text_of("README.md").partition("## Rules")[2].partition("## Consume")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", table, re.MULTILINE)
    told = {name for fields, _ in rows for name in re.findall(r"`(\w+)`", fields)}

    assert told == set(to_json(RuleSet()))


def test_the_readme_shows_rules_that_are_accepted() -> None:
    shown = re.findall(r"-d '(\{\"select\".*?\})'", text_of("README.md"))

    assert shown
    for rules in shown:
        assert rule_set(json.loads(rules)).select


def test_the_readmes_python_parses() -> None:
    assert len(blocks("README.md", "python")) == 4
    for code in blocks("README.md", "python"):
        ast.parse(code)


def test_the_readmes_consumer_takes_every_event_once() -> None:
    (code,) = [block for block in blocks("README.md", "python") if "def is_new" in block]
    scope: dict[str, Any] = {"last_seen": {}}
    exec(code, scope)
    arriving = [("bot/1", 1), ("bot/1", 1), ("bot/2", 1), ("bot/1", 3), ("bot/1", 2)]

    taken = [
        (subject, sequence)
        for subject, sequence in arriving
        if scope["is_new"]({"cloudEvents_subject": subject, "cloudEvents_sequence": sequence})
    ]

    assert taken == [("bot/1", 1), ("bot/2", 1), ("bot/1", 3)]


def test_the_readmes_subscriber_verifies_what_we_sign(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block for block in blocks("README.md", "python") if "standardwebhooks" in block]
    secret = new_secret()
    scope: dict[str, Any] = {"is_new": lambda headers: headers["cloudEvents_subject"] == "bot/1"}
    exec(code.replace("whsec_…", secret), scope)
    body = (
        b'{"id": "e1", "type": "bot.scheduled", "subject": "bot/1", "sequence": 1, "data": {"id": "1"}}'
    )
    headers = signed_headers(body, message_id="e1", at=datetime.now(UTC), secrets=[secret])

    scope["receive"](body, headers)

    assert capsys.readouterr().out == "bot.scheduled 1\n"
    with pytest.raises(Exception, match="signature"):
        scope["receive"](body + b" ", headers)


def test_decisions_are_numbered_and_short() -> None:
    sections = text_of("deploy/DECISIONS.md").split("\n## ")[1:]

    assert [int(section.split(".")[0]) for section in sections] == list(range(1, len(sections) + 1))
    for section in sections:
        heading, *lines = [line for line in section.splitlines() if line.strip()]
        assert len(lines) <= 15, heading
        order = [section.index(f"**{part}.**") for part in PARTS]
        assert all(before < after for before, after in pairwise(order)), heading


def test_the_settings_of_celery_are_given_reasons() -> None:
    reasons = text_of("deploy/DECISIONS.md")

    for name in (
        "task_acks_late",
        "task_reject_on_worker_lost",
        "worker_prefetch_multiplier",
        "x-delivery-limit",
    ):
        assert name in reasons
        assert name in text_of("worker/app.py")


def test_nothing_depends_on_the_machine_it_was_written_on() -> None:
    for path in [*DEPLOY.rglob("*"), ROOT / "README.md"]:
        if path.is_file() and not path.name.startswith("requirements"):
            assert not re.search(r"/(?:root|home)/\w|/work/", path.read_text(encoding="utf-8")), (
                path.name
            )
