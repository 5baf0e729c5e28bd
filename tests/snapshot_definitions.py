"""What Dagster would show, as a file that people read: `python -m tests.snapshot_definitions` writes `tests/definitions.yml` again.

Assets with what they are, hang on and are checked by, jobs, sensors and schedules; nothing that changes with the code inside an asset.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

FILE = Path(__file__).with_name("definitions.yml")
COMMAND = "python -m tests.snapshot_definitions"
_HEADER = f"# What Dagster shows, by the settings as they come. Do not edit: `{COMMAND}` writes it again.\n"


def snapshot(defs: dg.Definitions) -> dict[str, Any]:
    """The definitions as plain data."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    checks: dict[str, list[str]] = {}
    for spec in sorted((graph.get_check_spec(key) for key in graph.asset_check_keys), key=lambda spec: spec.name):
        mark = " (blocking)" if spec.blocking else ""
        checks.setdefault(spec.asset_key.to_user_string(), []).append(f"{spec.name}{mark}")
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    return {
        "assets": {name: _asset(specs[name], checks.get(name, [])) for name in sorted(specs)},
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "sensors": {
            sensor.name: {
                "status": sensor.default_status.value,
                "kind": sensor.sensor_type.value,
                "seconds": sensor.minimum_interval_seconds,
            }
            for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name)
        },
        "schedules": {
            schedule.name: {
                "status": schedule.default_status.value,
                "cron": schedule.cron_schedule,
                "zone": schedule.execution_timezone,
                "job": schedule.job_name,
            }
            for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name)
        },
    }


def _asset(spec: dg.AssetSpec, checks: list[str]) -> dict[str, Any]:
    condition, columns = spec.automation_condition, spec.metadata.get("dagster/column_schema")
    lineage = spec.metadata.get("dagster/column_lineage")
    said = {
        "description": spec.description or "",
        "group": spec.group_name,
        "owners": sorted(spec.owners),
        "kinds": sorted(spec.kinds),
        "partitions": str(spec.partitions_def) if spec.partitions_def else None,
        "made from": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "when": condition.get_label() if condition else None,
        "columns": len(columns.columns) if columns else None,
        "columns with lineage": len(lineage.deps_by_column) if lineage else None,
        "checks": checks,
    }
    return {name: value for name, value in said.items() if value is not None}


def written(found: dict[str, Any]) -> str:
    """The file as it should be."""
    return _HEADER + yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=160)


def main() -> None:
    """Write the file."""
    from orchestration.definitions import build_defs

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        FILE.write_text(
            written(snapshot(build_defs(Settings(home=place / "home", key_file=place / "home.key")))), encoding="utf-8"
        )
    print(f"written: {FILE.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
