"""The page that a person looks at after a fit: one HTML file with everything in it, no request to anywhere, no script.

Reads a written fit and what the caller says of the version. Small counts are hidden by `small_cells`; pictures are made
by `figures`; the page's text and looks are in `templates/report.html.j2`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.benchmark import read_published
from orchestration.analysis.development import ALL_PAIRS, PATTERNS
from orchestration.analysis.explanation import CODE, KINDS
from orchestration.analysis.fit import read_fit
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.figures import Stamp
from orchestration.analysis.showing.small_cells import STEP_EVENTS, coarse_curve, rounded, suppress
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import write_atomically
from orchestration.pages import rendered

TEMPLATES = Path(__file__).parent / "templates"
SCALE_LABELS = {
    "bond": "Bond",
    "trust": "Trust",
    "goals_restrictions": "Goals & restrictions",
    "reactance": "Reactance",
}
ADJUSTMENT_LABELS = {
    "unadjusted": "unadjusted",
    "criminal_history": "+ criminal history",
    "full": "+ all covariates",
    "risk_level": "+ all, risk level instead of history",
}
STEP_LABELS = {
    "supervised_in_enrolment_window": "Supervision started in the enrolment window",
    "rated_at_t1": "Alliance rated at T1, by either rater",
    "linked": "Found in the registry",
    "origin_reached": "Reached the origin of follow-up",
    "present_at_entry": "Alive and in the country when observation begins",
    "followed_up": "Followed up before the register's lag",
    "not_excluded": "No offence between index start and the origin, where that excludes",
    "not_yet_reoffended": "No event before observation began",
    "at_risk": "At liberty at some time of the follow-up",
}
RULE_LABELS = {
    "half_sd": "half a standard deviation",
    "rci": "reliable change index",
    "slope": "slope through all ratings",
}
KIND_LABELS = {
    "code_and_libraries": "code, models, libraries",
    "new_follow_up": "new follow-up time",
    "new_people": "new people",
    "corrected_records": "corrected records",
    "withdrawals": "withdrawals",
    "definitions": "definitions",
}
HIDDEN = "·"


Record = dict[str, Any]


def records(frame: pd.DataFrame) -> list[Record]:
    """The rows of a frame, each as a dictionary by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def is_missing(value: Any) -> bool:
    """None or NaN."""
    return value is None or bool(value != value)


@dataclass(frozen=True)
class Table:
    """A table as it is shown: text in cells, the first column being the row's header; `flags` marks whole rows."""

    caption: str
    headers: list[str]
    rows: list[list[str]]
    note: str = ""
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI, with the text that stands for it where it is not seen."""

    uri: str
    alternative: str
    caption: str


@dataclass(frozen=True)
class Source:
    """What every figure and table states of itself."""

    version_id: str
    fit_id: str
    is_simulated: bool
    threshold: int

    def stamp(self, what: str) -> Stamp:
        return Stamp(f"{what} · version {self.version_id} · fit {self.fit_id}", self.is_simulated)

    def less(self) -> str:
        return f"<{self.threshold}"

    def count(self, value: int | None) -> str:
        return self.less() if value is None or 0 < value < self.threshold else f"{value:,}"


def render_report(
    fit_dir: Path,
    version_manifest: Mapping[str, Any],
    out: Path,
    small_cell: int = 10,
    spec: Specification | None = None,
) -> Path:
    """Write the page for the fit in `fit_dir` to `out`; returns `out`.

    `version_manifest` needs `version_id` and `simulated` (true when the deliveries are not real: a banner, and a mark in
    every figure but that of the benchmark, which is real); `registry_cutoff_on` is shown when there. Counts below
    `small_cell` are not shown. `spec`: the models that it was fitted by (default: the platform's). A fit of one's own is said
    to be one.
    """
    tables, manifest = read_fit(fit_dir)
    source = Source(
        version_id=str(version_manifest["version_id"]),
        fit_id=str(manifest.get("fit_id", fit_dir.name)),
        is_simulated=bool(version_manifest["simulated"]),
        threshold=small_cell,
    )
    spec = spec or read_specification()
    outcomes = outcome_labels(tables["absolute_risk"])
    real = Source(source.version_id, source.fit_id, False, small_cell)
    page = rendered(
        TEMPLATES / "report.html.j2",
        source=source,
        manifest=manifest,
        cutoff=str(version_manifest.get("registry_cutoff_on") or "not known"),
        packages=", ".join(f"{name} {number}" for name, number in sorted(manifest["packages"].items())),
        outcomes=outcomes,
        grouped=SCALE_LABELS[spec.recidivism.grouped_scale],
        groups=len(spec.recidivism.groups),
        scales=len(spec.recidivism.scales),
        raters=" and ".join(spec.recidivism.raters),
        rater=spec.recidivism.rater,
        adjustments=len(spec.recidivism.adjustments),
        headlines=headlines(tables, source),
        flows=flow_tables(tables["cohort_flow"], outcomes, source),
        wave_picture=wave_picture(tables["wave_means"], source),
        wave_table=wave_table(tables["wave_means"], source),
        pattern_table=pattern_table(tables["change_patterns"], spec, source),
        determinant_table=determinant_table(tables["determinants"], spec, source),
        survival_picture=survival_picture(tables["survival_curves"], tables["log_rank"], spec, outcomes, source),
        log_rank_table=log_rank_table(tables["log_rank"], spec, outcomes, source),
        forest_picture=forest_picture(tables["estimates"], spec, outcomes, source),
        estimate_tables=[
            estimate_table(tables["estimates"], spec, outcome, label, source) for outcome, label in outcomes.items()
        ],
        covariate_table=covariate_table(tables["estimates"], spec, outcomes, source),
        process_table=process_table(tables["process_estimates"], spec, outcomes, source),
        performance_table=performance_table(tables["performance"], spec, outcomes, source),
        proportionality=proportionality(tables["proportional_hazards"], spec),
        risk_table=risk_table(tables["absolute_risk"], outcomes, source),
        benchmark_picture=benchmark_picture(tables["benchmark"], real),
        benchmark_table=benchmark_table(tables["benchmark"], real),
        benchmark_source=read_published()["source"],
        tests=tests_made(tables["estimates"], spec),
        refusals=refusals(tables["estimates"], tables["engine_agreement"]),
        agreement=agreement(tables["engine_agreement"]),
        changes=changes(fit_dir, tables["estimates"], outcomes, source),
    )
    write_atomically(out, page.encode("utf-8"))
    return out


def outcome_labels(absolute_risk: pd.DataFrame) -> dict[str, str]:
    """Outcome ids of a fit, and how a heading calls them."""
    return {
        str(outcome): str(outcome).replace("_", " ").capitalize()
        for outcome in dict.fromkeys(absolute_risk["outcome_id"])
    }


def headlines(tables: Mapping[str, pd.DataFrame], source: Source) -> list[dict[str, str]]:
    """The few numbers at the top of the page."""
    cards = []
    estimates = tables["estimates"]
    if len(estimates):
        first = records(estimates)[0]
        cards.append({"value": source.count(int(first["n"])), "label": "clients followed up",
                      "detail": f"{source.count(int(first['events']))} with recidivism; {first['outcome_id'].replace('_', ' ')}"})  # fmt: skip
        trust = estimates[
            (estimates["scale"] == "trust") & (estimates["term"] == "trust") & (estimates["adjustment"] == "full")
        ]
        row = records(trust)[0] if len(trust) else None
        if row is not None and may_show_model(row, estimates, source):
            cards.append({"value": f"{np.exp(row['estimate']):.2f}", "label": "hazard ratio of Trust, all covariates",
                          "detail": f"95 % interval {ratio_interval(row)}, for one point more"})  # fmt: skip
    risks = tables["absolute_risk"]
    risks = risks[(risks["months"] == 12) & risks["risk"].notna()]
    row = records(risks)[0] if len(risks) else None
    if row is not None and not is_small_risk(row, source):
        cards.append({"value": percent(row["risk"]), "label": "recidivism within a year at risk",
                      "detail": f"95 % interval {percent(row['conf_low'])} to {percent(row['conf_high'])}"})  # fmt: skip
    benchmark = tables["benchmark"]
    if len(benchmark):
        cards.append({"value": f"{int(benchmark['agrees'].sum())} of {len(benchmark)}", "label": "published numbers found again",
                      "detail": "on real data, to every printed digit"})  # fmt: skip
    return cards


def flow_tables(flow: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> list[Table]:
    """One STROBE flow per outcome: who is left after each step, small exclusions hidden."""
    tables = []
    for outcome, label in outcomes.items():
        steps = flow[flow["outcome_id"] == outcome].sort_values("step")
        if not len(steps):
            continue
        left_out = [int(count) for count in steps["n_out"]]
        shown = suppress(left_out, source.threshold, is_zero_shown=True)
        hidden = sum(count for count, visible in zip(left_out, shown, strict=True) if visible is None)
        start, end = int(steps["n_in"].iloc[0]), int(steps["n_remaining"].iloc[-1])
        is_start_rounded = 0 < hidden < source.threshold
        begin = f"about {rounded(start):,}" if is_start_rounded else f"{start:,}"
        rows = [["Known to an organisation", "", begin]]
        is_open = not is_start_rounded  # while nothing was hidden, what remains can be shown
        for number, (row, visible) in enumerate(zip(records(steps), shown, strict=True), start=1):
            is_open = is_open and visible is not None
            is_last = number == len(steps)
            remaining = f"{int(row['n_remaining']):,}" if (is_open or is_last) and end >= source.threshold else HIDDEN
            rows.append(
                [
                    STEP_LABELS.get(row["step_name"], row["step_name"].replace("_", " ")),
                    "few" if visible is None else f"{visible:,}",
                    remaining,
                ]
            )
        tables.append(
            Table(
                caption=f"{label}: from all clients to those analysed",
                headers=["Step", "left out", "remaining"],
                rows=rows,
                note=f"“few” and {HIDDEN}: not shown, since a count below {source.threshold} could be worked out.",
            )
        )
    return tables


def wave_picture(means: pd.DataFrame, source: Source) -> Picture | None:
    """Mean scores of both raters by wave; points of enough ratings only."""
    shown = means[(means["n"] >= source.threshold) & means["conf_low"].notna()]
    shown = _in_order(shown, "scale", list(SCALE_LABELS))
    if not len(shown):
        return None
    png = figures.alliance_by_wave(
        shown, SCALE_LABELS, source.stamp(f"n = {int(shown['n'].min())} to {int(shown['n'].max())} per point")
    )
    return Picture(
        uri=data_uri(png),
        alternative="Mean alliance scores with 95 % intervals at each wave, for four scales, as rated by clients and by officers. "
        "The numbers are in the table below.",
        caption="Mean score and 95 % interval by wave (errors clustered by officer).",
    )


def wave_table(means: pd.DataFrame, source: Source) -> Table:
    """The same means as numbers, with how many were rated."""
    waves = sorted(means["wave"].unique())
    rows = []
    for scale in [name for name in SCALE_LABELS if name in set(means["scale"])]:
        for rater in sorted(means["rater"].unique()):
            cells = []
            for wave in waves:
                part = means[(means["scale"] == scale) & (means["rater"] == rater) & (means["wave"] == wave)]
                cells.append(_mean_cell(records(part)[0], source) if len(part) else "")
            rows.append([f"{SCALE_LABELS[scale]}, {rater}", *cells])
    return Table("Mean score [95 % interval] and number rated, by wave", ["Scale, rater", *waves], rows)


def _mean_cell(row: Record, source: Source) -> str:
    if row["n"] < source.threshold or is_missing(row["conf_low"]):
        return f"n {source.less()}"
    return f"{row['mean']:.2f} [{row['conf_low']:.2f}, {row['conf_high']:.2f}]\nn = {int(row['n'])}"


def pattern_table(patterns: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """Counts of the change patterns by scale and rule for the span and rater that Q2 models.

    Pairs rated with one officer are counted in the fit, not here: the difference of two counts would be a small cell.
    """
    rater, span = spec.determinants.rater, spec.determinants.span
    part = patterns[(patterns["rater"] == rater) & (patterns["span"] == span) & (patterns["pairs"] == ALL_PAIRS)]
    rows = []
    for scale in [name for name in SCALE_LABELS if name in set(part["scale"])]:
        for rule in spec.determinants.rules:
            cells = part[(part["scale"] == scale) & (part["rule"] == rule)].set_index("pattern")
            if not len(cells):
                continue
            counts = [int(count) for count in cells["count"].loc[list(PATTERNS)]]
            n, alpha = int(cells["n"].iloc[0]), float(cells["reliability"].iloc[0])
            shown = suppress(counts, source.threshold)
            rows.append(
                [f"{SCALE_LABELS[scale]}, {RULE_LABELS.get(rule, rule)}", source.count(n)]
                + [_pattern_cell(count, value, n, source) for count, value in zip(counts, shown, strict=True)]
                + [f"{alpha:.2f}" if np.isfinite(alpha) else "–"]
            )
    return Table(
        caption=f"Change patterns {span}, rated by the {rater}",
        headers=["Scale, rule", "n rated twice", *PATTERNS, "alpha at T1"],
        rows=rows,
        note="Deteriorating Reactance is an increase. A scale of low alpha looks almost wholly stable under the reliable change index. "
        f"“few”: below {source.threshold}; “not shown”: a count from which such a one could be worked out.",
    )


def _pattern_cell(count: int, shown: int | None, n: int, source: Source) -> str:
    if shown is not None:
        return f"{shown} ({percent(shown / n)})"
    return "few" if count < source.threshold else "not shown"


def determinant_table(rows: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """Odds ratios of the first rule, all pairs: one row per scale and pattern, one column per predictor."""
    rule = spec.determinants.rules[0]
    part = rows[(rows["rule"] == rule) & (rows["pairs"] == "all") & (rows["rater"] == spec.determinants.rater)]
    part = part[(part["missing"] == "imputed") & (part["imputations"] == part["imputations"].max())]
    terms = [predictor.name for predictor in spec.determinants.predictors]
    lines = []
    for scale in [name for name in SCALE_LABELS if name in set(part["scale"])]:
        for pattern in ("improving", "deteriorating"):
            model = {row["term"]: row for row in records(part[(part["scale"] == scale) & (part["pattern"] == pattern)])}
            if not model:
                continue
            first = next(iter(model.values()))
            cells = []
            for term in terms:
                row = model.get(term)
                cells.append(
                    "–"
                    if row is None or is_missing(row["estimate"])
                    else f"{np.exp(row['estimate']):.2f}\n[{ratio_interval(row)}]"
                )
            note = str(first["note"]) if all(cell == "–" for cell in cells) else ""
            counts = (int(first["n"]), int(first["class_count"]))
            sizes = [source.less() if count < source.threshold else f"{rounded(count)}" for count in counts]
            lines.append([f"{SCALE_LABELS[scale]}, {pattern}", *sizes, *cells, note])
    return Table(
        caption=f"What goes with change ({spec.determinants.span}, rule: {RULE_LABELS.get(rule, rule)}): odds ratios [95 % interval] against stable",
        headers=["Scale, pattern", "n, to 5", "in pattern, to 5", *[spec.label(term) for term in terms], "remark"],
        rows=lines,
        note="Multinomial logit, errors clustered by officer at T1, predictors as known in the first months. All models, by both rules and "
        "without pairs rated with different officers, are in determinants.parquet of the fit.",
    )


def of_drawn_groups(rows: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The rows of the groups that curves are drawn of: those of the scale that the models name, as rated by the first rater."""
    scale = spec.recidivism.grouped_scale
    return rows[(rows["grouping"] == "tertile") & (rows["rater"] == spec.recidivism.rater) & (rows["scale"] == scale)]


def grouped_by(spec: Specification) -> str:
    """The score that groups are made of, in words."""
    return f"{SCALE_LABELS[spec.recidivism.grouped_scale]} at {spec.recidivism.wave.upper()}"


def scored_at(spec: Specification) -> str:
    """The waves of the scores that stand in a model by themselves, in words."""
    waves = {parts["score"].upper() for parts in spec.recidivism.exposures.values() if "score" in parts}
    return " and ".join(sorted(waves))


def survival_picture(
    curves: pd.DataFrame, tests: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source
) -> Picture | None:
    """Kaplan-Meier by group of the score, drawn as coarsely as `coarse_curve` asks."""
    groups = list(spec.recidivism.groups)
    part = of_drawn_groups(curves, spec)
    coarse = [coarse_curve(group, source.threshold) for _, group in part.groupby(["outcome_id", "group"], sort=False)]
    points = pd.concat(coarse) if coarse else part
    points = points[points["group"].isin(groups)]
    if not len(points):
        return None
    grid = part[part["month"].isin(range(0, 49, 12)) & part["group"].isin(groups)]
    at_risk = grid.assign(
        shown=[source.less() if count < source.threshold else str(rounded(int(count))) for count in grid["at_risk"]]
    )
    what = "; ".join(
        f"{outcomes[row['outcome_id']]}: n = {source.count(int(row['n']))}, {source.count(int(row['events']))} events"
        for row in records(of_drawn_groups(tests, spec))
    )
    png = figures.survival(points, at_risk, dict(outcomes), groups, grouped_by(spec), source.stamp(what))
    return Picture(
        uri=data_uri(png),
        alternative=f"Kaplan–Meier curves of staying without recidivism for clients by group ({', '.join(groups)}) of {grouped_by(spec)}, one panel "
        "per outcome definition, with numbers at risk. The tests are in the table below.",
        caption=f"Kaplan–Meier by group of {spec.recidivism.rater}-rated {grouped_by(spec)}, as observed (clients without a rating are left out). Drawn coarsely: "
        f"each point comes after at least {STEP_EVENTS} further events, with at least {source.threshold} people still at risk.",
    )


def log_rank_table(tests: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """The test of those groups, one row per outcome."""
    rows = [
        [outcomes.get(row["outcome_id"], row["outcome_id"]), source.count(int(row["n"])), source.count(int(row["events"])),
         "–" if is_missing(row["p_value"]) else f"{row['statistic']:.2f}", "–" if is_missing(row["p_value"]) else p_text(row["p_value"])]
        for row in records(of_drawn_groups(tests, spec))
    ]  # fmt: skip
    return Table(
        f"Log-rank test of the groups of {grouped_by(spec)}", ["Outcome", "n", "events", "chi-square", "p"], rows
    )


def may_show_model(row: Record, estimates: pd.DataFrame, source: Source) -> bool:
    """A model is shown when it was estimated and its events exceed its terms by the threshold."""
    terms = int((estimates["model_id"] == row["model_id"]).sum())
    return bool(not is_missing(row["estimate"]) and int(row["events"]) - terms >= source.threshold)


def alliance_rows(estimates: pd.DataFrame, spec: Specification, source: Source) -> pd.DataFrame:
    """The row of the scale itself in each model that may be shown."""
    own = estimates[(estimates["term"] == estimates["scale"]) & (estimates["rater"] == spec.recidivism.rater)]
    keep = [may_show_model(row, estimates, source) for row in records(own)]
    return own[keep]


def forest_picture(
    estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source
) -> Picture | None:
    """Hazard ratios of the scales in every model that may be shown."""
    rows = alliance_rows(estimates, spec, source)
    if not len(rows):
        return None
    scales = {name: label for name, label in SCALE_LABELS.items() if name in set(rows["scale"])}
    adjustments = {name: ADJUSTMENT_LABELS.get(name, name) for name in dict.fromkeys(estimates["adjustment"])}
    sizes = rows.drop_duplicates("outcome_id")
    what = "; ".join(
        f"{outcomes[size['outcome_id']]}: n = {int(size['n'])}, {int(size['events'])} events" for size in records(sizes)
    )
    png = figures.forest(rows, dict(outcomes), scales, adjustments, source.stamp(what))
    return Picture(
        uri=data_uri(png),
        alternative="Forest plot of hazard ratios with 95 % intervals for one point more on each alliance scale, by what else "
        "stands in the model, one panel per outcome definition. The numbers are in the table below.",
        caption=f"Hazard ratio of recidivism for one point more on each {spec.recidivism.rater}-rated scale at {scored_at(spec)}. Left of 1: less recidivism.",
    )


def estimate_table(estimates: pd.DataFrame, spec: Specification, outcome: str, label: str, source: Source) -> Table:
    """The scale's hazard ratio in each model of one outcome, with what imputation cost it."""
    rows = []
    own = estimates[
        (estimates["term"] == estimates["scale"])
        & (estimates["outcome_id"] == outcome)
        & (estimates["rater"] == spec.recidivism.rater)
    ]
    for row in records(own):
        name = f"{SCALE_LABELS.get(row['scale'], row['scale'])}, {ADJUSTMENT_LABELS.get(row['adjustment'], row['adjustment'])}"
        sizes = [source.count(int(row["n"])), source.count(int(row["events"]))]
        if may_show_model(row, estimates, source):
            spread = f"{np.exp(row['estimate_min']):.2f} to {np.exp(row['estimate_max']):.2f}"
            numbers = [
                f"{np.exp(row['estimate']):.2f}",
                ratio_interval(row),
                p_text(row["p_value"]),
                percent(row["fraction_missing"]),
                spread,
            ]
        else:
            numbers = ["not shown", "", "", "", ""]
        rows.append([name, *sizes, *numbers])
    return Table(
        caption=f"{label}: the alliance scale in each Cox model of recidivism",
        headers=[
            "Scale, model",
            "n",
            "events",
            "hazard ratio",
            "95 % interval",
            "p",
            "missing information",
            "range over imputations",
        ],
        rows=rows,
        note=f"{spec.recidivism.ties.capitalize()}'s treatment of ties; multiple imputation pooled by Rubin's rules; errors clustered by officer at the origin, with "
        "G/(G−1) correction; t intervals with Barnard–Rubin degrees of freedom.",
    )


def covariate_table(estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """All terms of the model with most covariates, for the scale that curves are drawn for."""
    scale = spec.recidivism.grouped_scale
    adjustment = max(spec.recidivism.adjustments, key=lambda name: len(spec.recidivism.adjustments[name]))
    is_drawn = (estimates["rater"] == spec.recidivism.rater) & (estimates["exposure"] == "score")
    part = estimates[is_drawn & (estimates["scale"] == scale) & (estimates["adjustment"] == adjustment)]
    rows = []
    for term in dict.fromkeys(part["term"]):
        cells = []
        for outcome in outcomes:
            row = part[(part["term"] == term) & (part["outcome_id"] == outcome)]
            is_shown = len(row) and may_show_model(records(row)[0], estimates, source)
            cells.append(
                f"{np.exp(records(row)[0]['estimate']):.2f} [{ratio_interval(records(row)[0])}]" if is_shown else "–"
            )
        rows.append([SCALE_LABELS.get(term, spec.label(term)), *cells])
    sizes = part.drop_duplicates("outcome_id")
    what = "; ".join(
        f"{outcomes[size['outcome_id']]}: n = {source.count(int(size['n']))}, {source.count(int(size['events']))} events, "
        f"{size['events'] / max(len(rows), 1):.1f} events per term"
        for size in records(sizes)
        if int(size["events"]) >= source.threshold
    )
    return Table(
        caption=f"{SCALE_LABELS.get(scale, scale)}, {ADJUSTMENT_LABELS.get(adjustment, adjustment)}: every hazard ratio [95 % interval]",
        headers=["Term", *outcomes.values()],
        rows=rows,
        note=what,
    )


PROCESS_LABELS = {
    "counting_process": "detention taken out of the calendar",
    "detention_ignored": "detention ignored",
    "time_varying": "the score as last rated",
    "andersen_gill": "all offences, Andersen–Gill",
    "pwp_total_time": "all offences, by number, since the origin",
    "pwp_gap_time": "all offences, by number, since the one before",
    "at_risk_to_event": "at liberty → reoffended",
    "at_risk_to_detained": "at liberty → detained",
    "detained_to_at_risk": "detained → at liberty",
}
MEASURE_LABELS = {
    "concordance": "Concordance",
    "calibration_slope": "Calibration slope",
    "auc": "Area under the curve",
    "brier": "Brier score",
}


def process_table(estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """The grouped scale as rated by the first rater in every other way to count time, detention and offences."""
    own = estimates[
        (estimates["term"] == spec.recidivism.grouped_scale)
        & (estimates["rater"] == spec.recidivism.rater)
        & estimates["process"].isin(list(PROCESS_LABELS))
    ]
    rows = []
    for row in records(own):
        outcome = outcomes.get(row["outcome_id"], str(row["outcome_id"]).replace("_", " ").capitalize())
        name = f"{outcome}: {PROCESS_LABELS[row['process']]}, {ADJUSTMENT_LABELS.get(row['adjustment'], row['adjustment'])}"
        is_shown = may_show_model(row, estimates, source)
        numbers = (
            [f"{np.exp(row['estimate']):.2f}", ratio_interval(row), p_text(row["p_value"])]
            if is_shown
            else ["not shown", "", ""]
        )
        rows.append([name, source.count(int(row["n"])), source.count(int(row["events"])), *numbers])
    return Table(
        caption=f"{SCALE_LABELS[spec.recidivism.grouped_scale]}, {spec.recidivism.rater}-rated, when time, detention and offences are counted otherwise",
        headers=["Outcome, way of counting, model", "n", "events", "hazard ratio", "95 % interval", "p"],
        rows=rows,
        note="Patterns, competing events, restricted means, states, calibration and E-values are tables of the fit.",
    )


def performance_table(rows: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """How well the models predict, as they look and after what is optimism; only where events are not few."""
    shown = rows[
        (rows["events"] >= source.threshold)
        & (rows["n"] - rows["events"] >= source.threshold)
        & rows["apparent"].notna()
    ]
    return Table(
        caption=f"How well the {SCALE_LABELS[spec.recidivism.grouped_scale]} models predict: apparent, and corrected for optimism by resampling officers",
        headers=["Outcome, model", "measure", "apparent", "corrected"],
        rows=[
            [
                f"{outcomes.get(row['outcome_id'], row['outcome_id'])}, {ADJUSTMENT_LABELS.get(str(row['model_id']).rsplit('.', 1)[-1], '')}",
                MEASURE_LABELS[row["measure"]] + ("" if is_missing(row["months"]) else f", {int(row['months'])} months"),
                f"{row['apparent']:.2f}", f"{row['corrected']:.2f}",
            ]
            for row in records(shown)
        ],
        note="Prediction is no aim of the study: nothing here may be used to decide about a person.",
    )  # fmt: skip


def proportionality(tests: pd.DataFrame, spec: Specification) -> str:
    """How many terms were tested and how many have no single hazard ratio, in words."""
    tested = tests[tests["p_value"].notna() & (tests["term"] != "GLOBAL")]
    failed = int((tested["p_value"] < spec.recidivism.proportional_level).sum())
    return (
        f"Proportional hazards were tested for {len(tested):,} terms; {failed:,} are below {spec.recidivism.proportional_level:g} and have no "
        f"single hazard ratio (about {len(tested) * spec.recidivism.proportional_level:.0f} would be by chance)."
    )


def is_small_risk(row: Record, source: Source) -> bool:
    """Too few events, too few left at risk, or too few without an event to show a risk."""
    return bool(min(row["events"], row["at_risk"], row["n"] - row["events"]) < source.threshold)


def risk_table(risks: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> Table:
    """Absolute risks; a row that adds too few events to the one before is not shown."""
    rows = []
    shown_events: dict[str, int] = {}
    for row in records(risks[risks["grouping"] == "all"]):
        name = f"{outcomes[row['outcome_id']]}, {int(row['months'])} months"
        since = int(row["events"]) - shown_events.get(row["outcome_id"], 0)
        if is_missing(row["risk"]) or is_small_risk(row, source) or since < source.threshold:
            rows.append(
                [name, source.count(int(row["n"])), "", "", "not shown: too few further events, or too few followed"]
            )
            continue
        shown_events[row["outcome_id"]] = int(row["events"])
        rows.append(
            [name, f"{int(row['n']):,}", source.count(int(row["events"])), percent(row["risk"], 1),
             f"{percent(row['conf_low'], 1)} to {percent(row['conf_high'], 1)}"]
        )  # fmt: skip
    return Table(
        caption="Share with recidivism, Kaplan–Meier, by months at risk since the origin",
        headers=["Outcome, time", "n", "events so far", "risk", "95 % interval"],
        rows=rows,
        note="Follow-up ends at the register's cut-off less the registration lag; time in detention is not time at risk.",
    )


def benchmark_picture(rows: pd.DataFrame, source: Source) -> Picture | None:
    """Needs, for each term, its published ratio and interval; drawn from the table's rows."""
    published = read_published()
    lines = []
    by_name = {row["name"]: float(row["computed"]) for row in records(rows)}
    for term, printed in published["hazard_ratios"].items():
        if f"hazard ratio of {term}" not in by_name:
            return None
        lines.append(
            {"term": term, "published_low": float(printed[1]), "published_high": float(printed[2]),
             "ratio": by_name[f"hazard ratio of {term}"], "low": by_name[f"hazard ratio of {term}, low"],
             "high": by_name[f"hazard ratio of {term}, high"]}
        )  # fmt: skip
    png = figures.benchmark(
        pd.DataFrame(lines), source.stamp(f"REAL DATA · n = {published['n']}, {published['events']} events")
    )
    return Picture(
        uri=data_uri(png),
        alternative="Hazard ratios with 95 % intervals of five terms as computed here, drawn over the published intervals; they coincide.",
        caption="North Carolina prison releases, real data: what we compute (green) over what was published (grey).",
    )


def benchmark_table(rows: pd.DataFrame, source: Source) -> Table:
    """Every published number beside ours."""
    return Table(
        caption="Every published number beside ours, rounded to the digits that were printed",
        headers=["Number", "published", "computed here", "agrees"],
        rows=[
            [row["name"], row["published"], row["rounded"], "yes" if row["agrees"] else "NO"] for row in records(rows)
        ],
        flags=["" if row["agrees"] else "bad" for row in records(rows)],
    )


def tests_made(estimates: pd.DataFrame, spec: Specification) -> int:
    """How many alliance coefficients of Q3 were tested."""
    return int((estimates["term"] == estimates["scale"]).sum())


def refusals(estimates: pd.DataFrame, agreement_rows: pd.DataFrame) -> list[str]:
    """What could not be estimated, and why, once per model."""
    noted = (
        pd.concat([estimates[["model_id", "note"]], agreement_rows[["model_id", "note"]]])
        .dropna(subset="note")
        .drop_duplicates()
    )
    return [f"{row['model_id']}: {row['note']}" for row in records(noted)]


def agreement(rows: pd.DataFrame) -> dict[str, str]:
    """How the second engine compared, in words."""
    compared = rows[rows["largest_coefficient_difference"].notna()]
    largest = compared[["largest_coefficient_difference", "largest_error_difference"]].to_numpy(dtype=float)
    return {
        "models": str(len(compared)),
        "largest": f"{largest.max():.1e}" if len(compared) else "–",
        "verdict": "agree" if bool(rows["agrees"].astype("boolean").fillna(True).all()) else "DO NOT AGREE",
    }


@dataclass(frozen=True)
class Changes:
    """What the page says of a refit: whether there is a fit before, who changed, how the scales' estimates moved, caveats."""

    old_fit: str | None
    tables: list[Table]
    caveats: list[str]


def changes(fit_dir: Path, estimates: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> Changes:
    """Read from `<fit>.changes.json` beside the fit; empty for a first fit."""
    path = fit_dir.with_name(f"{fit_dir.name}.changes.json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    explained = found.get("explanation", {})
    if not found.get("old_fit") or not explained.get("parts"):
        return Changes(found.get("old_fit"), [], explained.get("caveats", []))
    people = {(row["outcome_id"], row["kind"]): int(row["clients"]) for row in explained["people"]}
    tables = [changed_people_table(people, outcomes, source), moves_table(explained["parts"], people, estimates, outcomes, source)]  # fmt: skip
    return Changes(found["old_fit"], tables, explained["caveats"])


def changed_people_table(people: Mapping[tuple[str, str], int], outcomes: Mapping[str, str], source: Source) -> Table:
    """Clients by outcome and kind of change, small counts hidden."""
    rows = []
    for outcome, label in outcomes.items():
        shown = suppress([people.get((outcome, kind), 0) for kind in KINDS[1:]], source.threshold, is_zero_shown=True)
        rows.append([label, *["few" if count is None else f"{count:,}" for count in shown]])
    return Table(
        caption="Clients whose rows changed since the fit before, by kind of change",
        headers=["Outcome", *[KIND_LABELS[kind] for kind in KINDS[1:]]],
        rows=rows,
        note=f"A client whose follow-up grew and whose record was corrected counts under both. “few”: below {source.threshold}, "
        "or a count from which such a one could be worked out.",
    )


def moves_table(
    parts: list[Record],
    people: Mapping[tuple[str, str], int],
    estimates: pd.DataFrame,
    outcomes: Mapping[str, str],
    source: Source,
) -> Table:
    """The scale's estimate in the model with most covariates: before, now, and the parts of its move.

    The part of a kind that few clients have is not shown by itself: such kinds are one part together, if together they are
    enough, and otherwise no part of that outcome is shown.
    """
    adjustment = list(dict.fromkeys(estimates["adjustment"]))[-1]
    own = estimates[(estimates["term"] == estimates["scale"]) & (estimates["adjustment"] == adjustment)]
    by_model = {(part["model_id"], part["term"]): part for part in parts}
    rows = []
    for row in records(own):
        part = by_model.get((row["model_id"], row["term"]))
        if part is None or part["move"] is None or not may_show_model(row, estimates, source):
            continue
        outcome = row["outcome_id"]
        few = [kind for kind in KINDS if kind != CODE and 0 < people.get((outcome, kind), 0) < source.threshold]
        is_shown = not few or sum(people[outcome, kind] for kind in few) >= source.threshold
        cells = ["·" if kind in few or not is_shown else f"{part[kind]:+.3f}" for kind in KINDS]
        together = f"{sum(part[kind] for kind in few):+.3f}" if few and is_shown else "" if is_shown else "·"
        before, now = (f"{np.exp(part[name]):.2f}" for name in ("estimate_old", "estimate_new"))
        name = f"{SCALE_LABELS.get(row['scale'], row['scale'])}, {outcomes[outcome]}"
        rows.append([name, before, now, f"{part['move']:+.3f}", *cells, together, f"{part['chance_std_error']:.3f}"])
    return Table(
        caption=f"How the hazard ratio of each scale moved ({ADJUSTMENT_LABELS.get(adjustment, adjustment)}), and why",
        headers=["Scale, outcome", "ratio before", "ratio now", "move, log", *[KIND_LABELS[kind] for kind in KINDS], "kinds of few clients", "by chance"],
        rows=rows,
        note="Parts of the move on the log scale, in the order in which the kinds were applied to the old rows (left to right); they add up to "
        "the move. “by chance”: how far drawing the imputations again moves an estimate, as a standard error. "
        "All models and terms are in the fit’s changes.json.",
    )  # fmt: skip


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def ratio_interval(row: Record) -> str:
    """The interval of a log ratio, as ratios."""
    low, high = np.exp([row["conf_low"], row["conf_high"]])
    return f"{low:.2f}, {high:.2f}" if high < 100 else f"{low:.2f}, >100"


def percent(value: float, decimals: int = 0) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{decimals}f} %"


def p_text(p: float) -> str:
    """A p-value without its leading zero."""
    return "<.001" if p < 0.001 else f"{p:.3f}"[1:] if p < 1 else "1"


def _in_order(frame: pd.DataFrame, column: str, order: list[str]) -> pd.DataFrame:
    place = {name: number for number, name in enumerate(order)}
    return (
        frame.assign(_place=frame[column].map(place).fillna(len(order)))
        .sort_values("_place", kind="stable")
        .drop(columns="_place")
    )
