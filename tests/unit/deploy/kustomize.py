"""`kustomize build`, for as much of it as deploy/kubernetes uses; anything else is refused.

A kustomization's `resources` (files and folders), `namespace`, `labels` (on metadata alone),
`images` and `patches` (files with a strategic merge of one document that is there).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

KNOWN = {"apiVersion", "kind", "resources", "namespace", "labels", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}
MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists that the API server's schema merges by a key; every other one is replaced whole."""


def read(path: Path) -> list[Document]:
    """The documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def build(folder: Path) -> list[Document]:
    """The documents that `kubectl apply -k FOLDER` would send."""
    (kustomization,) = read(folder / "kustomization.yaml")
    unknown = set(kustomization) - KNOWN
    assert not unknown, f"{folder}: this builder does not know {unknown}"
    found: list[Document] = []
    for name in kustomization["resources"]:
        path = folder / name
        found += build(path) if path.is_dir() else read(path)
    for patch in kustomization.get("patches", []):
        assert set(patch) == {"path"}, patch
        (change,) = read(folder / patch["path"])
        (target,) = (i for i, each in enumerate(found) if identity(each) == identity(change))
        found[target] = merged(found[target], change)
    for document in found:
        _transform(document, kustomization)
    names = [identity(document) for document in found]
    assert len(names) == len(set(names)), f"{folder}: two documents have one name"
    return found


def identity(document: Document) -> tuple[str, str]:
    """What a patch finds its document by."""
    return document["kind"], document["metadata"]["name"]


def merged(base: Any, change: Any) -> Any:
    """A strategic merge: maps key by key, the lists of `MERGED_BY` by theirs."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return deepcopy(change)
    result = dict(base)
    for name, value in change.items():
        key = MERGED_BY.get(name)
        if key and name in base:
            result[name] = _merged_list(base[name], value, key)
        else:
            result[name] = merged(base.get(name), value)
    return result


def _merged_list(base: list[Document], change: list[Document], key: str) -> list[Document]:
    result = {item[key]: item for item in base}
    for item in change:
        result[item[key]] = merged(result.get(item[key]), item)
    return list(result.values())


def _transform(document: Document, kustomization: Document) -> None:
    metadata = document["metadata"]
    if "namespace" in kustomization and document["kind"] not in CLUSTER_WIDE:
        metadata["namespace"] = kustomization["namespace"]
    for labels in kustomization.get("labels", []):
        assert set(labels) == {"pairs"}, labels
        metadata["labels"] = {**metadata.get("labels", {}), **labels["pairs"]}
    renamed = {image["name"]: image for image in kustomization.get("images", [])}
    for container in containers(document):
        image = renamed.get(container["image"].rpartition(":")[0])
        if image:
            container["image"] = f"{image['newName']}:{image['newTag']}"


def pod(document: Document) -> Document | None:
    """The Pod's spec in a Deployment, StatefulSet or Job."""
    template = document.get("spec", {}).get("template") if "spec" in document else None
    return template["spec"] if template else None


def containers(document: Document) -> Iterator[Document]:
    """Its containers."""
    spec = pod(document)
    if spec:
        yield from spec.get("initContainers", [])
        yield from spec["containers"]
