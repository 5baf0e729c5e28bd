"""The end of the chain: the year whose registry extract was asked for, and the draft of a release of the fit that is current.

The draft hangs on both, so that a fit which was there before the year was asked for is drafted too. The work is in
`follow_up.py`, `proposing.py` and `drafting.py`.
"""

from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from orchestration.analysis.assets import FIT, specification
from orchestration.audit import signed_on
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.periods import local_day
from orchestration.home import opened
from orchestration.ledger import now
from orchestration.progress import Progress, both, nobody, throttled
from orchestration.releases import drafting, follow_up
from orchestration.releases.approval import Released
from orchestration.releases.catalogue import catalogue_in
from orchestration.releases.proposing import proposal, propose, waiting_for_a_person
from orchestration.settings import Settings

RELEASES = "releases"
FOLLOW_UP = dg.AssetKey(["releases", "follow_up"])
DRAFT = dg.AssetKey(["releases", "draft"])
ANSWERED, ONE_DRAFT = "answered", "one_draft"
YEAR_TAG = "delictvrij/year"


def follow_up_asset(settings: Settings, contracts: Mapping[str, Organisation]) -> dg.AssetsDefinition:
    """The request for the registry extract of the year before. The year is that of the run's tag, or of today."""

    @dg.asset(
        key=FOLLOW_UP,
        group_name=RELEASES,
        description="The year whose registry extract was asked for last; its extract, refit and draft release follow by themselves.",
        owners=["team:stewards"],
        kinds={"table"},
    )
    def asked(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        ledger = opened(settings)
        year = context.run.tags.get(YEAR_TAG) or follow_up.year_asked_on(local_day(now()))
        follow_up.ask(ledger, year, signed_on())
        (stands,) = (one for one in follow_up.follow_ups(ledger, contracts) if one.year == year)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(year),
            metadata={"year": year, "asked_on": stands.asked_at.date().isoformat(), "state": stands.state},
        )

    return asked


def draft_asset(
    settings: Settings, condition: dg.AutomationCondition | None, progress: Progress = nobody
) -> dg.AssetsDefinition:
    """The draft of a release of the current fit, where one is due; nothing otherwise, and the run's log says why."""

    @dg.asset(
        key=DRAFT,
        group_name=RELEASES,
        deps=[FIT, FOLLOW_UP],
        description="A draft of a release of the current fit, checked for disclosure; it goes nowhere before somebody else approves it.",
        owners=["team:stewards"],
        kinds={"html", "parquet"},
        automation_condition=condition,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                ONE_DRAFT, asset=DRAFT, description="No older draft that a person made waits to be decided."
            )
        ],
    )
    def draft(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        ledger = opened(settings)
        found = proposal(settings, ledger)
        context.log.info(found.why)
        if not found.is_due:
            yield _one_draft(waiting_for_a_person(settings, ledger))
            return
        by, tell = signed_on(), both(throttled(context.log.info), progress)
        asked = drafting.Asked(by, now().date())

        def write() -> Released:
            return drafting.draft_release(
                settings, ledger, asked, catalogue_in(settings), specification(settings), tell
            )

        try:
            made = propose(ledger, by, found.why, write)
        except (drafting.NothingNew, drafting.WaitsForBatch) as reason:
            context.log.info(str(reason))
            yield _one_draft(waiting_for_a_person(settings, ledger))
            return
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(made.release.tag),
            metadata={
                "release": made.release.tag,
                "version": made.release.version_id,
                "fit": made.release.fit_id,
                "after": made.release.after or "none",
                "drafted_by": made.release.drafted_by,
                "older_drafts_replaced": ", ".join(made.replaced) or "none",
                "older_drafts_to_decide": ", ".join(made.left) or "none",
            },
        )
        yield _one_draft(made.left)

    return draft


def _one_draft(left: Collection[str]) -> dg.AssetCheckResult:
    """The check, of the older drafts that a person made: a run that drafts nothing says it too."""
    return dg.AssetCheckResult(
        check_name=ONE_DRAFT, passed=not left, severity=dg.AssetCheckSeverity.WARN, metadata={"older_drafts": len(left)}
    )
