"""The landing assets: one for each organisation, partitioned as it delivers, with the gate as a blocking check.

Each takes in what waits in the inbox for its partition. The data version is the hash of the accepted content, so a
delivery that changes nothing changes nothing downstream. The work is in `ingest.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import Receipt, ingest
from orchestration.deliveries.letter import finding
from orchestration.deliveries.periods import first_month, is_period, quarter_of_month
from orchestration.ledger import Ledger
from orchestration.settings import Settings

GROUP = "deliveries"
GATE = "gate"
FETCHING = "fetch"  # the job that looks at the sources
SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Columns (name, type, what they are) as metadata that the UI shows as a table."""
    return {SCHEMA: dg.TableSchema([dg.TableColumn(name, kind, said or None) for name, kind, said in columns])}


def column_lineage(sources: Mapping[str, Iterable[tuple[dg.AssetKey, str]]]) -> dict[str, Any]:
    """The columns (asset, name) that each column is made of, as metadata that the UI draws."""
    return {
        LINEAGE: dg.TableColumnLineage(
            {name: [dg.TableColumnDep(key, column) for key, column in found] for name, found in sources.items()}
        )
    }


def columns_of(organisation: Organisation) -> Iterator[tuple[str, str, str]]:
    """What of an organisation's tables leaves landing: `table.column`, type and label, by our names."""
    for table in organisation.tables:
        for column in table.kept:
            pseudonym = ", as a pseudonym" if column.pseudonym else ""
            said = f"{column.label['en']}{pseudonym}; delivered as {column.source}"
            yield f"{table.name}.{column.staged_name}", column.staged_type, said


def partitions_of(organisation: Organisation, settings: Settings) -> dg.PartitionsDefinition | None:
    """Quarters (named by their first month) for partners, years for the registry, none for a single delivery."""
    if organisation.cadence == "quarterly":
        return dg.TimeWindowPartitionsDefinition(
            start=first_month(settings.first_quarter),
            cron_schedule="0 0 1 1,4,7,10 *",
            fmt="%Y-%m",
            end_offset=1,
        )
    if organisation.cadence == "yearly":
        return dg.TimeWindowPartitionsDefinition(
            start=str(settings.first_registry_year), cron_schedule="0 0 1 1 *", fmt="%Y", end_offset=1
        )
    return None


def partition_of(organisation: Organisation, period: str) -> str | None:
    """The partition key of a period, or None for an organisation that delivers once. Raises ValueError."""
    if not is_period(period, organisation.cadence):
        raise ValueError(f"{period!r} is not a period of {organisation.name}, which delivers {organisation.cadence}")
    if organisation.cadence == "quarterly":
        return first_month(period)
    return period if organisation.cadence == "yearly" else None


def period_of(organisation: Organisation, partition_key: str) -> str:
    """The period of a partition key."""
    return quarter_of_month(partition_key) if organisation.cadence == "quarterly" else partition_key


def job_name(organisation: str) -> str:
    """The name of the job that takes in one organisation's deliveries."""
    return f"deliver_{organisation}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def delivery_asset(
    organisation: Organisation, settings: Settings, contracts: Mapping[str, Organisation]
) -> dg.AssetsDefinition:
    """The landing asset of one organisation."""
    partitions = partitions_of(organisation, settings)

    @dg.asset(
        name=organisation.name,
        key_prefix="deliveries",
        group_name=GROUP,
        description=(
            f"What {organisation.title['en']} delivered and the gate accepted: {_counted(len(organisation.tables), 'table')}, "
            "pseudonymised, in the raw store."
            + (" A missing partition is a delivery that was not accepted, or has not come yet." if partitions else "")
        ),
        metadata=column_schema(columns_of(organisation)),
        owners=["team:stewards"],
        kinds={"parquet"},
        partitions_def=partitions,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                GATE,
                asset=dg.AssetKey(["deliveries", organisation.name]),
                blocking=True,
                description="Manifest, files, columns, values and relations are as the contract says.",
            )
        ],
    )
    def take_in(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        ledger = Ledger.of(settings)
        period = period_of(organisation, context.partition_key) if partitions else None
        receipts = [
            ingest(item.path, settings, ledger)
            for item in waiting(settings, ledger, contracts)
            if item.organisation == organisation.name and period in (None, item.period)
        ]
        if not receipts:
            context.log.info("nothing waits for this partition")
            yield _as_it_was(ledger, organisation.name, period)
            return
        accepted = [receipt for receipt in receipts if receipt.status != "rejected"]
        if accepted:
            yield _materialized(accepted[-1])
        yield _checked(receipts)

    return take_in


def _materialized(receipt: Receipt) -> dg.MaterializeResult:
    rows = dict(receipt.row_counts)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(receipt.content_hash)),
        metadata={
            "delivery": receipt.delivery_id,
            "period": receipt.period,
            "status": receipt.status,
            "dagster/row_count": sum(rows.values()),
            **{f"rows_{name}": count for name, count in rows.items()},
        },
    )


def _as_it_was(ledger: Ledger, organisation: str, period: str | None) -> dg.AssetCheckResult:
    """What the gate said of the last delivery, where none waits: as when a run is made anew whose delivery was taken in before it died."""
    of_period = (one for one in ledger.deliveries(organisation=organisation) if period in (None, one.period))
    known = sorted(of_period, key=lambda one: one.received_at)
    return dg.AssetCheckResult(
        check_name=GATE,
        passed=not known or known[-1].status != "rejected",
        severity=dg.AssetCheckSeverity.ERROR,
        description="Nothing waits: this is what the gate said of the last delivery.",
        metadata={"deliveries": 0},
    )


def _checked(receipts: list[Receipt]) -> dg.AssetCheckResult:
    reasons = [reason for receipt in receipts for reason in receipt.reasons]
    rejected = [receipt.delivery_id for receipt in receipts if receipt.status == "rejected"]
    return dg.AssetCheckResult(
        check_name=GATE,
        passed=not rejected,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n\n".join(_in_markdown(finding(reason, "en")) for reason in reasons[:20]) or None,
        metadata={
            "deliveries": len(receipts),
            "rejected": ", ".join(rejected) or "none",
            "rules_applied": sum(len(receipt.judgements) for receipt in receipts),
            "rules_failed": len(reasons),
            "warnings": sum(len(receipt.warnings) for receipt in receipts),
            "rules_waived": sum(len(receipt.waived) for receipt in receipts),
            "corrections": sum(len(receipt.corrected) for receipt in receipts),
            "rules": ", ".join(sorted({reason.rule for reason in reasons})) or "none",
        },
    )


def _in_markdown(text: str) -> str:
    """Text with its lines kept: the UI reads descriptions as Markdown, which runs them together."""
    return text.replace("\n", "  \n")


def delivery_assets(settings: Settings, contracts: Mapping[str, Organisation]) -> list[dg.AssetsDefinition]:
    """The landing assets of all organisations."""
    return [delivery_asset(organisation, settings, contracts) for organisation in contracts.values()]
