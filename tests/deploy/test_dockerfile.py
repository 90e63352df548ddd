"""The image: locked, small, and run by nobody in particular."""

from __future__ import annotations

import json
import re

from tests.deploy.reading import text_of


def instructions() -> list[tuple[str, str]]:
    joined = text_of("deploy/Dockerfile").replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def values_of(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def test_the_last_user_is_not_root() -> None:
    assert values_of("USER") == ["10001:10001"]


def test_nothing_runs_through_a_shell() -> None:
    for name in ("RUN", "CMD", "ENTRYPOINT"):
        for value in values_of(name):
            assert isinstance(json.loads(value), list)
    (health,) = values_of("HEALTHCHECK")
    assert json.loads(health[health.index("CMD ") + 4 :])[0] == "python"


def test_what_it_starts_is_punctual() -> None:
    assert [json.loads(value) for value in values_of("ENTRYPOINT")] == [["punctual"]]


def test_every_file_is_checked_against_the_lock() -> None:
    runs = [json.loads(value) for value in values_of("RUN")]

    (download,) = [run for run in runs if "download" in run]
    (install,) = [run for run in runs if "install" in run]

    assert {"--require-hashes", "/src/requirements.txt"} <= set(download)
    assert "--no-index" in install


def test_the_checks_inside_are_python() -> None:
    found = [json.loads(value) for value in values_of("RUN")]

    (check,) = [run[2] for run in found if run[1] == "-c"]
    (health,) = values_of("HEALTHCHECK")

    compile(check, "check", "exec")
    compile(json.loads(health[health.index("CMD ") + 4 :])[2], "health", "exec")
    assert "packages_distributions" in check


def test_only_what_is_copied_reaches_the_build() -> None:
    ignored = text_of("deploy/Dockerfile.dockerignore").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for value in values_of("COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    }

    assert "*" in ignored
    assert copied == allowed - {"deploy"}


def test_the_version_is_ours() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)

    assert f"VERSION={version}" in values_of("ARG")
    assert f"punctual:{version}" in text_of("deploy/compose.yaml")
    assert f"newTag: {version}" in text_of("deploy/kubernetes/kustomization.yaml")
