"""Writes what starts the server's processes from `processes.yml`: systemd units, a compose file, Kubernetes manifests.

`python deploy/render.py` writes them, `--check` leaves with 1 where they are not what it would write.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

HERE = Path(__file__).parent
MADE = "# Made by deploy/render.py from deploy/processes.yml: change those.\n"
SECRETS = (
    "pgpass",
    "aws",
    "session",
    "client",
    "pseudonym",
)  # of the account that has the home; the other has its pgpass
BINDS = "NET_BIND_SERVICE"  # the proxy's program does not start without it, whichever port it has
SECRETS_AT = "/etc/delictvrij/secrets"
ROOM = "/tmp"  # noqa: S108 - of a container, in its memory
# What a process may do to its machine: nothing but what it is for.
HARDENED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes",
    "ProtectClock": "yes", "ProtectHostname": "yes", "ProtectProc": "invisible", "RestrictNamespaces": "yes", "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "SystemCallFilter": "@system-service", "SystemCallArchitectures": "native",
    "UMask": "0077",
}  # fmt: skip


def rendered(said: Mapping[str, Any]) -> dict[str, str]:
    """The text of every file, by its path below this folder."""
    units = {f"systemd/delictvrij-{name}.service": unit(said, name, one) for name, one in said["processes"].items()}
    return {
        **units, "systemd/delictvrij.target": target(said), "systemd/caddy.service.d/delictvrij.conf": proxy(said),
        "compose/compose.yml": MADE + yaml.dump(compose(said), Dumper=_Plain, sort_keys=False, width=140),
        "kubernetes/delictvrij.yml": MADE + yaml.dump_all(kubernetes(said), Dumper=_Plain, sort_keys=False, width=140),
    }  # fmt: skip


def unit(said: Mapping[str, Any], name: str, process: Mapping[str, Any]) -> str:
    """The systemd unit of one process."""
    program, *words = process["command"]
    after = " ".join(
        ["network-online.target", "postgresql.service", *(f"delictvrij-{one}.service" for one in process["after"])]
    )
    has_home = process["account"] == "delictvrij"
    service = {
        "Type": "exec", "User": process["account"], "Group": process["account"], "WorkingDirectory": said["folder"],
        "EnvironmentFile": f"{said['settings']}/environment",
        "Environment": f"DAGSTER_HOME={_dagster_home(said, process)} PGPASSFILE={SECRETS_AT}/{process['account']}/pgpass",
        "ExecStart": f"{said['folder']}/.venv/bin/{program} {shlex.join(words)}", "Restart": "on-failure", "RestartSec": "5",
        "TimeoutStopSec": "120", "MemoryMax": process["memory"], **HARDENED,
        **(
            {"ReadWritePaths": said["home"]}
            if has_home
            else {"InaccessiblePaths": f"-{said['home']} -{SECRETS_AT}/delictvrij"}
        ),
    }  # fmt: skip
    return MADE + (
        f"[Unit]\nDescription=delictvrij: {process['says']}\nAfter={after}\nWants=network-online.target\nPartOf=delictvrij.target\n\n"
        + "[Service]\n" + "".join(f"{key}={value}\n" for key, value in service.items())
        + "\n[Install]\nWantedBy=delictvrij.target\n"
    )  # fmt: skip


def target(said: Mapping[str, Any]) -> str:
    """What starts and stops all of them."""
    wants = " ".join(
        f"delictvrij-{name}.service" for name, one in said["processes"].items() if not one.get("is_optional")
    )
    return (
        MADE
        + f"[Unit]\nDescription=delictvrij: everything\nWants={wants} caddy.service\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def proxy(said: Mapping[str, Any]) -> str:
    """What is added to Debian's unit of Caddy."""
    start = f"/usr/bin/caddy run --config {said['folder']}/deploy/Caddyfile --adapter caddyfile"
    return MADE + (
        f"[Service]\nEnvironmentFile={said['settings']}/proxy\nExecStart=\nExecStart={start}\nExecReload=\n"
        f"NoNewPrivileges=yes\nProtectSystem=strict\nReadWritePaths=/var/lib/caddy\nInaccessiblePaths=-{said['home']}\n"
    )


def _dagster_home(said: Mapping[str, Any], process: Mapping[str, Any]) -> str:
    parts = (said["home"], "home") if process["account"] == "delictvrij" else (said["settings"],)
    return str(PurePosixPath(*parts, "dagster"))


def _environment(said: Mapping[str, Any], process: Mapping[str, Any]) -> dict[str, str]:
    return {"DAGSTER_HOME": _dagster_home(said, process), "PGPASSFILE": f"{SECRETS_AT}/{process['account']}/pgpass"}


def compose(said: Mapping[str, Any]) -> dict[str, Any]:
    """The compose file: one network namespace, that of the proxy, which alone has a port."""
    shared: dict[str, Any] = {
        "image": said["image"], "network_mode": "service:proxy", "restart": "on-failure", "read_only": True, "tmpfs": [ROOM],
        "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "env_file": ["environment"],
    }  # fmt: skip
    services: dict[str, Any] = {
        "proxy": {
            "image": "caddy:2", "ports": [f"{said['port']}:{said['port']}"], "volumes": ["../Caddyfile:/etc/caddy/Caddyfile:ro", "proxy:/data"],
            "env_file": ["proxy"], "read_only": True, "tmpfs": [ROOM, "/config"], "cap_drop": ["ALL"], "cap_add": [BINDS],
            "security_opt": ["no-new-privileges:true"], "restart": "on-failure", "networks": ["inside"],
        },
        "database": {
            "image": "postgres:15", "volumes": ["database:/var/lib/postgresql/data", "./databases.sql:/docker-entrypoint-initdb.d/databases.sql:ro"],
            "environment": {
                "POSTGRES_USER": "delictvrij", "POSTGRES_PASSWORD_FILE": "/run/secrets/database",
                "POSTGRES_INITDB_ARGS": "--locale=C --encoding=UTF8 --auth-host=scram-sha-256",
            },
            "secrets": ["database"], "restart": "on-failure", "networks": ["inside"], "security_opt": ["no-new-privileges:true"],
        },
    }  # fmt: skip
    for name, process in said["processes"].items():
        has_home = process["account"] == "delictvrij"
        services[name] = {
            **shared, "user": process["account"], "command": list(process["command"]), "environment": _environment(said, process),
            "depends_on": ["proxy", "database", *process["after"]], "mem_limit": process["memory"].lower(),
            "secrets": [
                {"source": f"{process['account']}-{one}", "target": f"{SECRETS_AT}/{process['account']}/{one}"}
                for one in (SECRETS if has_home else SECRETS[:1])
            ],
            **({"profiles": [name]} if process.get("is_optional") else {}),
            **({"volumes": [f"home:{said['home']}", "./roles.yml:/etc/delictvrij/roles.yml:ro"]} if has_home else {}),
        }  # fmt: skip
    return {
        "name": "delictvrij", "services": services, "networks": {"inside": {}}, "volumes": {"home": {}, "database": {}, "proxy": {}},
        "secrets": {
            "database": {"file": "secrets/database"}, "delictvrij-dagster-pgpass": {"file": "secrets/delictvrij-dagster/pgpass"},
            **{f"delictvrij-{name}": {"file": f"secrets/delictvrij/{name}"} for name in SECRETS},
        },
    }  # fmt: skip


def kubernetes(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The manifests: one pod, whose containers share a loopback address, a volume for the home, and a service to the proxy alone."""
    labels = {"app": "delictvrij"}
    confined = {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    numbers = {"delictvrij": 10001, "delictvrij-dagster": 10002, "caddy": 10003}
    containers: list[dict[str, Any]] = [
        {
            "name": "proxy", "image": "caddy:2", "args": ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
            "ports": [{"name": "https", "containerPort": said["port"]}], "envFrom": [{"configMapRef": {"name": "delictvrij-proxy"}}],
            "securityContext": {**confined, "runAsUser": numbers["caddy"], "capabilities": {"drop": ["ALL"], "add": [BINDS]}},
            "volumeMounts": [{"name": "proxy", "mountPath": "/etc/caddy", "readOnly": True}, {"name": "certificates", "mountPath": "/data"}],
            "resources": {"limits": {"memory": "256Mi"}},
        }
    ]  # fmt: skip
    always = {name: process for name, process in said["processes"].items() if not process.get("is_optional")}
    for name, process in always.items():
        has_home = process["account"] == "delictvrij"
        mounts: list[dict[str, Any]] = [
            {"name": f"own-{process['account']}", "mountPath": f"{SECRETS_AT}/{process['account']}", "readOnly": True},
            {"name": "tmp", "mountPath": ROOM},
        ]  # fmt: skip
        if has_home:
            mounts += [
                {"name": "home", "mountPath": said["home"]},
                {"name": "roles", "mountPath": "/etc/delictvrij/roles", "readOnly": True},
            ]
        containers.append(
            {
                "name": name, "image": said["image"], "command": list(process["command"]),
                "env": [{"name": key, "value": value} for key, value in _environment(said, process).items()],
                "envFrom": [{"configMapRef": {"name": "delictvrij-environment"}}],
                "securityContext": {**confined, "runAsUser": numbers[process["account"]]}, "volumeMounts": mounts,
                "resources": {"limits": {"memory": process["memory"] + "i"}},
            }
        )  # fmt: skip
    accounts = ("delictvrij", "delictvrij-dagster")
    secret: list[dict[str, Any]] = [
        {"name": f"given-{name}", "secret": {"secretName": name, "defaultMode": 0o440}} for name in accounts
    ]
    secret += [{"name": f"own-{name}", "emptyDir": {"medium": "Memory"}} for name in accounts]
    # A secret that a cluster mounts can be read by a group, and what reads it refuses that: each account makes a copy of its own.
    before = [
        {
            "name": f"secrets-of-{name}", "image": said["image"], "command": ["sh", "-c", "install -m 0400 /given/* /own/"],
            "securityContext": {**confined, "runAsUser": numbers[name]},
            "volumeMounts": [{"name": f"given-{name}", "mountPath": "/given", "readOnly": True}, {"name": f"own-{name}", "mountPath": "/own"}],
            "resources": {"limits": {"memory": "64Mi"}},
        }
        for name in accounts
    ]  # fmt: skip
    volumes = [
        *secret, {"name": "home", "persistentVolumeClaim": {"claimName": "delictvrij-home"}}, {"name": "tmp", "emptyDir": {}},
        {"name": "roles", "configMap": {"name": "delictvrij-roles"}}, {"name": "proxy", "configMap": {"name": "delictvrij-caddyfile"}},
        {"name": "certificates", "emptyDir": {}},
    ]  # fmt: skip
    # One pod: the home has one writer, and what serves is as near to it as it has to be.
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "delictvrij", "labels": labels},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False, "enableServiceLinks": False, "securityContext": {"fsGroup": 10000},
                    "initContainers": before, "containers": containers, "volumes": volumes,
                },
            },
        },
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "delictvrij", "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": "https"}]},
    }  # fmt: skip
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "delictvrij-home", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}},
    }  # fmt: skip
    closed = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "delictvrij", "labels": labels},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": said["port"]}]}]},
    }  # fmt: skip
    return [claim, deployment, service, closed]


def processes() -> dict[str, Any]:
    """What `processes.yml` says; the image has the version of the project."""
    said: dict[str, Any] = yaml.safe_load((HERE / "processes.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {**said, "image": f"{said['image']}:{project['version']}"}


class _Plain(yaml.SafeDumper):
    """Says everything where it stands, without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def main() -> int:
    """Write the files, or say which are stale."""
    files = rendered(processes())
    is_checked = "--check" in sys.argv[1:]
    stale = [name for name, text in files.items() if not (HERE / name).is_file() or (HERE / name).read_text() != text]
    for name in stale:
        if is_checked:
            print(f"deploy/{name} is not what deploy/processes.yml says: run python deploy/render.py", file=sys.stderr)
            continue
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_text(files[name], encoding="utf-8")
    return 1 if is_checked and stale else 0


if __name__ == "__main__":
    sys.exit(main())
