"""Alerts name metrics there are, and the runbook says what to do about each."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.deploy.reading import DEPLOY, document, text_of
from webhooks import metrics as gauges
from worker import metrics

ELSEWHERE = re.compile(r"node_[a-z_]+")
METRIC = re.compile(r"\b(?:punctual|node)_[a-z_]+")


def rules() -> list[dict[str, Any]]:
    return [rule for group in document("alerts.yaml")["groups"] for rule in group["rules"]]


def known_metrics() -> set[str]:
    names = {gauge.name for gauge in gauges._GAUGES} | {"punctual_database_up"}
    for family in metrics.REGISTRY.collect():
        if family.type == "counter":
            names.add(f"{family.name}_total")
        elif family.type == "histogram":
            names |= {f"{family.name}{suffix}" for suffix in ("", "_bucket", "_sum", "_count")}
        else:
            names.add(family.name)
    return names


def test_every_metric_exists() -> None:
    for rule in rules():
        for name in METRIC.findall(rule["expr"]):
            assert name in known_metrics() or ELSEWHERE.fullmatch(name), f"{rule['alert']}: {name}"


def test_every_metric_the_runbook_speaks_of_exists() -> None:
    for name in set(METRIC.findall(text_of("deploy/RUNBOOK.md"))):
        assert name in known_metrics() or ELSEWHERE.fullmatch(name), name


def test_the_runbook_covers_every_alert_and_no_other() -> None:
    covered = re.findall(r"^### (Punctual\w+)$", text_of("deploy/RUNBOOK.md"), re.MULTILINE)

    assert sorted(covered) == sorted(rule["alert"] for rule in rules())


def test_the_runbook_shows_the_expression_of_each() -> None:
    runbook = " ".join(text_of("deploy/RUNBOOK.md").split())
    for rule in rules():
        expression = " ".join(rule["expr"].split())
        assert expression in runbook, rule["alert"]


def test_each_says_how_bad_it_is_and_where_to_read_on() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"RUNBOOK.md#{rule['alert'].lower()}"


def test_what_is_urgent_is_marked_so_in_the_runbook() -> None:
    sections = re.split(r"^### ", text_of("deploy/RUNBOOK.md"), flags=re.MULTILINE)
    body_by_alert = {section.split("\n", 1)[0]: section.split("\n", 1)[1] for section in sections}
    for rule in rules():
        is_urgent = rule["labels"]["severity"] == "critical"
        assert body_by_alert[rule["alert"]].startswith("*Now.*") is is_urgent, rule["alert"]


def test_they_fire_and_stay_silent_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool")

    checked = subprocess.run(
        [promtool, "check", "rules", str(DEPLOY / "alerts.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    tested = subprocess.run(
        [promtool, "test", "rules", "tests/deploy/alerts_test.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=DEPLOY.parent,
    )

    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr
