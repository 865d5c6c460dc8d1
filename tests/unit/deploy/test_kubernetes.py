"""The manifests: valid by Kubernetes' own schemas, consistent, and strict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.settings import Settings
from tests.unit.deploy.kustomize import Document, build, containers, identity, pod, read

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
GUIDE = ROOT / "docs" / "guides" / "containers.md"
NAMES = ["overlays/cpu", "overlays/gpu", "seed"]
KUBERNETES = ("1.30", kubernetes_validate.latest_version())


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> list[Document]:
    """What `kubectl apply -k` sends, of each folder that one may name."""
    return build(FOLDER / request.param)


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    """The documents of one kind, by name."""
    return {
        name: each for each in documents if (name := identity(each)[1]) and each["kind"] == kind
    }


def labels_of_pods(documents: list[Document]) -> list[dict[str, str]]:
    return [each["spec"]["template"]["metadata"]["labels"] for each in documents if pod(each)]


def test_every_file_is_part_of_something() -> None:
    used = {FOLDER / folder / "kustomization.yaml" for folder in [*NAMES, "base"]}
    for path in list(used):
        (kustomization,) = read(path)
        used |= {path.parent / name for name in kustomization["resources"]}
        used |= {path.parent / patch["path"] for patch in kustomization.get("patches", [])}
    files = set(FOLDER.rglob("*.yaml"))
    assert files <= {path.resolve() for path in used}, "a manifest that nobody applies"


@pytest.mark.parametrize("version", KUBERNETES)
def test_each_document_is_valid(version: str) -> None:
    documents = [document for name in NAMES for document in build(FOLDER / name)]
    different = {json.dumps(document, sort_keys=True): document for document in documents}
    for document in different.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelled_field_would_be_found() -> None:
    (worker, _) = read(FOLDER / "base" / "worker.yaml")
    worker["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, KUBERNETES[1], strict=True)


def test_selectors_find_pods(built: list[Document]) -> None:
    pods = labels_of_pods(built)

    def finds(selector: dict[str, str]) -> bool:
        return any(selector.items() <= labels.items() for labels in pods)

    for document in built:
        spec = document.get("spec", {})
        name = identity(document)
        if document["kind"] in ("Deployment", "StatefulSet"):
            own = spec["template"]["metadata"]["labels"].items()
            assert spec["selector"]["matchLabels"].items() <= own, name
        if document["kind"] == "Service":
            assert finds(spec["selector"]), name
        if document["kind"] == "PodDisruptionBudget":
            assert finds(spec["selector"]["matchLabels"]), name
        if document["kind"] == "NetworkPolicy":
            for selector in pod_selectors(spec):
                assert not selector or finds(selector), name


def pod_selectors(spec: Any) -> list[dict[str, str]]:
    """Every podSelector in a policy, an expression as one for each of its values."""
    found: list[dict[str, str]] = []
    if isinstance(spec, dict):
        for name, value in spec.items():
            if name != "podSelector":
                found += pod_selectors(value)
                continue
            found.append(value.get("matchLabels", {}))
            for rule in value.get("matchExpressions", []):
                assert rule["operator"] == "In"
                found += [{rule["key"]: each} for each in rule["values"]]
    if isinstance(spec, list):
        found += [selector for item in spec for selector in pod_selectors(item)]
    return found


def test_no_container_is_root_or_writes_beside_its_code(built: list[Document]) -> None:
    for document in built:
        spec = pod(document)
        if spec is None:
            continue
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in containers(document):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, identity(document)
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]


def test_mounts_have_volumes_and_volumes_are_mounted(built: list[Document]) -> None:
    for document in built:
        spec = pod(document)
        if spec is None:
            continue
        claimed = [c["metadata"]["name"] for c in document["spec"].get("volumeClaimTemplates", [])]
        there = {*claimed, *(volume["name"] for volume in spec["volumes"])}
        used = {m["name"] for each in containers(document) for m in each["volumeMounts"]}
        assert used == there, identity(document)


def test_what_runs_for_long_is_probed_and_has_a_budget() -> None:
    built = build(FOLDER / "overlays/cpu")
    for name, deployment in named(built, "Deployment").items():
        (container,) = containers(deployment)
        assert "livenessProbe" in container, name
        if name.startswith("lethe-"):
            assert name in named(built, "PodDisruptionBudget")
            assert deployment["spec"]["replicas"] >= 2


def test_pods_get_longer_to_stop_than_the_service_takes() -> None:
    built = build(FOLDER / "overlays/cpu")
    settings = named(built, "ConfigMap")["lethe"]["data"]
    takes = float(settings["LETHE_GRACE_SECONDS"]) + float(settings["LETHE_DRAIN_SECONDS"])
    for name in ("lethe-api", "lethe-inference", "lethe-worker"):
        spec = pod(named(built, "Deployment")[name])
        assert spec
        assert spec["terminationGracePeriodSeconds"] > takes


def test_settings_exist(built: list[Document]) -> None:
    known = {f"LETHE_{name.upper()}" for name in Settings.model_fields}
    for document in built:
        given = {each["name"] for c in containers(document) for each in c.get("env", [])}
        if document["kind"] == "ConfigMap":
            given |= set(document["data"])
        for name in given - {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "PGDATA"}:
            assert {name, name.removesuffix("_FILE")} & known, f"{identity(document)}: {name}"


def test_secrets_are_referred_to_and_the_guide_says_how_to_make_each() -> None:
    built = build(FOLDER / "overlays/cpu")
    assert not named(built, "Secret"), "a secret in a repository is none"
    referred: dict[str, set[str]] = {}
    for document in built:
        spec = pod(document) or {}
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                referred.setdefault(volume["secret"]["secretName"], set())
    settings = named(built, "ConfigMap")["lethe"]["data"]
    paths = [value for value in settings.values() if value.startswith("/run/lethe/")]
    referred["lethe"] |= {Path(path).name for path in paths}
    for name in ("lethe-postgres", "lethe-redis"):
        referred[name] |= {"password"}
    guide = GUIDE.read_text()
    for name, keys in referred.items():
        made = re.search(
            rf"kubectl .*create secret generic {name} (.*?)(?:\n\$|\n```)", guide, re.S
        )
        assert made, f"the guide does not say how to make the Secret {name}"
        assert set(re.findall(r"--from-(?:file|literal)=([\w.-]+)=", made[1])) == keys, name
    for ingress in named(built, "Ingress").values():
        for tls in ingress["spec"]["tls"]:
            assert f"create secret tls {tls['secretName']} " in guide


def test_the_ingress_leads_to_services_and_predictions_to_inference() -> None:
    built = build(FOLDER / "overlays/cpu")
    (rule,) = named(built, "Ingress")["lethe"]["spec"]["rules"]
    services = named(built, "Service")
    leads = {}
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        ports = {port["name"] for port in services[service["name"]]["spec"]["ports"]}
        assert service["port"]["name"] in ports
        leads[path["path"]] = service["name"]
    assert leads == {"/predict": "lethe-inference", "/v2": "lethe-inference", "/": "lethe-api"}


def test_images_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    there = {re.sub(r"\$\{\w+:-(.*)\}", r"\1", s["image"]) for s in compose["services"].values()}
    here = {c["image"] for each in build(FOLDER / "base") for c in containers(each)}
    assert here == there - {"lethe-front:local"}, "an Ingress takes the place of the front"


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_an_overlay_changes_what_it_says(overlay: str) -> None:
    base, built = build(FOLDER / "base"), build(FOLDER / "overlays" / overlay)
    assert {identity(each) for each in base} == {identity(each) for each in built}
    deployments = named(built, "Deployment")
    for document in built:
        for container in containers(document):
            assert not container["image"].endswith(":local"), "an image that no cluster has"
    for name in ("lethe-inference", "lethe-worker"):
        (container,) = containers(deployments[name])
        (before,) = containers(named(base, "Deployment")[name])
        assert container["volumeMounts"] == before["volumeMounts"]
        assert container["resources"]["limits"]["memory"] == before["resources"]["limits"]["memory"]
        device = {each["name"]: each["value"] for each in container["env"]}["LETHE_DEVICE"]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu", 0)
        assert (device == "cpu", gpus) == ((True, 0) if overlay == "cpu" else (False, 1))
    (api,) = containers(deployments["lethe-api"])
    assert "nvidia.com/gpu" not in api["resources"]["limits"]


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = named(build(FOLDER / "overlays/cpu"), "NetworkPolicy")
    nothing = policies.pop("nothing-by-default")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in ("postgres", "redis"):
        (rule,) = policies[name]["spec"]["ingress"]
        (source,) = rule["from"]
        assert source == {"podSelector": {"matchLabels": {"lethe/uses": "servers"}}}
