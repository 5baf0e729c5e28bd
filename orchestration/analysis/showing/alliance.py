"""Q1, how the alliance develops: means by wave, growth, raters beside each other, reliability, patterns of change."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis.development import ALL_PAIRS, PATTERNS
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.labels import GROWTH_LABELS, RULE_LABELS, SCALE_LABELS, scale_name
from orchestration.analysis.showing.small_cells import suppress
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Picture,
    Record,
    Source,
    Table,
    in_order,
    interval,
    is_missing,
    p_text,
    percent,
    ratings_sizes,
    records,
    without_small_counts,
)
from orchestration.analysis.specification import Specification


def wave_picture(means: pd.DataFrame, source: Source) -> Picture | None:
    """Mean scores of both raters by wave; points of enough ratings only."""
    shown = means[(means["n"] >= source.threshold) & means["conf_low"].notna()]
    shown = in_order(shown, "scale", list(SCALE_LABELS))
    if not len(shown):
        return None
    sizes = ratings_sizes(int(shown["n"].min()), int(shown["n"].max()), source)
    return source.picture(
        figures.alliance_by_wave(shown, SCALE_LABELS, source.stamp(sizes)),
        "Mean alliance scores with 95 % intervals at each wave, for four scales, as rated by clients and by officers. "
        "The numbers are in the table below.",
        "Mean score and 95 % interval by wave (errors clustered by officer).",
        sizes,
    )


def wave_table(means: pd.DataFrame, source: Source) -> Table:
    """The same means as numbers, with how many were rated."""
    waves = sorted(means["wave"].unique())
    rows = []
    for scale in _scales(means):
        for rater in sorted(means["rater"].unique()):
            cells = []
            for wave in waves:
                part = means[(means["scale"] == scale) & (means["rater"] == rater) & (means["wave"] == wave)]
                cells.append(_mean_cell(records(part)[0], source) if len(part) else "")
            rows.append([f"{SCALE_LABELS[scale]}, {rater}", *cells])
    return source.table(
        "Mean score [95 % interval] and number rated, by wave", ["Scale, rater", *waves], rows, _sizes(means, "n", source)
    )  # fmt: skip


def _mean_cell(row: Record, source: Source) -> str:
    if row["n"] < source.threshold or is_missing(row["conf_low"]):
        return f"n {source.less()}"
    return f"{row['mean']:.2f} {interval(row)}\nn = {int(row['n'])}"


def growth_table(rows: pd.DataFrame, source: Source) -> Table:
    """The growth model that could be estimated of each rater and scale, and what its first choice was refused for."""
    lines = []
    for scale in _scales(rows):
        for rater in sorted(rows["rater"].unique()):
            own = rows[(rows["scale"] == scale) & (rows["rater"] == rater)]
            good = own[own["note"].isna() & (own["clients"] >= source.threshold)]
            by_term = {row["term"]: row for row in records(good)}
            refused = list(dict.fromkeys(own["note"].dropna()))
            remark = f"simpler: {str(refused[0]).removeprefix('not estimable: ')}" if refused else ""
            slope, start = by_term.get("months"), by_term.get("intercept")
            spread = ", ".join(f"{label} {by_term[term]['estimate']:.2f}" for term, label in GROWTH_LABELS.items()
                               if term in by_term and by_term[term]["part"] == "random" and not is_missing(by_term[term]["estimate"]))  # fmt: skip
            lines.append(
                [f"{SCALE_LABELS[scale]}, {rater}", *([f"{start['estimate']:.2f} {interval(start)}", f"{12 * slope['estimate']:+.2f} [{12 * slope['conf_low']:+.2f}, {12 * slope['conf_high']:+.2f}]", p_text(slope["p_value"])] if start and slope else ["–", "–", "–"]),
                 spread, without_small_counts(remark, source.threshold)]
            )  # fmt: skip
    return source.table(
        "Growth models: score at the start, and change in a year [95 % interval]",
        ["Scale, rater", "start", "change in a year", "p of change", "how much it differs", "remark"],
        lines,
        _sizes(rows, "clients", source),
        "Linear mixed models by REML: intercept and slope by client, intercept by officer; the next simpler structure where one is singular "
        "(Laird & Ware 1982; degrees of freedom by Satterthwaite).",
    )


def agreement_table(rows: pd.DataFrame, convergence: pd.DataFrame, source: Source) -> Table:
    """How alike client and officer rate, at each wave, and whether they come nearer to each other."""
    part = rows[rows["pairs"] == ALL_PAIRS]
    coming = convergence[(convergence["pairs"] == ALL_PAIRS) & (convergence["measure"] == "absolute_difference") & (convergence["term"] == "months")]  # fmt: skip
    by_scale = {row["scale"]: row for row in records(coming)}
    lines = []
    for scale in _scales(part):
        for row in records(part[part["scale"] == scale].sort_values("wave")):
            is_shown = int(row["n"]) >= source.threshold and not is_missing(row["icc_agreement"])
            numbers = (
                [
                    f"{row['pearson']:.2f} [{row['pearson_clustered_low']:.2f}, {row['pearson_clustered_high']:.2f}]",
                    f"{row['icc_agreement']:.2f} [{row['icc_agreement_clustered_low']:.2f}, {row['icc_agreement_clustered_high']:.2f}]",
                    f"{row['mean_difference']:+.2f} {interval(row)}", f"{row['limit_low']:.2f} to {row['limit_high']:.2f}",
                ]
                if is_shown
                else [NOT_SHOWN, "", "", ""]
            )  # fmt: skip
            lines.append([f"{SCALE_LABELS[scale]}, {row['wave']}", source.about(int(row["n"])), *numbers])
        coming_nearer = by_scale.get(scale)
        if coming_nearer is not None and int(coming_nearer["clients"]) >= source.threshold and not is_missing(coming_nearer["estimate"]):  # fmt: skip
            low, high = 12 * coming_nearer["conf_low"], 12 * coming_nearer["conf_high"]
            lines.append([f"{SCALE_LABELS[scale]}, distance in a year", source.about(int(coming_nearer["clients"])), "", "", f"{12 * coming_nearer['estimate']:+.2f} [{low:+.2f}, {high:+.2f}]", ""])  # fmt: skip
    return source.table(
        "Client beside officer: correlation, agreement, difference, and whether they come nearer",
        ["Scale, wave", "pairs, to 5", "correlation", "ICC, agreement", "client less officer", "limits of agreement"],
        lines,
        _sizes(part, "n", source),
        "Intraclass correlation for absolute agreement (McGraw & Wong 1996), intervals clustered by officer; limits of agreement (Bland & Altman 1986). “distance in a "
        "year”: change of the absolute difference; below zero they come nearer.",
    )


def reliability_table(rows: pd.DataFrame, source: Source) -> Table:
    """Alpha, omega, the error of measurement, and what a low alpha does to everything else."""
    lines = []
    for row in records(in_order(rows, "scale", list(SCALE_LABELS))):
        name = f"{scale_name(row['scale'])}, {row['rater']}, {row['wave']}"
        if int(row["n_complete"]) < source.threshold or is_missing(row["alpha"]):
            lines.append([name, source.less(), NOT_SHOWN, "", "", "", ""])
            continue
        lines.append(
            [name, source.about(int(row["n_complete"])), f"{row['alpha']:.2f} [{row['alpha_low']:.2f}, {row['alpha_high']:.2f}]",
             *("–" if is_missing(row[part]) else f"{row[part]:.2f}" for part in ("omega", "standard_error_of_measurement", "reliable_change_band", "attenuation"))]
        )  # fmt: skip
    low = rows[rows["is_low"].astype(bool) & (rows["n_complete"] >= source.threshold)]
    said = ", ".join(scale_name(str(scale)) for scale in dict.fromkeys(low["scale"]))
    return source.table(
        "Reliability of the scales",
        ["Scale, rater, wave", "complete, to 5", "alpha", "omega", "error of measurement", "reliable change, in SD", "attenuation"],
        lines,
        _sizes(rows, "n_complete", source),
        "Attenuation: the largest correlation that a perfectly measured variable could show with the scale (√alpha; Spearman 1904). "
        + (f"Low in {said}: relations with it look weaker than they are, and the reliable change index finds few changes." if said else "No scale is low."),
    )  # fmt: skip


def pattern_table(patterns: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """Counts of the change patterns by scale and rule for the span and rater that Q2 models.

    Pairs rated with one officer are counted in the fit, not here: the difference of two counts would be a small cell.
    """
    rater, span = spec.determinants.rater, spec.determinants.span
    part = patterns[(patterns["rater"] == rater) & (patterns["span"] == span) & (patterns["pairs"] == ALL_PAIRS)]
    rows = []
    for scale in _scales(part):
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
    return source.table(
        f"Change patterns {span}, rated by the {rater}",
        ["Scale, rule", "n rated twice", *PATTERNS, "alpha at T1"],
        rows,
        _sizes(part, "n", source),
        "Deteriorating Reactance is an increase. A scale of low alpha looks almost wholly stable under the reliable change index. "
        f"“few”: below {source.threshold}; “not shown”: a count from which such a one could be worked out.",
    )


def _pattern_cell(count: int, shown: int | None, n: int, source: Source) -> str:
    if shown is not None:
        return f"{shown} ({percent(shown / n)})"
    return "few" if count < source.threshold else NOT_SHOWN


def kappa_table(rows: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """How far the rules find the same pattern in the same people."""
    part = rows[(rows["rater"] == spec.determinants.rater) & (rows["span"] == spec.determinants.span)]
    lines = []
    for row in records(in_order(part, "scale", list(SCALE_LABELS))):
        n, agreed = int(row["n"]), float(row["observed_agreement"])
        rules = f"{RULE_LABELS.get(row['rule_one'], row['rule_one'])} – {RULE_LABELS.get(row['rule_other'], row['rule_other'])}"
        apart = n * (1 - agreed)
        if n < source.threshold:
            cells = [source.less(), NOT_SHOWN, ""]
        elif 0 < round(apart) < source.threshold:
            cells = [source.about(n), "few differ", NOT_SHOWN]
        else:
            cells = [source.about(n), percent(agreed), "–" if is_missing(row["kappa"]) else f"{row['kappa']:.2f}"]
        lines.append([f"{scale_name(row['scale'])}: {rules}", *cells])
    return source.table(
        f"How far the rules agree on a pattern ({spec.determinants.span}, rated by the {spec.determinants.rater})",
        ["Scale: two rules", "n, to 5", "the same pattern", "kappa"],
        lines,
        _sizes(part, "n", source),
        "Cohen's kappa (Cohen 1960). How the published papers cut their patterns is not known; so each rule is shown.",
    )


def _scales(rows: pd.DataFrame) -> list[str]:
    return [name for name in SCALE_LABELS if name in set(rows["scale"])]


def _sizes(rows: pd.DataFrame, column: str, source: Source) -> str:
    return ratings_sizes(int(rows[column].min()), int(rows[column].max()), source) if len(rows) else "n = 0, no events counted"  # fmt: skip
