"""Q3, the Cox models of one score: hazard ratios by scale and adjustment, what was refused or split, E-values, every term."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from orchestration.analysis.showing import figures
from orchestration.analysis.showing.labels import (  # fmt: skip
    EXPOSURE_LABELS,
    SCALE_LABELS,
    adjustment_name,
    scale_name,
)
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Picture,
    Record,
    Source,
    Table,
    is_missing,
    p_text,
    percent,
    ratio,
    ratio_interval,
    records,
    sizes_of,
    without_small_counts,
)
from orchestration.analysis.specification import Specification


def may_show_model(row: Record, estimates: pd.DataFrame, source: Source) -> bool:
    """A model is shown when it was estimated and its events exceed its terms by the threshold."""
    terms = int((estimates["model_id"] == row["model_id"]).sum())
    return bool(not is_missing(row["estimate"]) and int(row["events"]) - terms >= source.threshold)


def own_rows(estimates: pd.DataFrame, rater: str) -> pd.DataFrame:
    """The row of the scale itself in each model of a single score by one rater, not split in time."""
    is_own = (estimates["term"] == estimates["scale"]) & (estimates["rater"] == rater)
    return estimates[is_own & ~estimates["model_id"].str.endswith(".split")]


def forest_picture(
    estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source, rater: str
) -> Picture | None:
    """Hazard ratios of the scales in every model that may be shown."""
    own = own_rows(estimates, rater)
    rows = own[[may_show_model(row, estimates, source) for row in records(own)]]
    if not len(rows):
        return None
    scales = {name: label for name, label in SCALE_LABELS.items() if name in set(rows["scale"])}
    adjustments = {name: adjustment_name(name) for name in dict.fromkeys(estimates["adjustment"])}
    sizes = sizes_of(rows, outcomes, source)
    return source.picture(
        figures.forest(rows, dict(outcomes), scales, adjustments, source.stamp(sizes)),
        f"Forest plot of hazard ratios with 95 % intervals for one point more on each alliance scale, rated by the {rater}, by what else "
        "stands in the model, one panel per outcome definition. The numbers are in the table below.",
        f"Hazard ratio of recidivism for one point more on each {rater}-rated scale at {scored_at(spec)}. Left of 1: less recidivism.",
        sizes,
    )


def scored_at(spec: Specification) -> str:
    """The waves of the scores that stand in a model by themselves, in words."""
    waves = {parts["score"].upper() for parts in spec.recidivism.exposures.values() if "score" in parts}
    return " and ".join(sorted(waves))


def estimate_table(
    estimates: pd.DataFrame, spec: Specification, outcome: str, label: str, source: Source, rater: str
) -> Table:
    """The scale's hazard ratio in each model of one outcome, with what imputation cost it."""
    rows = []
    own = own_rows(estimates[estimates["outcome_id"] == outcome], rater)
    for row in records(own):
        name = f"{scale_name(row['scale'])}, {adjustment_name(row['adjustment'])}"
        if may_show_model(row, estimates, source):
            spread = f"{np.exp(row['estimate_min']):.2f} to {np.exp(row['estimate_max']):.2f}"
            numbers = [f"{np.exp(row['estimate']):.2f}", f"[{ratio_interval(row)}]", p_text(row["p_value"]), percent(row["fraction_missing"]), spread, str(row["method"])]  # fmt: skip
        else:
            numbers = [NOT_SHOWN, "", "", "", "", ""]
        rows.append([name, source.count(int(row["n"])), source.count(int(row["events"])), *numbers])
    return source.table(
        f"{label}: the alliance scale, rated by the {rater}, in each Cox model of recidivism",
        ["Scale, model", "n", "events", "hazard ratio", "95 % interval", "p", "missing information", "range over imputations", "fitted by"],
        rows,
        sizes_of(own, {outcome: label}, source),
        f"{spec.recidivism.ties.capitalize()}'s treatment of ties; multiple imputation pooled by Rubin's rules; errors clustered by officer at the origin, with "
        "G/(G−1) correction; t intervals with Barnard–Rubin degrees of freedom. Firth: fewer events for each term than models.yml asks.",
    )  # fmt: skip


def exposure_table(estimates: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:
    """The score at T1 and the change since, side by side in one model: is it the level, or the development?"""
    rater = spec.recidivism.rater
    part = estimates[(estimates["rater"] == rater) & (estimates["exposure"] != "score") & ~estimates["model_id"].str.endswith(".split")]  # fmt: skip
    rows = []
    for row in records(part[part["adjustment"].isin(spec.recidivism.process_adjustments)]):
        if not str(row["term"]).startswith(f"{row['scale']}_"):
            continue
        which = {"trait": "score at T1", "state": "change since T1"}.get(str(row["term"]).rpartition("_")[2], "")
        name = f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {scale_name(row['scale'])}, {which}, {adjustment_name(row['adjustment'])}"  # fmt: skip
        numbers = [ratio(row), p_text(row["p_value"])] if may_show_model(row, estimates, source) else [NOT_SHOWN, ""]
        rows.append([name, *numbers])
    return source.table(
        f"{EXPOSURE_LABELS['trait_and_state']}, rated by the {rater}: hazard ratios for one point more",
        ["Outcome: scale, part, model", "hazard ratio [95 % interval]", "p"], rows, sizes_of(part, outcomes, source),
        "Both stand in one model: clients who differ in how they began, and clients who changed.",
    )  # fmt: skip


def covariate_table(estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """All terms of the model with most covariates, for the scale that curves are drawn for."""
    scale = spec.recidivism.grouped_scale
    adjustment = max(spec.recidivism.adjustments, key=lambda name: len(spec.recidivism.adjustments[name]))
    part = single_score(estimates, spec.recidivism.rater, scale, adjustment)
    rows = []
    for term in dict.fromkeys(part["term"]):
        cells = []
        for outcome in outcomes:
            found = records(part[(part["term"] == term) & (part["outcome_id"] == outcome)])
            cells.append(ratio(found[0]) if found and may_show_model(found[0], estimates, source) else "–")
        rows.append([SCALE_LABELS.get(term, spec.label(term)), *cells])
    what = "; ".join(
        f"{outcomes[size['outcome_id']]}: {size['events_per_parameter']:.1f} events per term"
        for size in records(part.drop_duplicates("outcome_id"))
        if int(size["events"]) >= source.threshold and not is_missing(size["events_per_parameter"])
    )
    return source.table(
        f"{scale_name(scale)}, {adjustment_name(adjustment)}: every hazard ratio [95 % interval]",
        ["Term", *outcomes.values()],
        rows,
        sizes_of(part, outcomes, source),
        what,
    )


def single_score(estimates: pd.DataFrame, rater: str, scale: str, adjustment: str) -> pd.DataFrame:
    """Every term of the models of one score, not split in time."""
    is_one = (estimates["rater"] == rater) & (estimates["exposure"] == "score") & (estimates["scale"] == scale)
    return estimates[is_one & (estimates["adjustment"] == adjustment) & ~estimates["model_id"].str.endswith(".split")]


def proportionality(tests: pd.DataFrame, spec: Specification) -> str:
    """How many terms were tested and how many have no single hazard ratio, in words."""
    tested = tests[tests["p_value"].notna() & (tests["term"] != "GLOBAL")]
    failed = int((tested["p_value"] < spec.recidivism.proportional_level).sum())
    return (
        f"Proportional hazards were tested for {len(tested):,} terms; {failed:,} are below {spec.recidivism.proportional_level:g} and have no "
        f"single hazard ratio (about {len(tested) * spec.recidivism.proportional_level:.0f} would be by chance)."
    )


def proportional_table(tests: pd.DataFrame, estimates: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:  # fmt: skip
    """The test of the scale and of the whole model, for the single scores of the first rater, and what came of it."""
    own = own_rows(estimates, spec.recidivism.rater)
    by_key = {(row["model_id"], row["term"]): row for row in records(tests)}
    rows = []
    for row in records(own):
        scale, whole = by_key.get((row["model_id"], row["scale"])), by_key.get((row["model_id"], "GLOBAL"))
        if int(row["events"]) < source.threshold or scale is None or is_missing(scale["p_value"]):
            continue
        verdict = "split in time" if scale["p_value"] < spec.recidivism.proportional_level else "one hazard ratio"
        name = f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {scale_name(row['scale'])}, {adjustment_name(row['adjustment'])}"  # fmt: skip
        rows.append([name, f"{scale['chi_squared']:.2f}", p_text(scale["p_value"]), p_text(whole["p_value"]) if whole else "–", verdict])  # fmt: skip
    return source.table(
        "Proportional hazards: the scale, and the whole model",
        ["Outcome: scale, model", "chi-square, 1 df", "p", "p of the model", "what is shown"], rows, sizes_of(own, outcomes, source),
        "Scaled Schoenfeld residuals against time (Grambsch & Therneau 1994). All tests are in the fit.",
    )  # fmt: skip


def refused_table(estimates: pd.DataFrame, processes: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:  # fmt: skip
    """What has no number, and why; and the hazard ratios before and after the split, where time was split instead."""
    rows = []
    both = pd.concat([estimates, processes.reindex(columns=estimates.columns)], ignore_index=True)
    for row in records(both[both["note"].notna() & both["estimate"].isna()].drop_duplicates(["model_id", "note"])):
        rows.append([f"{row['model_id']}: {SCALE_LABELS.get(row['term'], spec.label(str(row['term'])))}", without_small_counts(str(row["note"]), source.threshold)])  # fmt: skip
    split = estimates[estimates["model_id"].str.endswith(".split") & estimates["estimate"].notna()]
    for row in records(split[split["term"].str.startswith(tuple(SCALE_LABELS))]):
        if may_show_model(row, estimates, source):
            rows.append([f"{row['model_id']}: {str(row['term']).replace('_', ' ')}", ratio(row)])
    return source.table(
        f"Refused, or split at month {spec.recidivism.split_months:g}", ["Model: term", "why, or hazard ratio [95 % interval]"], rows,
        sizes_of(estimates, outcomes, source),
    )  # fmt: skip


def e_value_table(values: pd.DataFrame, estimates: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:  # fmt: skip
    """How strong something unmeasured would have to be, for the scales of the first rater."""
    by_model = {row["model_id"]: row for row in records(own_rows(estimates, spec.recidivism.rater))}
    rows = []
    for value in records(values):
        row = by_model.get(value["model_id"])
        if row is None or not may_show_model(row, estimates, source):
            continue
        name = f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {scale_name(row['scale'])}, {adjustment_name(row['adjustment'])}"  # fmt: skip
        rows.append([name, f"{value['hazard_ratio']:.2f}", f"{value['risk_ratio']:.2f}", f"{value['e_value']:.2f}", f"{value['e_value_limit']:.2f}"])  # fmt: skip
    return source.table(
        "E-values: what an unmeasured confounder would have to do",
        ["Outcome: scale, model", "hazard ratio", "as risk ratio", "E-value", "of the interval's limit"], rows,
        sizes_of(estimates, outcomes, source),
        "The least risk ratio by which it would have to go with both the alliance and recidivism to explain the estimate away; 1 where the "
        "interval holds no effect already (VanderWeele & Ding 2017).",
    )  # fmt: skip


def tests_made(estimates: pd.DataFrame) -> int:
    """How many alliance coefficients of Q3 were tested."""
    return int((estimates["term"] == estimates["scale"]).sum())
