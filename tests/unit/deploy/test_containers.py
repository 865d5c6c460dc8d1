"""The images' locks, the Dockerfile and the compose files, without an engine."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.compose import __main__ as runner

ROOT = Path(__file__).resolve().parents[3]
LETHE = ("migrate", "seed", "api", "inference", "worker")
ONCE = ("keys", "migrate", "seed")


def locked(name: str) -> dict[str, set[str]]:
    """Each package of a lock, its version and marker, and the hashes it may have."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
        lines = [line.strip(" \\") for line in block.splitlines() if "#" not in line]
        if lines:
            found[lines[0].partition(" ;")[0]] = {line for line in lines if "--hash" in line}
    return found


@cache
def services(name: str = "docker-compose.yml") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / name).read_text())["services"]
    return found


def dockerfile() -> str:
    """The Dockerfile, its continued lines joined."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


@pytest.mark.parametrize("part", ["api", "ml"])
def test_what_goes_into_an_image_is_what_was_tested(part: str) -> None:
    whole, image = locked("requirements.lock"), locked(f"requirements-{part}.lock")
    assert image.items() <= whole.items()
    assert all(image.values()), "a package without a hash"


def test_the_images_have_what_they_need_and_the_api_no_pytorch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    api, ml = (
        {line.partition("==")[0] for line in locked(f"requirements-{part}.lock")}
        for part in ("api", "ml")
    )
    for needed, there in (
        (project["dependencies"] + extras["otel"] + extras["s3"], api),
        (extras["ml"], ml),
    ):
        assert {re.split(r"[\[><=;]", each)[0] for each in needed} <= there
    assert api < ml
    assert not any("torch" in name or "nvidia" in name or "pytest" in name for name in api)
    assert not any("pytest" in name for name in ml)


def test_images_are_built_by_the_installer_that_make_uses() -> None:
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert version
    assert f"uv=={version[1]}" in locked("requirements-build.lock")


def test_the_dockerfile_asks_no_registry_but_for_its_bases() -> None:
    lines = dockerfile().splitlines()
    assert not any(line.lower().startswith("# syntax") for line in lines)
    stages = [line.split()[3] for line in lines if line.startswith("FROM ")]
    assert stages == ["tools", "packages", "api", "ml", "front"]
    for target in ("api", "ml", "front"):
        stage = re.split(r"^FROM .* AS ", dockerfile(), flags=re.M)[stages.index(target) + 1]
        users = re.findall(r"^USER (\S+)$", stage, re.M)
        assert users
        assert all(int(user.partition(":")[0]) > 0 for user in users), (
            "named users cannot be checked"
        )
        assert "org.opencontainers.image.title" in stage


def test_every_package_is_copied_and_nothing_else_reaches_the_builder() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored
    for package in packages:
        assert f"!{package}" in ignored
        assert re.search(rf"^COPY {package} {package}$", dockerfile(), re.M)
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert not allowed & {"tests", "var", "data", ".git", ".venv"}


def test_every_container_is_guarded() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert "privileged" not in service, name
        if name in ONCE:
            assert service["restart"] in ("no", "on-failure:3"), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["deploy"]["resources"]["limits"]["memory"], name
    assert [name for name, service in services().items() if "ports" in service] == ["front"]


def test_no_secret_is_in_a_variable() -> None:
    known = {f"LETHE_{name.upper()}" for name in Settings.model_fields}
    secret = ("LETHE_SECRET", "LETHE_DATABASE_URL", "LETHE_BROKER_URL", "POSTGRES_PASSWORD")
    for name, service in services().items():
        for variable in service.get("environment", {}):
            assert variable not in secret, name
            if name in LETHE:
                assert {variable, variable.removesuffix("_FILE")} & known, f"{name}: {variable}"


def test_the_engine_waits_longer_than_a_process_takes_to_stop() -> None:
    for name in LETHE:
        service = services()[name]
        grace, stop = (
            float(re.sub(r"\$\{\w+:-([\d.]+)\}s?", r"\1", value))
            for value in (
                service["environment"]["LETHE_GRACE_SECONDS"],
                service["stop_grace_period"],
            )
        )
        assert stop > grace + float(service["environment"]["LETHE_DRAIN_SECONDS"]), name


def test_each_part_starts_when_what_it_needs_is_there() -> None:
    waits = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in services().items()
    }
    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits["postgres"] == {"keys": done}
    assert waits["migrate"] == {"postgres": healthy}
    for name in ("seed", "api", "inference", "worker"):
        assert waits[name]["migrate"] == done
    assert waits["inference"]["seed"] == done
    assert waits["front"] == {"api": healthy}


def test_gpus_go_to_those_who_compute() -> None:
    changed = services("docker-compose.gpu.yml")
    assert set(changed) == {"worker", "inference"}
    for service in changed.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert device["capabilities"] == ["gpu"]


def test_without_an_engine_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.compose"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no `docker` command" in done.stderr
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert runner.missing() == "`docker info`: Cannot connect to the Docker daemon"


def test_its_tests_are_no_part_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    conftest = str(ROOT / "tests" / "compose" / "conftest.py")
    assert runpy.run_path(conftest)["collect_ignore_glob"] == ["test_*.py"]
    monkeypatch.setenv("LETHE_TEST_COMPOSE", "1")
    assert runpy.run_path(conftest)["collect_ignore_glob"] == []
