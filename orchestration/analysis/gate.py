"""Whether a refit may take the place of the last good fit. What a fit is made of is `fit.py`'s; where it goes, `assets.py`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from orchestration.analysis.coding import changed_meaning
from orchestration.analysis.signoff import REFERENCE, is_enough

PROPORTIONAL_HAZARDS = (
    "proportional_hazards"  # a table of a fit: model_id, outcome_id, passed; absent where nothing tests it
)

WithoutGrowth = Callable[[], pd.DataFrame | None]
_RISK = ["outcome_id", "model_id", "person", "described", "months"]


@dataclass(frozen=True)
class FitCheck:
    """One condition: its name, whether the fit meets it, counts, and why not, in words that name no person."""

    name: str
    is_passed: bool
    reason: str = ""
    counts: Mapping[str, int | float] = field(default_factory=dict)


CHECKS = {
    "benchmark": "The published estimates of the North Carolina cohort are found again, to every printed digit.",
    "second_engine": "Another implementation finds the same coefficients and errors, to 1e-7.",
    "enough_events": "No outcome that had enough events in the last good fit has too few now.",
    PROPORTIONAL_HAZARDS: "No model rests on proportional hazards that its test speaks against.",
    REFERENCE: "The risks of the reference people are those of the last good fit, or two people signed what moved.",
}


def judge_fit(
    tables: Mapping[str, pd.DataFrame],
    last_good: Mapping[str, pd.DataFrame] | None,
    min_events: int,
    largest_change: float,
    without_growth: WithoutGrowth = lambda: None,
) -> list[FitCheck]:
    """Every check of `CHECKS` on the tables of a fit; `last_good` are those of the fit that stays when one fails.

    Too few events hold a fit back only where there is one that had enough: a first fit, or one of an outcome that never
    had enough, is published with its models marked as not estimable. `largest_change`: of the absolute risk of a reference
    person; `without_growth` gives the table `reference_risk` as it would be had there been no new people and no new
    follow-up since the last good fit, None where its version is not kept. It is asked only when a risk moved further.
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
        _reference_predictions(tables, last_good or {}, largest_change, without_growth),
    ]  # fmt: skip


def signed_off(checks: list[FitCheck], by: Sequence[str]) -> list[FitCheck]:
    """The checks with the one on reference people passed where it alone failed and enough different people (`by`) signed."""
    if [check.name for check in checks if not check.is_passed] != [REFERENCE] or not is_enough(by):
        return checks
    return [
        check
        if check.is_passed
        else replace(
            check,
            is_passed=True,
            reason=f"signed off by {', '.join(by)}: {check.reason}",
            counts={**check.counts, "signatures": len(set(by))},
        )
        for check in checks
    ]


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


def _reference_predictions(
    now: Mapping[str, pd.DataFrame],
    before: Mapping[str, pd.DataFrame],
    largest_change: float,
    without_growth: WithoutGrowth,
) -> FitCheck:
    """Risks of the same people by the same model and month, now and in the last good fit; a person is the same while described so.

    One that moved further is let through when new people and new follow-up time alone account for it: without these it moved
    no further than that (`without_growth`), and it lies in its interval of the last good fit.
    """
    risks = now["reference_risk"]
    earlier = before.get("reference_risk", risks.iloc[:0])
    both = _side_by_side(risks, earlier)
    moved = (both["risk"] - both["risk_before"]).abs()
    is_in_both, is_now, was = both["found"] == "both", both["risk"].notna(), both["risk_before"].notna()
    recoded = sorted(
        {
            term
            for table in ("coding", "determinant_coding")
            if table in before
            for term in changed_meaning(now[table], before[table])
        }
    )
    counts: dict[str, int | float] = {
        "compared": int(moved.notna().sum()), "beyond": int((moved > largest_change).sum()),
        "largest_change": float(moved.max()) if moved.notna().any() else 0.0,
        "new": int((both["found"] == "left_only").sum()), "gone": int((both["found"] == "right_only").sum()),
        "not_estimable_now": int((is_in_both & ~is_now & was).sum()),
        "not_estimable_before": int((is_in_both & is_now & ~was).sum()),
        "not_estimable_in_either": int((is_in_both & ~is_now & ~was).sum()),
        "terms_coded_otherwise": len(recoded),
    }  # fmt: skip
    if not counts["beyond"]:
        return FitCheck(REFERENCE, True, counts=counts)
    same_rows = without_growth()
    is_held = moved > largest_change
    whose = "their version is not kept, so nothing else can account for it"
    if same_rows is not None:
        other = _side_by_side(same_rows, earlier).set_index(_RISK)
        change = (other["risk"] - other["risk_before"]).abs()
        alone = change.reindex(pd.MultiIndex.from_frame(both[_RISK])).to_numpy()
        is_inside = both["risk"].between(both["conf_low_before"], both["conf_high_before"])
        is_held = (is_held & ~((alone <= largest_change) & is_inside)) | (alone > largest_change)
        counts["largest_change_without_growth"] = float(change.max()) if change.notna().any() else 0.0
        whose = f"without new people and follow-up by {counts['largest_change_without_growth']:.2f} at most"
    counts["held"] = int(is_held.sum())
    if not counts["held"]:
        return FitCheck(REFERENCE, True, counts=counts)
    most = both.loc[moved.where(is_held).idxmax()]
    reason = (
        f"{counts['held']} of {counts['compared']} risks of reference people moved by more than {largest_change:.2f}, most that of "
        f"“{most['person']}” at {most['months']} months by {most['model_id']}, by {abs(most['risk'] - most['risk_before']):.2f}; "
        f"{whose}; coded otherwise: {', '.join(recoded) or 'no term'}"
    )
    return FitCheck(REFERENCE, False, reason, counts)


def _side_by_side(risks: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    numbers = ["risk", "conf_low", "conf_high"]
    frames = (frame[[*_RISK, *numbers]] for frame in (risks, earlier))
    return next(frames).merge(next(frames), on=_RISK, how="outer", suffixes=("", "_before"), indicator="found")
