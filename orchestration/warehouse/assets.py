"""From the raw store to a published version: build inputs, the dbt models, the gate on the candidate, publication.

All of it runs as one run, requested when a delivery's content or the code has changed. The work is in `build.py`,
`dbt.py`, `gate.py` and `versions.py`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets

from orchestration.deliveries import waivers
from orchestration.deliveries.assets import SCHEMA, column_lineage, column_schema, columns_of
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import known_key
from orchestration.files import write_json
from orchestration.ledger import Ledger, now
from orchestration.settings import Settings
from orchestration.store import keep_note
from orchestration.warehouse import build, dbt, evidence, gate, lineage, measures, versions

WAREHOUSE, VERSIONS = "warehouse", "versions"
EVERY_TABLE = "every_table_has_rows"
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
        if unique_id.startswith("seed."):
            # A seed has nothing before it; it goes along with the build like everything else.
            return spec.merge_attributes(deps=[BUILD_INPUTS])
        staged = unique_id.startswith("model.") and self.get_group_name(manifest["nodes"][unique_id]) == "staging"
        return spec.merge_attributes(metadata=_of_sources(manifest, unique_id)) if staged else spec

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props["description"]).strip()

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The layer of a model; what a build starts from, seeds and snapshots, is the warehouse's own."""
        layer = str(dbt_resource_props["fqn"][1])
        return layer if dbt_resource_props["resource_type"] == "model" else WAREHOUSE

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:stewards"]

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        return self._condition


def _of_sources(manifest: Mapping[str, Any], unique_id: str) -> dict[str, Any]:
    """Columns and lineage of a model that stages delivered tables, as the contracts have them; nothing for any other."""
    read = [
        manifest["sources"][name]
        for name in manifest["nodes"][unique_id]["depends_on"]["nodes"]
        if name.startswith("source.")
    ]
    columns: dict[str, tuple[str, str, str]] = {}
    made_of: dict[str, list[tuple[dg.AssetKey, str]]] = {}
    for source in read:
        for column in source["columns"].values():
            meta = column["config"]["meta"]
            name = meta.get("name", column["name"])
            columns.setdefault(name, (name, meta.get("type", ""), column["description"]))
            made_of.setdefault(name, []).append((BUILD_INPUTS, f"{source['source_name']}.{source['name']}.{name}"))
    return {**column_schema(columns.values()), **column_lineage(made_of)} if columns else {}


def build_inputs_asset(
    settings: Settings, contracts: Mapping[str, Organisation], condition: dg.AutomationCondition
) -> dg.AssetsDefinition:
    """The effective snapshot of every delivered table, from which dbt builds."""
    columns = {
        f"{name}.{column}": (f"{name}.{column}", kind, said, (dg.AssetKey(["deliveries", name]), column))
        for name, organisation in contracts.items()
        for column, kind, said in columns_of(organisation)
    }

    @dg.asset(
        key=BUILD_INPUTS,
        group_name=WAREHOUSE,
        deps=[dg.AssetKey(["deliveries", name]) for name in contracts],
        description="The newest accepted snapshot of every table, with rows that vanished undeclared carried forward.",
        owners=["team:stewards"],
        kinds={"parquet"},
        code_version=build.warehouse_code(settings)[:16],
        automation_condition=condition,
        metadata={
            **column_schema(column[:3] for column in columns.values()),
            **column_lineage({name: [column[3]] for name, column in columns.items()}),
        },
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_TABLE,
                asset=BUILD_INPUTS,
                description="Every table of every organisation that delivers has rows; an empty one that is agreed on may be empty.",
            )
        ],
    )
    def build_inputs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        ledger = Ledger.of(settings)
        inputs = build.prepare(settings, ledger, contracts, known_key(settings, ledger))
        (inputs.folder / "build.json").write_text(json.dumps({"build_id": inputs.build_id, **inputs.record}))
        empty = build.empty_tables(contracts, inputs)
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name=EVERY_TABLE,
                    passed=not empty,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"without rows: {', '.join(empty)}" if empty else None,
                    metadata={"tables": len(inputs.rows), "empty": len(empty)},
                )
            ],
            data_version=dg.DataVersion(inputs.build_id),
            metadata={
                "deliveries": len(inputs.deliveries),
                "dagster/row_count": sum(inputs.rows.values()),
                "rows_carried_forward": sum(inputs.carried.values()),
                **{f"rows_{place}": count for place, count in inputs.rows.items()},
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
        bad = [node.name for node in nodes if node.status in ("error", "fail")]
        said = _said_of(settings, context.assets_def.specs, nodes, is_whole=not bad)
        for node in nodes:
            key, check = assets.get(node.unique_id), checks.get(node.unique_id)
            if key is not None and key in context.selected_asset_keys and node.is_good:
                yield dg.MaterializeResult(asset_key=key, metadata=said.get(key, {}))
            elif check is not None and check.key in context.selected_asset_check_keys and node.status != "skipped":
                yield dg.AssetCheckResult(
                    asset_key=check.asset_key,
                    check_name=check.name,
                    passed=node.is_good,
                    metadata={"status": node.status, "failing_rows": node.failures or 0},
                )
        if bad:
            raise dg.Failure(
                f"{len(bad)} of {len(nodes)} dbt nodes failed: {', '.join(bad[:10])}. Nothing is published; the version that "
                "is published stays as it was.",
                allow_retries=False,
            )

    return models


def _said_of(
    settings: Settings, specs: Iterable[dg.AssetSpec], nodes: Sequence[dbt.Node], *, is_whole: bool
) -> dict[dg.AssetKey, dict[str, Any]]:
    """What is shown of each table of the candidate: rows, columns and what they are made of; with every mart there, its measures."""
    warehouse = build.candidate_folder(settings) / "warehouse.duckdb"
    known = lineage.relations(warehouse)
    sources = lineage.column_sources(dbt.target_folder(settings), nodes, known) if is_whole else {}
    numbers = measures.measured(warehouse, settings.small_cell) if is_whole else {}
    found: dict[dg.AssetKey, dict[str, Any]] = {}
    for spec in specs:
        name = spec.key.path[-1]
        if name not in known:
            continue
        schema = spec.metadata.get(SCHEMA)
        texts = {column.name: column.description or "" for column in schema.columns} if schema else {}
        made_of = {
            column: [(dg.AssetKey([WAREHOUSE, one]), other) for one, other in parts]
            for column, parts in sources.get(name, {}).items()
        }
        found[spec.key] = {
            **({} if known[name].rows is None else {"dagster/row_count": known[name].rows}),
            **column_schema((column, kind, texts.get(column, "")) for column, kind in known[name].columns.items()),
            **(column_lineage(made_of) if made_of else {}),
            **numbers.get(name, {}),
        }
    return found


def version_asset(settings: Settings, manifest: Path, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The published version: the candidate's marts, if the gate lets them through."""
    read = json.loads(manifest.read_text(encoding="utf-8"))
    tables = versions.published_tables(read)
    names = {table.name for table in tables}
    columns = [
        (node["name"], column)
        for node in sorted(read["nodes"].values(), key=lambda node: str(node["name"]))
        if node["resource_type"] == "model" and node["name"] in names
        for column in node["columns"].values()
    ]

    @dg.asset(
        key=VERSION,
        group_name=VERSIONS,
        deps=[dg.AssetKey(["warehouse", table.name]) for table in tables],
        description="The tables that researchers read: immutable, named by their content, `current` points here.",
        owners=["team:stewards"],
        kinds={"parquet"},
        automation_condition=condition,
        output_required=False,
        metadata={
            **column_schema(
                (f"{table}.{column['name']}", column["data_type"], column["description"].strip())
                for table, column in columns
            ),
            **column_lineage(
                {
                    f"{table}.{column['name']}": [(dg.AssetKey([WAREHOUSE, table]), column["name"])]
                    for table, column in columns
                }
            ),
        },
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
        marts = versions.StoredMarts(folder / "warehouse.duckdb", tables, gate.looked_at(settings))
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
            numbers = measures.flat(measures.measured(folder / "warehouse.duckdb", settings.small_cell))
            published, is_new = versions.publish(settings, folder / "warehouse.duckdb", tables, record)
            rows = {name: entry["rows"] for name, entry in published.manifest["tables"].items()}
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
                    "dagster/row_count": sum(rows.values()),
                    **{f"rows_{name}": count for name, count in rows.items()},
                    **numbers,
                },
            )
        yield check

    return version
