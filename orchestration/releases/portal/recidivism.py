"""Question 3: how many reoffend and when, and whether the alliance goes with it; the same over every definition of the outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis.grouping import ALL, PATTERNS, TERTILE
from orchestration.analysis.multiverse import LEVEL, holm
from orchestration.analysis.showing import figures, figures_time
from orchestration.analysis.showing.hazards import own_rows
from orchestration.analysis.showing.in_time import of_drawn_groups, pattern_groupings
from orchestration.analysis.showing.source import Table, is_missing, records
from orchestration.releases.portal.alliance import dashed
from orchestration.releases.portal.parts import Block, Figure, Page, Part, Section, Writer

APART = 5  # months between two numbers at risk under a curve, at least: nearer they would lie over each other


def recidivism_page(writer: Writer) -> Page:
    """The page of question 3."""
    words = writer.words
    sections = [
        Section("survival", words("recidivism.survival_title"), _survival(writer), words("recidivism.survival_lead")),
        Section("incidence", words("recidivism.incidence_title"), [Block("", _incidence(writer))], words("recidivism.incidence_lead")),
        Section("hazards", words("recidivism.hazards_title"), _hazards(writer), words("recidivism.hazards_lead")),
        Section("terms", words("recidivism.terms_title"), [Block("", _terms(writer))], words("recidivism.terms_lead")),
        Section("processes", words("recidivism.processes_title"), _processes(writer), words("recidivism.processes_lead")),
        Section("predicted", words("recidivism.predicted_title"), _predicted(writer), words("recidivism.predicted_lead")),
    ]  # fmt: skip
    return Page("recidivism", words("recidivism.title"), words("recidivism.lead"), sections)


def grouping_name(writer: Writer, grouping: str) -> str:
    """What a grouping of the drawn scale is called."""
    spec, words = writer.content.spec.recidivism, writer.words
    named = {"scale": words.name("scale", spec.grouped_scale), "rater": words.name("rater", spec.rater)}
    if grouping == ALL:
        return words("recidivism.everybody")
    if grouping == TERTILE:
        return words("recidivism.by_tertile", wave=spec.wave.upper(), number=len(spec.groups), **named)
    rule = words.name("rule_of_change", grouping.removeprefix("pattern_"))
    return words("recidivism.by_pattern", span=dashed(spec.pattern_span), rule=rule, **named)


def _survival(writer: Writer) -> list[Block]:
    blocks = []
    for grouping in (ALL, TERTILE, *pattern_groupings(writer.content.spec)[:1]):
        name = grouping_name(writer, grouping)
        part = _of_grouping(writer, "survival_curves", grouping)
        if not len(part):
            blocks.append(Block(name, [writer.absent("survival_curves")]))
            continue
        blocks += [Block(name, [_survival_picture(writer, part, grouping)]), Block(writer.words("beside"), [_curve_table(writer, part, "survival", "survival_curves", name)], is_open=False)]  # fmt: skip
    parts: list[Part] = [_log_rank(writer) if writer.has("log_rank") else writer.absent("log_rank")]
    parts.append(_restricted_means(writer) if writer.has("restricted_mean") else writer.absent("restricted_mean"))
    return [
        *blocks,
        Block(writer.words("recidivism.risks_title"), _risks(writer)),
        Block(writer.words("recidivism.compared"), parts),
    ]


def _of_grouping(writer: Writer, item: str, grouping: str) -> pd.DataFrame:
    """The rows of everybody, or of the groups that are drawn."""
    if not writer.has(item):
        return pd.DataFrame({"grouping": []})
    frame = writer.frame(item)
    return frame[frame["grouping"] == ALL] if grouping == ALL else of_drawn_groups(frame, writer.content.spec, grouping)


def _survival_picture(writer: Writer, part: pd.DataFrame, grouping: str) -> Figure:
    rules, words = writer.content.spec.recidivism, writer.words
    order = {ALL: [ALL], TERTILE: [*rules.groups]}.get(grouping, [*PATTERNS])
    groups = [group for group in order if group in set(part["group"])]
    labels = {group: words.name("group", group) for group in groups}
    gone = [words.name("group", group) for group in order if group not in groups]
    curves = part[part["group"].isin(groups)].assign(group=part["group"].map(labels))
    kept = [_spread_months(own) for _, own in curves.groupby(["outcome_id", "group"], sort=False)]
    at_risk = pd.concat(kept).assign(shown=lambda rows: [words.count(n) for n in rows["at_risk"]])
    titles = {name: label for name, label in writer.outcomes.items() if name in set(curves["outcome_id"])}
    name = grouping_name(writer, grouping)
    return writer.figure(
        f"survival-{grouping.replace('_', '-')}",
        lambda stamp: figures_time.survival(curves, at_risk, titles, list(labels.values()), name.partition(", ")[0], stamp),
        words("recidivism.survival_caption", grouping=name, steps=writer.content.rules.step_events, threshold=writer.content.rules.threshold)
        + (f" {words('recidivism.gone', groups=', '.join(gone))}" if gone else ""),
        words("recidivism.survival_alternative", grouping=name, groups=", ".join(labels.values())), writer.sizes(_whole(writer, part)), ["survival_curves"],
    )  # fmt: skip


def _spread_months(curve: pd.DataFrame) -> pd.DataFrame:
    """The points of a curve whose numbers at risk can stand beside each other."""
    kept, last = [], -np.inf
    for index, month in curve.sort_values("month")["month"].items():
        if month - last >= APART:
            kept.append(index)
            last = float(month)
    return curve.loc[kept]


def _whole(writer: Writer, part: pd.DataFrame) -> pd.DataFrame:
    """What the groups were tested with, which has n and events of all of them; without it, the groups' own."""
    if not writer.has("log_rank") or (part["grouping"] == ALL).all():
        return part.drop(columns="events", errors="ignore")
    tests = of_drawn_groups(writer.frame("log_rank"), writer.content.spec)
    found = tests[tests["outcome_id"].isin(set(part["outcome_id"]))]
    return found if len(found) else part.drop(columns="events", errors="ignore")


def _curve_table(writer: Writer, part: pd.DataFrame, share: str, item: str, name: str) -> Table:
    words = writer.words
    label = {"survival_curves": "group"}.get(item, "cause")
    kind = "cause" if label == "cause" else "group"
    rows = [
        [f"{words.name('outcome', row['outcome_id'])}: {words.name(kind, row[label])}, {words('recidivism.month', month=words.count(row['month']))}",
         words.percent(row[share]), words.span(words.percent(row["conf_low"]), words.percent(row["conf_high"])), words.count(row["at_risk"])]
        for row in records(part) if not is_missing(row[share])
    ]  # fmt: skip
    return writer.table(
        words("recidivism.points", what=name),
        [words("recidivism.outcome_group_month"), words(f"recidivism.{share}"), words("interval"), words("recidivism.at_risk")],
        rows, writer.sizes(_whole(writer, part) if label == "group" else part.drop(columns="events", errors="ignore")), [item],
    )  # fmt: skip


def _log_rank(writer: Writer) -> Table:
    words, spec = writer.words, writer.content.spec
    frame = writer.frame("log_rank")
    rows = [
        [f"{words.name('outcome', row['outcome_id'])}: {grouping_name(writer, grouping)}", words.count(row["n"]), words.count(row["events"]),
         words.number(row["statistic"]), str(int(row["groups"]) - 1), words.p(row["p_value"])]
        for grouping in (TERTILE, *pattern_groupings(spec)) for row in records(of_drawn_groups(frame, spec, grouping))
    ]  # fmt: skip
    return writer.table(
        words("recidivism.log_rank_caption"), [words("recidivism.outcome_groups"), "n", words("events"), words("chi_squared"), "df", "p"],
        rows, writer.sizes(of_drawn_groups(frame, spec) if len(of_drawn_groups(frame, spec)) else frame), ["log_rank"],
    )  # fmt: skip


def _restricted_means(writer: Writer) -> Table:
    words, spec = writer.words, writer.content.spec
    frame = writer.frame("restricted_mean")
    rows = []
    for grouping in (ALL, TERTILE, *pattern_groupings(spec)[:1]):
        own = frame[frame["grouping"] == ALL] if grouping == ALL else of_drawn_groups(frame, spec, grouping)
        for row in records(own):
            against = (
                None if is_missing(row["compared_with"]) or not row["compared_with"] else str(row["compared_with"])
            )
            group = words.name("group", row["group"])
            name = group if against is None else words("recidivism.less", one=group, other=words.name("group", against))
            days, sign = words.number(row["days"], 1, "" if against is None else "+"), "" if against is None else "+"
            rows.append([f"{words.name('outcome', row['outcome_id'])}: {name}", words.count(row["n"]), days, words.interval(row, 1, sign=sign), "" if against is None else words.p(row["p_value"])])  # fmt: skip
    return writer.table(
        words("recidivism.restricted_caption", months=f"{spec.recidivism.restricted_mean_months:g}"),
        [words("recidivism.outcome_group"), "n", words("recidivism.days"), words("interval"), words("recidivism.p_difference")],
        rows, writer.sizes(frame), ["restricted_mean"], words("recidivism.restricted_note"),
    )  # fmt: skip


def _risks(writer: Writer) -> list[Part]:
    if not writer.has("absolute_risk"):
        return [writer.absent("absolute_risk")]
    words, frame, spec = writer.words, writer.frame("absolute_risk"), writer.content.spec
    own = pd.concat([frame[frame["grouping"] == ALL], of_drawn_groups(frame, spec)])
    months = sorted({int(month) for month in own["months"]})
    cells = {(row["outcome_id"], row["group"], int(row["months"])): row for row in records(own)}
    lines = dict.fromkeys((outcome, group) for outcome, group, _ in cells)
    rows = [
        [f"{words.name('outcome', outcome)}: {words.name('group', group)}",
         *[_risk(writer, cells[outcome, group, month]) if (outcome, group, month) in cells else words("hidden") for month in months]]
        for outcome, group in lines
    ]  # fmt: skip
    sizes = writer.sizes(own[own["grouping"] == ALL] if (own["grouping"] == ALL).any() else own)
    return [
        writer.table(
            words("recidivism.risks_caption"), [words("recidivism.outcome_group"), *[words("recidivism.month", month=month) for month in months]],
            rows, sizes, ["absolute_risk"], words("recidivism.risks_note"),
        )
    ]  # fmt: skip


def _risk(writer: Writer, row: dict[str, object]) -> str:
    words = writer.words
    low, high = (words.percent(float(str(row[part]))) for part in ("conf_low", "conf_high"))
    return f"{words.percent(float(str(row['risk'])))} {words.span(low, high)}"


def _incidence(writer: Writer) -> list[Part]:
    frame = (
        writer.frame("cumulative_incidence") if writer.has("cumulative_incidence") else pd.DataFrame({"grouping": []})
    )
    part = frame[frame["grouping"] == ALL]
    if not len(part):
        return [writer.absent("cumulative_incidence")]
    words, spec = writer.words, writer.content.spec
    causes = {
        name: words.name("cause", name)
        for name in ("event", *spec.recidivism.competing_events)
        if name in set(part["cause"])
    }
    titles = {name: label for name, label in writer.outcomes.items() if name in set(part["outcome_id"])}
    sizes = writer.sizes(part.drop(columns="events", errors="ignore"))
    picture = writer.figure(
        "incidence", lambda stamp: figures_time.incidence(part, titles, causes, stamp), words("recidivism.incidence_caption"),
        words("recidivism.incidence_alternative", causes=", ".join(causes.values())), sizes, ["cumulative_incidence"],
    )  # fmt: skip
    return [picture, _curve_table(writer, part, "risk", "cumulative_incidence", words("recidivism.incidence_title"))]


def _hazards(writer: Writer) -> list[Block]:
    if not writer.has("estimates"):
        return [Block("", [writer.absent("estimates")])]
    words, frame = writer.words, writer.frame("estimates")
    blocks = []
    for place, rater in enumerate(writer.content.spec.recidivism.raters):
        own = own_rows(frame, rater)
        own = own[own["estimate"].notna()]
        if not len(own):
            continue
        name = words("rated_by", rater=words.name("rater", rater))
        blocks += [
            Block(name, [_forest(writer, own, rater)], is_open=place == 0),
            Block(f"{words('beside')} ({name})", [_hazard_table(writer, own, rater)], is_open=False),
        ]  # fmt: skip
    return blocks or [Block("", [writer.absent("estimates")])]


def _forest(writer: Writer, own: pd.DataFrame, rater: str) -> Figure:
    words, rules = writer.words, writer.content.spec.recidivism
    titles = {name: label for name, label in writer.outcomes.items() if name in set(own["outcome_id"])}
    scales = {name: words.name("scale", name) for name in rules.scales if name in set(own["scale"])}
    adjustments = {name: words.name("adjustment", name) for name in rules.adjustments if name in set(own["adjustment"])}
    return writer.figure(
        f"forest-{rater}", lambda stamp: figures.forest(own, titles, scales, adjustments, stamp),
        words("recidivism.hazards_caption", rater=words.name("rater", rater), wave=rules.wave.upper()),
        words("recidivism.hazards_alternative", rater=words.name("rater", rater), scales=", ".join(scales.values())), writer.sizes(own), ["estimates"],
    )  # fmt: skip


def _hazard_table(writer: Writer, own: pd.DataFrame, rater: str) -> Table:
    words = writer.words
    rows = [
        [f"{words.name('outcome', row['outcome_id'])}: {words.name('scale', row['scale'])}, {words.name('adjustment', row['adjustment'])}",
         words.count(row["n"]), words.count(row["events"]), words.ratio(row), words.p(row["p_value"]), words.percent(row["fraction_missing"])]
        for row in records(own)
    ]  # fmt: skip
    return writer.table(
        words("recidivism.hazards_table", rater=words.name("rater", rater)),
        [words("recidivism.outcome_model"), "n", words("events"), words("recidivism.ratio"), "p", words("recidivism.missing")],
        rows, writer.sizes(own), ["estimates"], words("recidivism.hazards_note"),
    )  # fmt: skip


def widest(writer: Writer) -> str:
    """The adjustment with most covariates."""
    adjustments = writer.content.spec.recidivism.adjustments
    return max(adjustments, key=lambda name: len(adjustments[name]))


def _terms(writer: Writer) -> list[Part]:
    if not writer.has("estimates"):
        return [writer.absent("estimates")]
    words, rules, frame = writer.words, writer.content.spec.recidivism, writer.frame("estimates")
    is_own = (frame["rater"] == rules.rater) & (frame["exposure"] == "score") & (frame["scale"] == rules.grouped_scale)
    own = frame[is_own & (frame["adjustment"] == widest(writer)) & ~frame["model_id"].str.endswith(".split")]
    if not len(own):
        return [writer.absent("estimates")]
    outcomes = [str(name) for name in dict.fromkeys(own["outcome_id"])]
    cells = {(row["term"], row["outcome_id"]): row for row in records(own)}
    terms = list(dict.fromkeys(str(term) for term in own["term"]))
    rows = [
        [term_name(writer, term), *[words.ratio(cells[term, outcome]) if (term, outcome) in cells else words("hidden") for outcome in outcomes]]
        for term in terms
    ]  # fmt: skip
    return [
        writer.table(
            words("recidivism.terms_caption", scale=words.name("scale", rules.grouped_scale), rater=words.name("rater", rules.rater)),
            [words("recidivism.term"), *[words.name("outcome", outcome) for outcome in outcomes]], rows, writer.sizes(own), ["estimates"],
            words("recidivism.terms_note"),
        )
    ]  # fmt: skip


def term_name(writer: Writer, term: str) -> str:
    """A term of a Cox model in words: a scale, a part of one, or a covariate."""
    names = writer.words.texts["names"]
    if term in names["scale"]:
        return writer.words.name("scale", term)
    scale, _, part = term.rpartition("_")
    if scale in names["scale"] and part in names["exposed"]:
        return f"{writer.words.name('scale', scale)}, {writer.words.name('exposed', part)}"
    return writer.words.name("term", term)


def _processes(writer: Writer) -> list[Block]:
    if not writer.has("process_estimates"):
        return [Block("", [writer.absent("process_estimates")])]
    words, frame = writer.words, writer.frame("process_estimates")
    own = frame[(frame["term"] == frame["scale"]) & frame["estimate"].notna()]
    own = own[(own["rater"] == writer.content.spec.recidivism.rater) & (own["adjustment"] == widest(writer))]
    if not len(own):
        return [Block("", [writer.absent("process_estimates")])]
    drawn = own["scale"] == writer.content.spec.recidivism.grouped_scale
    blocks = [Block("", [_process_table(writer, own[drawn], "processes_caption")])] if drawn.any() else []
    return [
        *blocks,
        *(
            [
                Block(
                    words("recidivism.other_scales"),
                    [_process_table(writer, own[~drawn], "processes_other")],
                    is_open=False,
                )
            ]
            if (~drawn).any()
            else []
        ),
    ]


def _process_table(writer: Writer, own: pd.DataFrame, caption: str) -> Table:
    words = writer.words
    rows = [
        [f"{words.name('outcome', row['outcome_id'])}: {words.name('process', row['process'])}, {words.name('scale', row['scale'])}",
         words.count(row["n"]), words.count(row["events"]), words.ratio(row), words.p(row["p_value"])]
        for row in records(own)
    ]  # fmt: skip
    return writer.table(
        words(f"recidivism.{caption}"), [words("recidivism.outcome_model"), "n", words("events"), words("recidivism.ratio"), "p"],
        rows, writer.sizes(own), ["process_estimates"], words("recidivism.processes_note"),
    )  # fmt: skip


def _predicted(writer: Writer) -> list[Block]:
    parts: list[Part] = []
    for item, column in (("risk_by_level", "level"), ("reference_risk", "person")):
        if not writer.has(item):
            parts.append(writer.absent(item))
            continue
        parts.append(_risk_table(writer, item, column))
    return [Block("", parts[:1]), Block(writer.words("recidivism.reference_title"), parts[1:], is_open=False)]


def _risk_table(writer: Writer, item: str, column: str) -> Table:
    words, frame = writer.words, writer.frame(item)
    scale = writer.content.spec.recidivism.grouped_scale
    own = frame[(frame["scale"] == scale) & frame["risk"].notna()]
    if (own["adjustment"] == widest(writer)).any():
        own = own[own["adjustment"] == widest(writer)]
    months = sorted({int(month) for month in own["months"]})
    cells = {(row["outcome_id"], row[column], int(row["months"])): row for row in records(own)}
    lines = dict.fromkeys((outcome, who) for outcome, who, _ in cells)
    rows = [
        [f"{words.name('outcome', outcome)}: {_who(writer, column, who)}",
         *[_risk(writer, cells[outcome, who, month]) if (outcome, who, month) in cells else words("hidden") for month in months]]
        for outcome, who in lines
    ]  # fmt: skip
    return writer.table(
        words(f"recidivism.{item}_caption", scale=words.name("scale", scale)),
        [words(f"recidivism.{column}"), *[words("recidivism.month", month=month) for month in months]], rows, writer.sizes(own), [item],
        words(f"recidivism.{item}_note"),
    )  # fmt: skip


def _who(writer: Writer, column: str, who: object) -> str:
    return writer.words.number(float(str(who)), 0) if column == "level" else writer.words.name("person", who)


def multiverse_page(writer: Writer) -> Page:
    """Every model of a single score side by side: over all definitions of the outcome where that was computed, else over those of the fit."""
    words = writer.words
    item = "multiverse" if writer.has("multiverse") else "estimates"
    section = Section(
        "curve", words("multiverse.curve_title"), _multiverse(writer, item), words("multiverse.curve_lead")
    )
    parts: list[Part] = [
        _definitions(writer) if writer.has("outcome_definition") else writer.absent("outcome_definition")
    ]
    defined = Section("definitions", words("multiverse.definitions_title"), [Block("", parts)], words("multiverse.definitions_lead"))  # fmt: skip
    return Page("multiverse", words("multiverse.title"), words("multiverse.lead"), [section, defined])


def _multiverse(writer: Writer, item: str) -> list[Block]:
    words, rules = writer.words, writer.content.spec.recidivism
    if not writer.has(item):
        return [Block("", [writer.absent("estimates")])]
    frame = pd.concat([own_rows(writer.frame(item), rater) for rater in rules.raters])
    rows = frame[frame["estimate"].notna()].reset_index(drop=True)
    if "exposure" in rows:
        rows = rows[rows["exposure"] == "score"].reset_index(drop=True)
    if not len(rows):
        return [Block("", [writer.absent("estimates")])]
    if "p_holm" not in rows:
        rows = rows.assign(p_holm=holm(rows["p_value"]))
    parts: list[Part] = [] if item == "multiverse" else [writer.absent("multiverse")]
    return [
        Block("", [*parts, _curve(writer, rows, item)]),
        Block(words("beside"), [_model_table(writer, rows, item)], is_open=False),
    ]


def _curve(writer: Writer, rows: pd.DataFrame, item: str) -> Figure:
    words = writer.words
    kinds = {"outcome_id": "outcome", "scale": "scale", "rater": "rater", "adjustment": "adjustment"}
    named = rows.assign(**{column: [words.name(kind, code) for code in rows[column]] for column, kind in kinds.items()})
    below, below_holm = (int((rows[name] < LEVEL).sum()) for name in ("p_value", "p_holm"))
    return writer.figure(
        "multiverse", lambda stamp: figures.specification_curve(named, stamp),
        words("multiverse.curve_caption", models=words.count(len(rows)), below=words.count(below), holm=words.count(below_holm)),
        words("multiverse.curve_alternative"), writer.sizes(rows), [item], writer.all_sizes(rows),
    )  # fmt: skip


def _model_table(writer: Writer, rows: pd.DataFrame, item: str) -> Table:
    words = writer.words
    lines = [
        [f"{words.name('outcome', row['outcome_id'])}: {words.name('scale', row['scale'])}, {words.name('rater', row['rater'])}, {words.name('adjustment', row['adjustment'])}",
         writer.count(row["n"]), writer.count(row["events"]), words.ratio(row), words.p(row["p_value"]), words.p(row["p_holm"])]
        for row in records(rows.sort_values(["estimate", "model_id"], kind="stable"))
    ]  # fmt: skip
    return writer.table(
        words("multiverse.table"), [words("recidivism.outcome_model"), "n", words("events"), words("recidivism.ratio"), "p", words("multiverse.holm")],
        lines, writer.sizes(rows), [item], words("multiverse.note"),
    )  # fmt: skip


def _definitions(writer: Writer) -> Table:
    words, frame = writer.words, writer.frame("outcome_definition")
    columns = [str(name) for name in frame if str(name) in words.texts["names"]["definition"] and name != "outcome_id"]
    rows = [
        [words.name("outcome", row["outcome_id"]), "; ".join(f"{words.name('definition', name)}: {_cell(writer, row[name])}" for name in columns)]
        for row in records(frame)
    ]  # fmt: skip
    heads = [words("outcome"), words("multiverse.definition")]
    return writer.table(words("multiverse.definitions_caption"), heads, rows, writer.no_people(), ["outcome_definition"], is_wordy=True)  # fmt: skip


def _cell(writer: Writer, value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return writer.words("yes" if value else "no")
    if isinstance(value, int | float):
        return "–" if is_missing(value) else f"{value:g}"
    return writer.words.name("definition_value", value)
