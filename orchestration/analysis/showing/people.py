"""Who is in it: the way from all clients to those analysed (STROBE, item 13), and what they were like (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestration.analysis.baseline import YES_NO
from orchestration.analysis.grouping import ALL
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.labels import GROUP_LABELS, RULE_LABELS, STEP_LABELS, scale_name, score_name
from orchestration.analysis.showing.small_cells import rounded, suppress
from orchestration.analysis.showing.source import (
    HIDDEN,
    NOT_SHOWN,
    Picture,
    Record,
    Source,
    Table,
    named,
    percent,
    records,
    sizes_of,
)
from orchestration.analysis.specification import Specification

BEGINNING = "Known to an organisation"


def flow_tables(
    flow: pd.DataFrame, estimates: pd.DataFrame, outcomes: Mapping[str, str], source: Source
) -> list[Table]:
    """One STROBE flow per outcome: who is left after each step, small exclusions hidden."""
    tables = []
    for outcome, label in outcomes.items():
        rows = flow_rows(flow, outcome, source)
        if rows:
            tables.append(
                source.table(
                    f"{label}: from all clients to those analysed", ["Step", "left out", "remaining"], rows,
                    sizes_of(estimates[estimates["outcome_id"] == outcome], outcomes, source),
                    f"“few” and {HIDDEN}: not shown, since a count below {source.threshold} could be worked out.",
                )
            )  # fmt: skip
    return tables


def flow_rows(flow: pd.DataFrame, outcome: str, source: Source) -> list[list[str]]:
    """Step, left out and remaining of one outcome, as they may be shown; empty where the outcome has no flow."""
    steps = flow[flow["outcome_id"] == outcome].sort_values("step")
    if not len(steps):
        return []
    left_out = [int(count) for count in steps["n_out"]]
    shown = suppress(left_out, source.threshold, is_zero_shown=True)
    hidden = sum(count for count, visible in zip(left_out, shown, strict=True) if visible is None)
    start, end = int(steps["n_in"].iloc[0]), int(steps["n_remaining"].iloc[-1])
    is_start_rounded = 0 < hidden < source.threshold
    rows = [[BEGINNING, "", f"about {rounded(start):,}" if is_start_rounded else f"{start:,}"]]
    is_open = not is_start_rounded  # while nothing was hidden, what remains can be shown
    for number, (row, visible) in enumerate(zip(records(steps), shown, strict=True), start=1):
        is_open = is_open and visible is not None
        is_last = number == len(steps)
        remaining = f"{int(row['n_remaining']):,}" if (is_open or is_last) and end >= source.threshold else HIDDEN
        step = STEP_LABELS.get(row["step_name"], named(row["step_name"]))
        rows.append([step, "few" if visible is None else f"{visible:,}", remaining])
    return rows


def flow_picture(
    flow: pd.DataFrame, estimates: pd.DataFrame, outcomes: Mapping[str, str], source: Source
) -> Picture | None:
    """The same as boxes and arrows; steps that leave nobody out stand in the tables alone."""
    columns = {}
    for outcome, label in outcomes.items():
        rows = flow_rows(flow, outcome, source)
        if rows:
            steps = [rows[0], *(row for row in rows[1:-1] if row[1] != "0"), rows[-1]]
            columns[label] = [(step, left_out, "" if remaining == HIDDEN else remaining) for step, left_out, remaining in steps]  # fmt: skip
    if not columns:
        return None
    sizes = sizes_of(estimates, outcomes, source)
    return source.picture(
        figures.flow(columns, source.stamp(sizes)),
        "Flow diagram: boxes from all clients known to an organisation down to those analysed, with those left out beside each step, "
        "one column per outcome definition. The numbers are in the tables below.",
        "From all clients to those analysed (STROBE, item 13); steps that leave nobody out are in the tables. "
        "“few”: a count from which one below the threshold could be worked out.",
        sizes,
    )


def baseline_table(rows: pd.DataFrame, outcome: str, label: str, events: pd.DataFrame, spec: Specification,
                   outcomes: Mapping[str, str], source: Source) -> Table:  # fmt: skip
    """Table 1 of one outcome: everybody, and by pattern of change. Groups of a covariate that would tell of few people are hidden, and
    enough others with them."""
    own = rows[rows["outcome_id"] == outcome]
    groups = [str(group) for group in dict.fromkeys(own["group"]) if group != ALL]
    lines = []
    for term in dict.fromkeys(own["term"]):
        by_group = {row["group"]: row for row in records(own[own["term"] == term])}
        whole = by_group[ALL]
        is_shown = groups_shown([by_group[group] for group in groups], source.threshold)
        cells = [_group_cell(by_group[group]) if shown else NOT_SHOWN for group, shown in zip(groups, is_shown, strict=True)]  # fmt: skip
        lines.append([_term_name(str(term), whole["kind"], spec), _whole_cell(whole, source), _missing(int(whole["missing"]), source), *cells])  # fmt: skip
    sizes = {str(row["group"]): int(row["n"]) for row in records(own.drop_duplicates("group"))}
    pattern = own[own["group"] != ALL]
    rule = str(pattern["grouping"].iloc[0]).removeprefix("pattern_") if len(pattern) else ""
    of_what = f"{scale_name(str(pattern['scale'].iloc[0]))}, rated by the {pattern['rater'].iloc[0]}, by {RULE_LABELS.get(rule, rule)}" if len(pattern) else ""  # fmt: skip
    heads = [f"{GROUP_LABELS.get(group, group)} (about {source.about(sizes[group])})" for group in groups]
    return source.table(
        f"{label}: what clients were like at the origin, all and by pattern of change",
        ["Characteristic", f"All (n = {source.count(sizes.get(ALL, 0))})", "missing", *heads],
        lines,
        sizes_of(events[events["outcome_id"] == outcome], outcomes, source),
        f"Share of those known, or mean (SD) and median [quartiles]; as known at the origin, before imputation. Patterns: {of_what}. "
        f"Group sizes to the nearest 5. “{NOT_SHOWN}”: fewer than {source.threshold} on one side, or a group from which such a one could be worked out.",
    )


def groups_shown(groups: list[Record], threshold: int) -> list[bool]:
    """Whether each group of a covariate may be shown, where the whole is known.

    A group is hidden when it has too few with or too few without (yes or no), or too few observed (numbers); then others are hidden with
    it until those hidden together have enough of each, and are two at least.
    """
    parts = [_parts(group) for group in groups]
    hidden = {place for place, own in enumerate(parts) if not _is_enough(own, threshold)}
    if not hidden:
        return [True] * len(groups)
    rest = sorted(set(range(len(groups))) - hidden, key=lambda place: int(groups[place]["observed"]))
    while rest and (len(hidden) < 2 or not _is_enough([sum(column) for column in zip(*(parts[place] for place in hidden), strict=True)], threshold)):  # fmt: skip
        hidden.add(rest.pop(0))
    return [place not in hidden for place in range(len(groups))]


def _parts(row: Record) -> list[int]:
    observed = int(row["observed"])
    return [int(row["count"]), observed - int(row["count"])] if row["kind"] == YES_NO else [observed]


def _is_enough(parts: list[int], threshold: int) -> bool:
    return min(parts) >= threshold


def _term_name(term: str, kind: str, spec: Specification) -> str:
    if term not in spec.covariates:
        return score_name(term)
    covariate = spec.covariates[term]
    if covariate.transform in ("log1p", "divide"):
        return f"{covariate.column.replace('_', ' ')}, mean (SD)"
    return f"{covariate.label.partition(', per')[0]}{'' if kind == YES_NO else ', mean (SD)'}"


def _whole_cell(row: Record, source: Source) -> str:
    if not _is_enough(_parts(row), source.threshold):
        return NOT_SHOWN
    return percent(row["share"]) if row["kind"] == YES_NO else _spread(row)


def _group_cell(row: Record) -> str:
    return percent(row["share"]) if row["kind"] == YES_NO else f"{row['mean']:.2f} ({row['sd']:.2f})"


def _spread(row: Record) -> str:
    return f"{row['mean']:.2f} ({row['sd']:.2f})\n{row['median']:.1f} [{row['q1']:.1f}, {row['q3']:.1f}]"


def _missing(count: int, source: Source) -> str:
    return "0" if count == 0 else source.about(count)
