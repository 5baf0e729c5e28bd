"""What starts a server: made from one file, hardened, nothing but the proxy reachable, no secret in a setting."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from orchestration.roles import read_members
from orchestration.settings import CHECKOUT, Settings

DEPLOY = CHECKOUT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.fixture(scope="module")
def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render", DEPLOY / "render.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def said(render: ModuleType) -> dict[str, Any]:
    content: dict[str, Any] = render.processes()
    return content


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yml").read_text())
    return content


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes" / "delictvrij.yml").read_text())}


def test_what_is_made_from_the_processes_is_up_to_date(render: ModuleType, said: dict[str, Any]) -> None:
    for name, text in render.rendered(said).items():
        assert (DEPLOY / name).read_text() == text, name
    assert {path.name for path in UNITS} == {f"delictvrij-{name}.service" for name in said["processes"]}


def test_every_process_listens_on_the_loopback_address_and_has_no_secret_among_its_arguments(
    said: dict[str, Any],
) -> None:
    for process in said["processes"].values():
        words = process["command"]
        assert "0.0.0.0" not in words  # noqa: S104
        if "-p" in words:
            assert words[words.index("-h") + 1] == "127.0.0.1"
        assert not [word for word in words if re.search(r"(?i)secret|password|key|postgres|aws", word)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_one_that_systemd_takes_and_gives_its_process_nothing_to_gain(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    for setting in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "CapabilityBoundingSet=\n",
        "UMask=0077",
    ):
        assert setting in text
    assert "User=root" not in text and "\nUser=delictvrij" in text
    verify = shutil.which("systemd-analyze")
    if verify is None:
        return  # a container has no systemd; what is above holds there too
    # What the unit names is not on this machine.
    text = re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", text).replace(
        "WorkingDirectory=/opt/delictvrij", "WorkingDirectory=/"
    )
    (tmp_path / unit.name).write_text(re.sub(r" delictvrij-\w+\.service", "", text))
    done = subprocess.run(
        [verify, "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    assert not [line for line in done.stderr.splitlines() if unit.name in line], done.stderr


def test_caddy_takes_the_file_of_the_proxy() -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("caddy is not installed (Debian: caddy)")
    environment = {"DELICTVRIJ_PUBLIC_URL": "https://localhost:8443", "HOME": "/nonexistent", "PATH": ""}
    done = subprocess.run(
        [caddy, "validate", "--config", DEPLOY / "Caddyfile", "--adapter", "caddyfile"], capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_only_the_proxy_of_the_compose_file_has_a_port_and_the_others_share_its_loopback(
    compose: dict[str, Any], said: dict[str, Any]
) -> None:
    services = compose["services"]
    assert set(services) == {"proxy", "database", *said["processes"]}
    assert [name for name, one in services.items() if "ports" in one] == ["proxy"]
    for name in said["processes"]:
        one = services[name]
        assert one["network_mode"] == "service:proxy" and one["read_only"] and one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"] and one["user"] in said["accounts"]
        assert {given["source"] for given in one["secrets"]} <= set(compose["secrets"])
        assert set(one["depends_on"]) <= set(services)
    named = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == set(compose["volumes"])
    assert "PASSWORD" not in " ".join(
        key for one in services.values() for key in one.get("environment", {}) if not key.endswith("_FILE")
    )


def test_whoever_only_serves_has_neither_the_home_nor_a_key(
    compose: dict[str, Any], manifests: dict[str, Any], said: dict[str, Any]
) -> None:
    pod = {one["name"]: one for one in manifests["Deployment"]["spec"]["template"]["spec"]["containers"]}
    for name, process in said["processes"].items():
        if process.get("is_optional"):
            assert name not in pod
            continue
        has_home = process["account"] == "delictvrij"
        mounted = {mount["name"] for mount in pod[name]["volumeMounts"]}
        assert ("home" in mounted) == has_home == ("volumes" in compose["services"][name])
        assert ("own-delictvrij" in mounted) == has_home
        assert (len(compose["services"][name]["secrets"]) > 1) == has_home
        unit = (DEPLOY / "systemd" / f"delictvrij-{name}.service").read_text()
        assert ("InaccessiblePaths=" in unit) != has_home


def test_the_manifests_hold_together_and_let_in_nobody_but_through_the_proxy(
    manifests: dict[str, Any], said: dict[str, Any]
) -> None:
    assert set(manifests) == {"PersistentVolumeClaim", "Deployment", "Service", "NetworkPolicy"}
    deployment = manifests["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == manifests["Service"]["spec"]["selector"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")  # the home has one writer
    volumes = {one["name"] for one in pod["volumes"]}
    for one in (*pod["containers"], *pod["initContainers"]):
        assert {mount["name"] for mount in one["volumeMounts"]} <= volumes
        confined = one["securityContext"]
        assert (
            confined["runAsNonRoot"] and confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"]
        )
        assert confined["capabilities"]["drop"] == ["ALL"] and "limits" in one["resources"]
    assert [one["name"] for one in pod["containers"] if "ports" in one] == ["proxy"]
    assert manifests["NetworkPolicy"]["spec"]["ingress"] == [{"ports": [{"port": said["port"]}]}]
    assert not pod["automountServiceAccountToken"]


def test_the_settings_of_the_example_are_settings_and_name_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dotenv_values(DEPLOY / "environment.example")
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings()
    known = {f"DELICTVRIJ_{name.upper()}" for name in Settings.model_fields}
    strange = {name for name in given if name.startswith("DELICTVRIJ_")} - known
    assert strange == {"DELICTVRIJ_CODE_HOST", "DELICTVRIJ_CODE_PORT"}  # of the workspace
    assert settings.profile == "server"
    assert "delictvrij-stewards" in read_members(DEPLOY / "roles.example.yml").groups
