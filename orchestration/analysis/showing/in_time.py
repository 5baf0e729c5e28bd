"""How many reoffend and when: survival, log-rank tests, restricted means, risks, competing events, states.

Groups are those of the grouped scale as the first rater rated it, by tertile and by pattern; their sizes are shown to the nearest 5.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestration.analysis.grouping import PATTERNS, TERTILE
from orchestration.analysis.showing import figures_time
from orchestration.analysis.showing.labels import CAUSE_LABELS, RULE_LABELS, STATE_LABELS, scale_name
from orchestration.analysis.showing.small_cells import STEP_EVENTS, coarse_curve, rounded, suppress
from orchestration.analysis.showing.source import (
    HIDDEN,
    NBSP,
    NOT_SHOWN,
    Picture,
    Record,
    Source,
    Table,
    about_sizes,
    is_missing,
    named,
    p_text,
    percent,
    records,
    sizes_of,
)
from orchestration.analysis.specification import Specification


def of_drawn_groups(rows: pd.DataFrame, spec: Specification, grouping: str = TERTILE) -> pd.DataFrame:
    """The rows of the groups that curves are drawn of: those of the grouped scale as the first rater rated it."""
    rules = spec.recidivism
    return rows[(rows["grouping"] == grouping) & (rows["rater"] == rules.rater) & (rows["scale"] == rules.grouped_scale)]  # fmt: skip


def pattern_groupings(spec: Specification) -> list[str]:
    """The groupings by pattern, one for each rule; the first is drawn."""
    return [f"pattern_{rule}" for rule in spec.recidivism.pattern_rules]


def grouping_name(grouping: str, spec: Specification) -> str:
    """What a grouping is called: `Trust at T2, in 3 groups`."""
    scale = scale_name(spec.recidivism.grouped_scale)
    if grouping == TERTILE:
        return f"{scale} at {spec.recidivism.wave.upper()}, in {len(spec.recidivism.groups)} groups"
    rule = grouping.removeprefix("pattern_")
    return f"{scale} {spec.recidivism.pattern_span}, pattern by {RULE_LABELS.get(rule, rule)}"


def survival_picture(curves: pd.DataFrame, tests: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source,
                     grouping: str = TERTILE) -> Picture | None:  # fmt: skip
    """Kaplan-Meier by group, drawn as coarsely as `coarse_curve` asks."""
    groups = list(spec.recidivism.groups if grouping == TERTILE else PATTERNS)
    part = of_drawn_groups(curves, spec, grouping)
    coarse = [coarse_curve(group, source.threshold) for _, group in part.groupby(["outcome_id", "group"], sort=False)]
    points = pd.concat(coarse) if coarse else part
    points = points[points["group"].isin(groups)]
    if not len(points):
        return None
    grid = part[part["month"].isin(range(0, 49, 12)) & part["group"].isin(groups)]
    at_risk = grid.assign(
        shown=[source.less() if count < source.threshold else str(rounded(int(count))) for count in grid["at_risk"]]
    )
    sizes = about_sizes(of_drawn_groups(tests, spec, grouping), outcomes, source)
    what = grouping_name(grouping, spec)
    return source.picture(
        figures_time.survival(points, at_risk, dict(outcomes), groups, what.partition(", ")[0], source.stamp(sizes)),
        f"Kaplan–Meier curves of staying without recidivism for clients by group ({what}: {', '.join(groups)}), one panel "
        "per outcome definition, with numbers at risk. The tests are in the table below.",
        f"Kaplan–Meier by group of {spec.recidivism.rater}-rated {what}, as observed (clients without a rating are left out). Drawn coarsely: "
        f"each point comes after at least {STEP_EVENTS} further events, with at least {source.threshold} people still at risk.",
        sizes,
    )


def log_rank_table(tests: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:
    """The test of the groups of the grouped scale, by tertile and by each rule."""
    rows = []
    for grouping in (TERTILE, *pattern_groupings(spec)):
        for row in records(of_drawn_groups(tests, spec, grouping)):
            is_shown = int(row["events"]) >= source.threshold and not is_missing(row["p_value"])
            numbers = [f"{row['statistic']:.2f}", str(int(row["groups"]) - 1), p_text(row["p_value"])] if is_shown else [NOT_SHOWN, "", ""]  # fmt: skip
            name = f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {grouping_name(grouping, spec)}"
            rows.append([name, source.about(int(row["n"])), source.about(int(row["events"])), *numbers])
    return source.table(
        "Log-rank tests of the groups", ["Outcome: groups", "n, to 5", "events, to 5", "chi-square", "df", "p"], rows,
        about_sizes(of_drawn_groups(tests, spec), outcomes, source),
    )  # fmt: skip


def restricted_mean_table(rows: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:  # fmt: skip
    """Mean days without recidivism up to the horizon; a grouping is shown when each of its groups has events enough, and people without."""
    lines = []
    for grouping in ("all", TERTILE, *pattern_groupings(spec)[:1]):
        own = rows[rows["grouping"] == "all"] if grouping == "all" else of_drawn_groups(rows, spec, grouping)
        for outcome, part in own.groupby("outcome_id", sort=False):
            start = outcomes.get(str(outcome), str(outcome))
            if min(part["events"].min(), (part["n"] - part["events"]).min()) < source.threshold:
                lines.append([f"{start}: {grouping_name(grouping, spec) if grouping != 'all' else 'all'}", NOT_SHOWN, "", "", ""])  # fmt: skip
                continue
            for row in records(part):
                against = "" if is_missing(row["compared_with"]) or not row["compared_with"] else f" less {row['compared_with']}"  # fmt: skip
                if is_missing(row["days"]):
                    lines.append([f"{start}: {row['group']}{against}", source.about(int(row["n"])), str(row["note"] or "–"), "", ""])  # fmt: skip
                    continue
                days = f"{row['days']:+.1f}" if against else f"{row['days']:.1f}"
                p = p_text(row["p_value"]) if against else ""
                lines.append([f"{start}: {row['group']}{against}", source.about(int(row["n"])), days, f"[{row['conf_low']:.1f}, {row['conf_high']:.1f}]", p])  # fmt: skip
    return source.table(
        f"Restricted mean: days at risk without recidivism in the first {spec.recidivism.restricted_mean_months:g} months",
        ["Outcome: group", "n, to 5", "days", "95 % interval", "p of difference"], lines,
        sizes_of(rows[rows["grouping"] == "all"], outcomes, source),
        f"Royston & Parmar 2013. A grouping is shown when each of its groups has {source.threshold} events and {source.threshold} people without one.",
    )  # fmt: skip


def is_small_risk(row: Record, source: Source) -> bool:
    """Too few events, too few left at risk, or too few without an event to show a risk."""
    return bool(min(row["events"], row["at_risk"], row["n"] - row["events"]) < source.threshold)


def shown_risks(risks: pd.DataFrame, source: Source) -> list[tuple[Record, bool]]:
    """Every row in its order and whether it may be shown: not when it adds too few events to the row of its group that was shown before."""
    found = []
    shown_events: dict[tuple[str, str], int] = {}
    for row in records(risks):
        key = (row["outcome_id"], row["group"])
        added = int(row["events"]) - shown_events.get(key, 0)
        is_shown = not (is_missing(row["risk"]) or is_small_risk(row, source) or added < source.threshold)
        if is_shown:
            shown_events[key] = int(row["events"])
        found.append((row, is_shown))
    return found


def risk_table(risks: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> Table:
    """Absolute risks of everybody."""
    everybody = risks[risks["grouping"] == "all"]
    rows = []
    for row, is_shown in shown_risks(everybody, source):
        name = f"{outcomes[row['outcome_id']]}, {int(row['months'])} months"
        numbers = (
            [source.count(int(row["events"])), percent(row["risk"], 1), f"{percent(row['conf_low'], 1)} to {percent(row['conf_high'], 1)}"]
            if is_shown
            else ["", "", "not shown: too few further events, or too few followed"]
        )  # fmt: skip
        rows.append([name, source.count(int(row["n"])), *numbers])
    return source.table(
        "Share with recidivism, Kaplan–Meier, by months at risk since the origin",
        ["Outcome, time", "n", "events so far", "risk", "95 % interval"], rows, sizes_of(everybody, outcomes, source),
        "Follow-up ends at the register's cut-off less the registration lag; time in detention is not time at risk.",
    )  # fmt: skip


def group_risk_table(risks: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:
    """The same by group of the grouped scale, a column for each time."""
    own = of_drawn_groups(risks, spec)
    cells: dict[tuple[str, str], dict[int, str]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for row, is_shown in shown_risks(own, source):
        key = (row["outcome_id"], row["group"])
        said = f"{percent(row['risk'])} [{percent(row['conf_low'])},{NBSP}{percent(row['conf_high'])}]"
        cells.setdefault(key, {})[int(row["months"])] = said if is_shown else NOT_SHOWN
        sizes[key] = int(row["n"])
    months = list(dict.fromkeys(int(month) for month in own["months"]))
    return source.table(
        f"Share with recidivism by {grouping_name(TERTILE, spec)} [95 % interval]",
        ["Outcome: group", "n, to 5", *[f"{month} months" for month in months]],
        [[f"{outcomes[outcome]}: {group}", source.about(sizes[outcome, group]), *[by_month.get(month, "") for month in months]]
         for (outcome, group), by_month in cells.items()],
        about_sizes(own, outcomes, source),
        f"“{NOT_SHOWN}”: fewer than {source.threshold} further events, without one, or still followed.",
    )  # fmt: skip


def shown_incidence(rows: pd.DataFrame, spec: Specification, source: Source) -> pd.DataFrame:
    """The points of the cumulative incidence of everybody that may be shown, each cause coarse."""
    part = rows[rows["grouping"] == "all"]
    coarse = [coarse_curve(curve, source.threshold) for _, curve in part.groupby(["outcome_id", "cause"], sort=False)]
    found = pd.concat(coarse) if coarse else part
    return found[found["month"] > 0]


def incidence_picture(rows: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Picture | None:  # fmt: skip
    """Cumulative incidence of recidivism beside the events that compete with it."""
    points = shown_incidence(rows, spec, source)
    if not len(points):
        return None
    causes = {cause: CAUSE_LABELS.get(cause, cause) for cause in ("event", *spec.recidivism.competing_events) if cause in set(points["cause"])}  # fmt: skip
    zero = rows[(rows["grouping"] == "all") & (rows["month"] == 0) & rows["cause"].isin(causes)]
    sizes = incidence_sizes(rows, outcomes, source)
    return source.picture(
        figures_time.incidence(pd.concat([zero, points]), dict(outcomes), causes, source.stamp(sizes)),
        "Cumulative incidence of recidivism and of the events that compete with it, one panel per outcome definition. Causes of which too "
        "few occurred are not drawn. The numbers are in the table below.",
        f"Cumulative incidence (Aalen–Johansen) of a first event of any kind. Each point comes after at least {STEP_EVENTS} further events.",
        sizes,
    )


def incidence_table(rows: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:
    """The same points as numbers, at the months that risks are given for or the last that may be shown before."""
    points = shown_incidence(rows, spec, source)
    lines = []
    for outcome, label in outcomes.items():
        for cause in ("event", *spec.recidivism.competing_events):
            own = points[(points["outcome_id"] == outcome) & (points["cause"] == cause)].sort_values("month")
            picked = list(dict.fromkeys(int(own[own["month"] <= month]["month"].max()) for month in spec.recidivism.risk_months if (own["month"] <= month).any()))  # fmt: skip
            lines += [
                [f"{label}: {CAUSE_LABELS.get(cause, cause)}, {int(row['month'])} months", percent(row["risk"]), f"{percent(row['conf_low'])} to {percent(row['conf_high'])}"]
                for row in records(own[own["month"].isin(picked)])
            ] or [[f"{label}: {CAUSE_LABELS.get(cause, cause)}", "too few", ""]]  # fmt: skip
    return source.table(
        "Cumulative incidence of a first event, by its cause", ["Outcome: cause, time", "incidence", "95 % interval"], lines,
        incidence_sizes(rows, outcomes, source),
        "Whoever is detained first is not counted as reoffending after it: so lower than Kaplan–Meier. By group of the scale it is in the fit.",
    )  # fmt: skip


def incidence_sizes(rows: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> str:
    """Those whose first event is looked at are a few less than the cohort: to the nearest 5."""
    part = rows[(rows["grouping"] == "all") & (rows["cause"] == "event")]
    return about_sizes(part.assign(events=part.groupby("outcome_id")["events"].transform("max")), outcomes, source)


def state_table(rows: pd.DataFrame, outcomes: Mapping[str, str], events: pd.DataFrame, source: Source) -> Table:
    """Where everybody is at each month: detention as a state of its own. Small states are hidden, and another with them."""
    part = rows[rows["grouping"] == "all"]
    lines = []
    for (outcome, month), group in part.groupby(["outcome_id", "month"], sort=False):
        n = int(group["n"].iloc[0])
        counts = [round(n * probability) for probability in group["probability"]]
        shown = suppress(counts, source.threshold)
        cells = [HIDDEN if visible is None else f"{percent(row['probability'])}\n[{percent(row['conf_low'])}, {percent(row['conf_high'])}]"
                 for row, visible in zip(records(group), shown, strict=True)]  # fmt: skip
        by_state = dict(zip(group["state"], cells, strict=True))
        label = outcomes.get(str(outcome), named(str(outcome)))
        lines.append([f"{label}, {month} months", source.about(n), *(by_state.get(state, "") for state in STATE_LABELS)])  # fmt: skip
    own = events[events["process"] == "at_risk_to_event"] if "process" in events else events
    sizes = about_sizes(own[own["outcome_id"].isin(part["outcome_id"])], outcomes, source)
    return source.table(
        "Where clients are, with detention as a state of its own",
        ["Outcome, time", "n, to 5", *STATE_LABELS.values()], lines, sizes,
        f"Aalen–Johansen. “{HIDDEN}”: fewer than {source.threshold} are in the state, or it could be worked out from the others.",
    )  # fmt: skip
