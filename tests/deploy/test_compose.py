"""compose.yaml: every service is confined, and starts after what it needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.reading import document

OURS = ("migrate", "serve", "work")


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = document("compose.yaml")["services"]
    return found


def test_every_service_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"memory", "cpus", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"]), name


def test_ours_run_as_the_images_user_and_have_time_to_stop(services: dict[str, Any]) -> None:
    for name in OURS:
        assert services[name]["user"] == "10001:10001"
        assert services[name]["command"] == [name]
        assert services[name]["stop_grace_period"] == "30s"


def test_the_schema_comes_first(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("serve", "work"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[name]["deploy"]["replicas"] == 2


def test_nobody_waits_for_the_broker_to_be_healthy(services: dict[str, Any]) -> None:
    conditions = [
        service.get("depends_on", {}).get("rabbitmq", {}).get("condition")
        for service in services.values()
    ]

    assert set(conditions) <= {None, "service_started"}


def test_the_database_and_the_broker_face_inwards(services: dict[str, Any]) -> None:
    for name in ("postgres", "rabbitmq"):
        assert services[name]["networks"] == ["inside"]
        assert "ports" not in services[name]
    assert document("compose.yaml")["networks"]["inside"] == {"internal": True}


def test_no_secret_stands_in_it(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if "PASS" in name or "KEY" in name or "SECRET" in name:
                assert value.startswith("${"), name


def test_the_workers_proof_of_life_is_python(services: dict[str, Any]) -> None:
    kind, program, option, code = services["work"]["healthcheck"]["test"]

    assert (kind, program, option) == ("CMD", "python", "-c")
    compile(code, "health", "exec")
