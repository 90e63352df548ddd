"""The manifests: complete, confined, and after each other's names."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from tests.deploy.reading import DEPLOY, document, documents
from worker.settings import Settings

PRIVATE = (
    "169.254.169.254",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "127.0.0.1",
    "fd00::1",
    "fe80::1",
)


def manifests() -> Iterator[dict[str, Any]]:
    for name in document("kubernetes/kustomization.yaml")["resources"]:
        yield from documents(f"kubernetes/{name}")


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests():
        if manifest["kind"] in {"Deployment", "Job"}:
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def test_every_file_parses_and_none_names_a_namespace() -> None:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for manifest in documents(f"kubernetes/{path.name}"):
            assert {"apiVersion", "kind"} <= set(manifest), path.name
            assert "namespace" not in manifest.get("metadata", {}), path.name


def test_the_kinds_that_are_needed_are_there() -> None:
    kinds = sorted(manifest["kind"] for manifest in manifests())

    assert kinds == [
        "ConfigMap",
        "Deployment",
        "Deployment",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodDisruptionBudget",
        "Service",
    ]


def test_every_pod_is_confined() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["image"] == "punctual", name
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "memory" in container["resources"]["limits"], name


def test_a_service_of_the_cluster_never_passes_for_a_setting() -> None:
    assert all(pod["enableServiceLinks"] is False for _, pod in pods())


def test_every_variable_is_a_setting() -> None:
    settings = {f"PUNCTUAL_{name.upper()}" for name in Settings.model_fields}
    told = {
        *document("kubernetes/configmap.yaml")["data"],
        *document("kubernetes/secret.example.yaml")["stringData"],
        *(
            entry["name"]
            for _, pod in pods()
            for box in pod["containers"]
            for entry in box.get("env", [])
        ),
    }

    assert told - {"PROMETHEUS_MULTIPROC_DIR"} <= settings


def test_receivers_are_probed_and_never_all_away() -> None:
    serve = next(pod for name, pod in pods() if name == "punctual-serve")["containers"][0]

    assert serve["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert serve["readinessProbe"]["httpGet"]["path"] == "/readyz"
    deployment = documents("kubernetes/serve.yaml")[0]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_selectors_find_their_pods() -> None:
    by_kind = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests()}
    for name in ("punctual-serve", "punctual-work"):
        spec = by_kind["Deployment", name]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert by_kind["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"] == labels
    serve = by_kind["Deployment", "punctual-serve"]["spec"]["template"]["metadata"]["labels"]
    assert by_kind["Service", "punctual"]["spec"]["selector"] == serve


def test_the_way_out_leads_to_the_public_internet_alone() -> None:
    policy = document("kubernetes/networkpolicy.yaml")["spec"]
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for private in PRIVATE:
        address = ip_address(private)
        for block in blocks:
            inside = address in ip_network(block["cidr"])
            excepted = any(address in ip_network(hole) for hole in block["except"])
            assert not inside or excepted, private
