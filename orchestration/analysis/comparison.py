"""What changed between two fits: who and what came in, and how every estimate moved. Counts only, no person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.fit import read_fit


@dataclass(frozen=True)
class FitComparison:
    """`cohorts`: per outcome, clients and events added and gone. `moves`: per model and term, old and new estimate, the
    move, and the move in old standard errors. `causes`: manifest entries that differ (code, packages, m, seed, version)."""

    old_fit: str | None
    new_fit: str | None
    cohorts: pd.DataFrame
    moves: pd.DataFrame
    causes: dict[str, tuple[Any, Any]]

    @property
    def largest_move(self) -> float:
        """In old standard errors; 0 where there is nothing to compare with."""
        moves = self.moves["move_in_std_errors"].abs().dropna()
        return float(moves.max()) if len(moves) else 0.0

    def summary(self) -> dict[str, Any]:
        """A few plain values, for a log or the metadata of a run."""
        return {
            "old_fit": self.old_fit,
            "new_fit": self.new_fit,
            "clients_added": int(self.cohorts["clients_added"].sum()),
            "clients_gone": int(self.cohorts["clients_gone"].sum()),
            "events_added": int(self.cohorts["events_added"].sum()),
            "events_gone": int(self.cohorts["events_gone"].sum()),
            "largest_move_in_std_errors": self.largest_move,
            "also_changed": sorted(self.causes),
        }


def compare_fits(old: Path | None, new: Path) -> FitComparison:
    """Compare the fit in folder `new` with that in `old`; `old` None: the first fit, everything is added."""
    tables, manifest = read_fit(new)
    before, earlier = (
        read_fit(old) if old is not None else ({name: frame.iloc[:0] for name, frame in tables.items()}, {})
    )
    keys = ["code_hash", "packages", "seed", "imputations", "version_id"]
    return FitComparison(
        old_fit=earlier.get("fit_id"),
        new_fit=manifest.get("fit_id"),
        cohorts=_cohorts(before["imputed"], tables["imputed"]),
        moves=_moves(before["estimates"], tables["estimates"]),
        causes={
            key: (earlier.get(key), manifest.get(key))
            for key in keys
            if old is not None and earlier.get(key) != manifest.get(key)
        },
    )


def _cohorts(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Everybody in a fit stands in its first imputation once per outcome."""
    rows = []
    before, after = old[old["imputation"] == 1], new[new["imputation"] == 1]
    for outcome in sorted(set(before["outcome_id"]) | set(after["outcome_id"])):
        had, has = before[before["outcome_id"] == outcome], after[after["outcome_id"] == outcome]
        had_events, has_events = set(had.loc[had["event"], "client_id"]), set(has.loc[has["event"], "client_id"])
        rows.append(
            {
                "outcome_id": outcome,
                "clients": len(has), "clients_added": len(set(has["client_id"]) - set(had["client_id"])),
                "clients_gone": len(set(had["client_id"]) - set(has["client_id"])),
                "events": len(has_events), "events_added": len(has_events - had_events), "events_gone": len(had_events - has_events),
                "days_at_risk_added": float((has["duration_days"] - has["entry_days"]).sum() - (had["duration_days"] - had["entry_days"]).sum()),
            }
        )  # fmt: skip
    columns = [
        "outcome_id",
        "clients",
        "clients_added",
        "clients_gone",
        "events",
        "events_added",
        "events_gone",
        "days_at_risk_added",
    ]
    return pd.DataFrame(rows, columns=columns)


def _moves(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    keys = ["model_id", "term"]
    numbers = [*keys, "estimate", "std_error", "n", "events"]
    both = old[numbers].merge(new[numbers], on=keys, how="outer", suffixes=("_old", "_new"), validate="1:1")
    move = both["estimate_new"].astype(float) - both["estimate_old"].astype(float)
    return both.assign(move=move, move_in_std_errors=move / both["std_error_old"].astype(float).replace(0, np.nan))
