"""Whether a refit may take the place of the last good fit. What a fit is made of is `fit.py`'s; where it goes, `assets.py`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

PROPORTIONAL_HAZARDS = (
    "proportional_hazards"  # a table of a fit: model_id, outcome_id, passed; absent where nothing tests it
)


@dataclass(frozen=True)
class FitCheck:
    """One condition: its name, whether the fit meets it, counts, and why not, in words that name no person."""

    name: str
    is_passed: bool
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


CHECKS = {
    "benchmark": "The published estimates of the North Carolina cohort are found again, to every printed digit.",
    "second_engine": "Another implementation finds the same coefficients and errors, to 1e-7.",
    "enough_events": "No outcome that had enough events in the last good fit has too few now.",
    PROPORTIONAL_HAZARDS: "No model rests on proportional hazards that its test speaks against.",
}


def judge_fit(
    tables: Mapping[str, pd.DataFrame], last_good: Mapping[str, pd.DataFrame] | None, min_events: int
) -> list[FitCheck]:
    """Every check of `CHECKS` on the tables of a fit; `last_good` are those of the fit that stays when one fails.

    Too few events hold a fit back only where there is one that had enough: a first fit, or one of an outcome that never
    had enough, is published with its models marked as not estimable.
    """
    compared, engines = tables["benchmark"], tables["engine_agreement"]
    missed = int((~compared["agrees"].astype(bool)).sum())
    apart = int((~engines["agrees"].astype("boolean").fillna(True)).sum())
    return [
        FitCheck("benchmark", not missed, f"{missed} of {len(compared)} published numbers were not found again" if missed else "",
                 {"numbers": len(compared), "disagreeing": missed}),
        FitCheck("second_engine", not apart, f"the second engine disagrees on {apart} of {len(engines)} models" if apart else "",
                 {"models": len(engines), "disagreeing": apart}),
        _enough_events(tables["estimates"], None if last_good is None else last_good["estimates"], min_events),
        _proportional_hazards(tables.get(PROPORTIONAL_HAZARDS)),
    ]  # fmt: skip


def _enough_events(now: pd.DataFrame, before: pd.DataFrame | None, min_events: int) -> FitCheck:
    events = {} if before is None else before.groupby("outcome_id")["events"].max().to_dict()
    has = now.groupby("outcome_id")["events"].max().to_dict()
    short = [name for name, count in sorted(events.items()) if count >= min_events and has.get(name, 0) < min_events]
    reason = f"fewer than {min_events} events in {', '.join(map(str, short))}, which had enough before" if short else ""
    return FitCheck("enough_events", not short, reason, {"outcomes": len(has), "too_few": len(short)})


def _proportional_hazards(tests: pd.DataFrame | None) -> FitCheck:
    if tests is None:
        return FitCheck(PROPORTIONAL_HAZARDS, True, counts={"models": 0, "failed": 0})
    failed = tests.loc[~tests["passed"].astype("boolean").fillna(True), "model_id"].drop_duplicates()
    named = ", ".join(sorted(failed)[:5]) + (" …" if len(failed) > 5 else "")
    reason = (
        f"hazards are not proportional in {len(failed)} models ({named}): split time or refuse them"
        if len(failed)
        else ""
    )
    return FitCheck(
        PROPORTIONAL_HAZARDS, failed.empty, reason, {"models": tests["model_id"].nunique(), "failed": len(failed)}
    )
