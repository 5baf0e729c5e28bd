"""How the count of events of one cohort was revised from version to version: the triangle in which late registration shows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow.parquet as pq

from orchestration.trouble import Mendable
from orchestration.warehouse.versions import Version


class NoSuchOutcome(Mendable):
    """No version has an outcome definition of that name; names those that there are."""


def revisions(versions: Sequence[Version], outcome_id: str) -> pd.DataFrame:
    """Events and people followed, by quarter of start (rows, the cohort) and version (as given).

    Columns quarter, version_id, registry_cutoff_on, followed, events; a version without the definition has no rows.
    Raises NoSuchOutcome.
    """
    found, known = [], set()
    for version in versions:
        if not {"client", "followup"} <= set(version.manifest["tables"]):
            continue
        rows = pq.read_table(
            version.folder / "followup.parquet", columns=["client_id", "outcome_id", "event"]
        ).to_pandas()
        known |= set(rows["outcome_id"])
        rows = rows[(rows["outcome_id"] == outcome_id) & rows["event"].notna()]
        people = pq.read_table(version.folder / "client.parquet", columns=["client_id", "start_quarter"]).to_pandas()
        both = rows.merge(people, on="client_id", validate="one_to_one").astype({"event": int})
        counts = both.groupby("start_quarter", sort=True)["event"].agg(followed="size", events="sum").reset_index()
        found.append(
            counts.rename(columns={"start_quarter": "quarter"}).assign(
                version_id=version.version_id, registry_cutoff_on=version.manifest["registry_cutoff_on"]
            )
        )
    if outcome_id not in known:
        raise NoSuchOutcome(
            f"no version has an outcome definition of that name; there are {', '.join(sorted(known)) or 'none'}"
        )
    columns = ["quarter", "version_id", "registry_cutoff_on", "followed", "events"]
    return pd.concat(found, ignore_index=True)[columns]
