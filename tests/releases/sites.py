"""A portal to look at: what it shows is made of the small judged fit, of a difference written out, and of deliveries that nobody sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import pandas as pd

from orchestration.analysis.explanation import KINDS
from orchestration.analysis.multiverse import holm
from orchestration.analysis.showing.hazards import own_rows
from orchestration.readings import DeliveryRecord
from orchestration.releases.disclosure import Judged, ReleaseRules
from orchestration.releases.metadata import About, read_study
from orchestration.releases.portal.content import Download, Edition, PortalContent
from orchestration.releases.portal.moves import judged_moves
from orchestration.releases.portal.quality import quality_of
from orchestration.warehouse.diff import Difference, TableChange
from tests.releases.conftest import small_specification
from tests.releases.making import DAY, catalogue

RULES = ReleaseRules()
FEW_TABLES = ("client", "followup", "outcome_definition", "wave")
NOT_JUDGED_YET = ("baseline", "coding", "reference_risk", "outcome_definition")
EDITIONS = (
    Edition("2026.1.0", DAY, "approved", "2026.1.0/public/portal"),
    Edition("2025.2.0", date(2025, 9, 1), "superseded", "2025.2.0/public/portal", "2026.1.0"),
    Edition("2025.1.0", date(2025, 3, 1), "withdrawn", "2025.1.0/public/portal", None, {"nl": "Op verzoek.", "en": "By request."}),
)  # fmt: skip
DOWNLOADS = (
    Download("public", "tables/", {"nl": "Beoordeelde tabellen", "en": "Judged tables"}, "../tables/index.csv"),
    Download("researcher", "zone/sav/", {"nl": "Microdata voor SPSS", "en": "Microdata for SPSS"}),
    Download("output_checker", "disclosure.json", {"nl": "Elk oordeel", "en": "Every verdict"}),
)  # fmt: skip


def difference() -> Difference:
    """One table that gained 3 rows, 7 people with a new event, and a later cut-off."""
    return Difference(
        old="beef", new="cafe", simulated=True,
        tables={"client": TableChange(183, 186, 3, 0, 0, {}), "followup": TableChange(366, 372, 6, 0, 17, {"event": 7, "exit_day": 17}, ("maturity",)), "wave": TableChange(9, 9, 0, 0, 0, {})},
        outcomes={"general_landmark": {"new_event": 7, "late_event": 4}}, by_quarter={"general_landmark": {"2022-Q1": 4}},
        causes={"record": 4}, definitions={"general_landmark": {"change": "changed", "columns": {"lag_months": [6, 12]}}},
        code_lists={"offence": {"added": 2, "removed": 1}},
        reasons={"deliveries_added": ["rn 2025-Q4"], "deliveries_removed": [], "registry_cutoff_on": ["2024-12-31", "2025-12-31"], "code_changed": True},
    )  # fmt: skip


def explanation(estimates: pd.DataFrame) -> dict[str, object]:
    """The move of every scale: 0.5 in all, a tenth of it by code; new people are 40, corrected 4."""
    own = estimates[(estimates["term"] == estimates["scale"]) & estimates["estimate"].notna()]
    parts = [
        {"model_id": row["model_id"], "term": row["term"], "outcome_id": row["outcome_id"], "estimate_old": row["estimate"] - 0.5, "estimate_new": row["estimate"],
         "move": 0.5, **dict.fromkeys(KINDS, 0.0), "code_and_libraries": 0.05, "new_people": 0.437, "corrected_records": 0.013, "chance_std_error": 0.02, "note": None}
        for row in own.to_dict("records")
    ]  # fmt: skip
    outcome = str(own["outcome_id"].iloc[0])
    people = [
        {"outcome_id": outcome, "kind": kind, "clients": clients}
        for kind, clients in (("new_people", 40), ("corrected_records", 4))
    ]
    return {"order": list(KINDS), "people": people, "parts": parts, "caveats": ["one", "two"]}


def records(organisations: Mapping[str, str]) -> list[DeliveryRecord]:
    """A delivery for each organisation, with its verdict."""
    moment = datetime(2026, 1, 1)
    return [
        DeliveryRecord(name, name, "2025-Q4", f"{name}-1", 1, moment, moment, status, None, None, None, True, {})
        for name, status in organisations.items()
    ]  # fmt: skip


def ratings(done: Mapping[str, tuple[int, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `wave` and `client` of one rater and wave: by organisation, how many of how many were done."""
    rows = [
        (f"{name}{i}", name, "done" if i < some else "missed")
        for name, (some, everybody) in done.items()
        for i in range(everybody)
    ]
    frame = pd.DataFrame(rows, columns=["client_id", "organisation", "status"]).assign(rater="client", wave="T1")
    frame["start_quarter"] = [f"2022-Q{1 + place % 2}" for place in range(len(frame))]
    return frame[["client_id", "status", "rater", "wave"]], frame[["client_id", "organisation", "start_quarter"]]


def content_of(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame], tables: Sequence[str] = FEW_TABLES
) -> PortalContent:
    """The content of a portal with everything in it, and pages for some tables. What disclosure control does not know yet stands in as
    the fit has it: these people do not exist."""
    described = replace(catalogue(), tables=tuple(catalogue().table(name) for name in tables))
    frames = dict(judged.frames) | {name: fit_tables[name] for name in NOT_JUDGED_YET if name in fit_tables}
    about = About(
        "2026.1.0", DAY, "cafe", "f00d", True, "2025-12-31", read_study(), catalogue().tables, {"client": 186}
    )
    wave, client = ratings({"rn": (60, 80), "svg": (20, 42), "ljr": (3, 30)})
    return PortalContent(
        about, described, small_specification(), RULES, frames, judged.verdicts, difference(),
        judged_moves(explanation(frames["estimates"]), frames["estimates"], frames["estimates"], RULES),
        quality_of(records({"rn": "accepted", "svg": "rejected", "ljr": "retracted"}), wave, client, RULES, "T1"), ("2022-Q1", "2022-Q2"), EDITIONS, DOWNLOADS, "../../..",
    )  # fmt: skip


def with_multiverse(content: PortalContent) -> PortalContent:
    """The same with the multiverse of its own estimates."""
    own = own_rows(content.frames["estimates"], "client").assign(role="primary")
    rows = own.assign(p_holm=holm(own["p_value"]), p_benjamini_hochberg=own["p_value"])
    return replace(content, frames={**content.frames, "multiverse": rows})
