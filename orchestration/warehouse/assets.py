"""From the raw store to a published version: build inputs, the dbt models, the gate on the candidate, publication.

All of it runs as one run, requested when a delivery's content or the code has changed. The work is in `build.py`,
`dbt.py`, `gate.py` and `versions.py`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets

from orchestration.deliveries import waivers
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import known_key
from orchestration.files import write_json
from orchestration.ledger import Ledger, now
from orchestration.settings import Settings
from orchestration.store import keep_note
from orchestration.warehouse import build, dbt, evidence, gate, versions

WAREHOUSE, VERSIONS = "warehouse", "versions"
BUILD_INPUTS = dg.AssetKey(["warehouse", "build_inputs"])
VERSION = dg.AssetKey(["versions", "version"])


class Translator(DagsterDbtTranslator):
    """How dbt resources appear: under `warehouse`, sources as the build's inputs, all requested with the build."""

    def __init__(self, condition: dg.AutomationCondition) -> None:
        super().__init__(settings=DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))
        self._condition = condition

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return BUILD_INPUTS
        return dg.AssetKey(["warehouse", dbt_resource_props["name"]])

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        # A seed has nothing before it; it goes along with the build like everything else.
        return spec.merge_attributes(deps=[BUILD_INPUTS]) if unique_id.startswith("seed.") else spec

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return WAREHOUSE

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:stewards"]

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        return self._condition


def build_inputs_asset(
    settings: Settings, contracts: Mapping[str, Organisation], condition: dg.AutomationCondition
) -> dg.AssetsDefinition:
    """The effective snapshot of every delivered table, from which dbt builds."""

    @dg.asset(
        key=BUILD_INPUTS,
        group_name=WAREHOUSE,
        deps=[dg.AssetKey(["deliveries", name]) for name in contracts],
        description="The newest accepted snapshot of every table, with rows that vanished undeclared carried forward.",
        owners=["team:stewards"],
        kinds={"parquet"},
        code_version=build.warehouse_code(settings)[:16],
        automation_condition=condition,
    )
    def build_inputs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        ledger = Ledger.of(settings)
        inputs = build.prepare(settings, ledger, contracts, known_key(settings, ledger))
        (inputs.folder / "build.json").write_text(json.dumps({"build_id": inputs.build_id, **inputs.record}))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(inputs.build_id),
            metadata={
                "deliveries": len(inputs.deliveries),
                "dagster/row_count": sum(inputs.rows.values()),
                "rows_carried_forward": sum(inputs.carried.values()),
                "registry_cutoff_on": inputs.registry_cutoff_on.isoformat(),
                "is_simulated": bool(inputs.record["is_simulated"]),
            },
        )

    return build_inputs


def warehouse_models(settings: Settings, manifest: Path, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The dbt project: staging, intermediate and marts, its tests as asset checks. Always built as a whole."""

    @dbt_assets(manifest=manifest, dagster_dbt_translator=Translator(condition), name="warehouse_models")
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        assets = {spec.metadata["dagster_dbt/unique_id"]: spec.key for spec in context.assets_def.specs}
        checks = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in context.assets_def.check_specs}
        nodes = dbt.build(settings, build.candidate_folder(settings))
        for node in nodes:
            key, check = assets.get(node.unique_id), checks.get(node.unique_id)
            if key in context.selected_asset_keys and node.is_good:
                yield dg.MaterializeResult(asset_key=key)
            elif check is not None and check.key in context.selected_asset_check_keys and node.status != "skipped":
                yield dg.AssetCheckResult(
                    asset_key=check.asset_key,
                    check_name=check.name,
                    passed=node.is_good,
                    metadata={"status": node.status, "failing_rows": node.failures or 0},
                )
        bad = [node.unique_id.split(".")[2] for node in nodes if node.status in ("error", "fail")]
        if bad:
            raise dg.Failure(
                f"{len(bad)} of {len(nodes)} dbt nodes failed: {', '.join(bad[:10])}. Nothing is published; the version that "
                "is published stays as it was.",
                allow_retries=False,
            )

    return models


def version_asset(settings: Settings, manifest: Path, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The published version: the candidate's marts, if the gate lets them through."""
    tables = versions.published_tables(json.loads(manifest.read_text(encoding="utf-8")))

    @dg.asset(
        key=VERSION,
        group_name=VERSIONS,
        deps=[dg.AssetKey(["warehouse", table.name]) for table in tables],
        description="The tables that researchers read: immutable, named by their content, `current` points here.",
        owners=["team:stewards"],
        kinds={"parquet"},
        automation_condition=condition,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                "gate",
                asset=VERSION,
                blocking=True,
                description="The candidate is plausible; only then is it published.",
            )
        ],
    )
    def version(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        folder = build.candidate_folder(settings)
        record = json.loads((folder / "build.json").read_text())
        build_id = record.pop("build_id")
        marts = versions.read_marts(folder / "warehouse.duckdb", tables)
        before = versions.current_version(settings)
        judgements = gate.judge_candidate(
            settings, folder / "warehouse.duckdb", marts, record["rows_delivered"], before,
            waivers.read_waivers(settings.waivers_file), now().date(),
        )  # fmt: skip
        reasons = [judgement for judgement in judgements if judgement.blocks]
        warnings = [judgement for judgement in judgements if judgement.warns]
        check = dg.AssetCheckResult(
            check_name="gate",
            passed=not reasons,
            description=gate.said(reasons or warnings),
            metadata={"rules_applied": len(judgements), "rules_failed": len(reasons), "warnings": len(warnings)},
        )
        if reasons:
            rules = ", ".join(sorted({judgement.rule for judgement in reasons}))
            Ledger.of(settings).act("version.held", f"build {build_id}", rules)
        if not reasons:
            published, is_new = versions.publish(settings, marts, tables, record)
            Ledger.of(settings).record_build(build_id, published.version_id, record)
            build.keep(settings, build_id)
            if before is not None and is_new:
                changes = evidence.compared(settings, Ledger.of(settings), before, published)
                note = settings.versions / f"{published.version_id}.changes.json"
                write_json(note, changes.as_record())
                keep_note(settings, note)
                context.log.info(f"outcomes of the past that changed: {changes.past_changed}")
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(published.version_id),
                metadata={
                    "version": published.version_id,
                    "is_new": is_new,
                    "dagster/row_count": sum(mart.num_rows for mart in marts.values()),
                    **{f"rows_{name}": mart.num_rows for name, mart in marts.items()},
                },
            )
        yield check

    return version
