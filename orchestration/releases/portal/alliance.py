"""Questions 1 and 2: how the alliance develops, patterns of change, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from orchestration.analysis.development import ALL_PAIRS, PATTERNS
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.change import as_imputed
from orchestration.analysis.showing.source import NBSP, Record, Table, in_order, is_missing, records
from orchestration.releases.portal.parts import Block, Figure, Page, Part, Section, Writer

YEAR = 12


def alliance_page(writer: Writer) -> Page:
    """The page of question 1."""
    words = writer.words
    sections = [
        Section("waves", words("alliance.waves_title"), [Block("", _waves(writer))], words("alliance.waves_lead")),
        Section("growth", words("alliance.growth_title"), [Block("", _or_absent(writer, "growth", _growth))], words("alliance.growth_lead")),
        Section("raters", words("alliance.raters_title"), [Block("", [*_or_absent(writer, "rater_agreement", _agreement), *_or_absent(writer, "rater_convergence", _convergence)])], words("alliance.raters_lead")),
        Section("reliability", words("alliance.reliability_title"), [Block("", _or_absent(writer, "reliability", _reliability))], words("alliance.reliability_lead")),
    ]  # fmt: skip
    return Page("alliance", words("alliance.title"), words("alliance.lead"), sections)


def change_page(writer: Writer) -> Page:
    """The page of question 2."""
    words = writer.words
    raters = writer.content.spec.determinants.raters
    sections = [
        Section("patterns", words("change.patterns_title"), [Block("", _or_absent(writer, "change_patterns", _patterns))], words("change.patterns_lead")),
        Section("determinants", words("change.determinants_title"), _determinants(writer, raters), words("change.determinants_lead")),
        Section("effects", words("change.effects_title"), [Block("", _or_absent(writer, "marginal_effects", _effects))], words("change.effects_lead")),
        Section("tests", words("change.tests_title"), [Block("", _or_absent(writer, "determinant_tests", _tests))], words("change.tests_lead")),
        Section("rules", words("change.rules_title"), [Block("", _or_absent(writer, "pattern_agreement", _kappas))], words("change.rules_lead")),
    ]  # fmt: skip
    return Page("change", words("change.title"), words("change.lead"), sections)


def _or_absent(writer: Writer, item: str, made: Callable[[Writer], Table]) -> list[Part]:
    return [made(writer)] if writer.has(item) else [writer.absent(item)]


def scales_of(writer: Writer, rows: pd.DataFrame) -> list[str]:
    """The scales of rows, in the order of the specification."""
    return [name for name in writer.content.spec.recidivism.scales if name in set(rows["scale"])]


def _waves(writer: Writer) -> list[Part]:
    if not writer.has("wave_means"):
        return [writer.absent("wave_means")]
    words = writer.words
    means = in_order(writer.frame("wave_means"), "scale", list(words.texts["names"]["scale"]))
    labels = {str(name): words.name("scale", name) for name in dict.fromkeys(means["scale"])}
    sizes = writer.ratings(means["n"])
    picture: list[Figure] = [
        writer.figure(
            "alliance", lambda stamp: figures.alliance_by_wave(means[means["conf_low"].notna()], labels, stamp),
            words("alliance.waves_caption"), words("alliance.waves_alternative"), sizes, ["wave_means"],
        )
    ] if means["conf_low"].notna().any() else []  # fmt: skip
    waves = sorted(str(name) for name in means["wave"].unique())
    cells = {(row["scale"], row["rater"], row["wave"]): row for row in records(means)}
    rows = [
        [f"{labels[scale]}, {words.name('rater', rater)}", *[_mean(writer, cells.get((scale, rater, wave))) for wave in waves]]
        for scale in labels for rater in sorted(str(name) for name in means["rater"].unique())
    ]  # fmt: skip
    return [
        *picture,
        writer.table(words("alliance.waves_table"), [words("scale_rater"), *waves], rows, sizes, ["wave_means"]),
    ]


def _mean(writer: Writer, row: Record | None) -> str:
    words = writer.words
    if row is None:
        return words("hidden")
    interval = "" if is_missing(row["conf_low"]) else f" {words.interval(row)}"
    return f"{words.number(row['mean'])}{interval}\nn = {words.count(row['n'])}"


def _growth(writer: Writer) -> Table:
    words, frame = writer.words, writer.frame("growth")
    rows = []
    for scale in scales_of(writer, frame):
        for rater in sorted(str(name) for name in frame["rater"].unique()):
            own = frame[(frame["scale"] == scale) & (frame["rater"] == rater) & frame["estimate"].notna()]
            by_term = {row["term"]: row for row in records(own)}
            start, slope = by_term.get("intercept"), by_term.get("months")
            rows.append([
                f"{words.name('scale', scale)}, {words.name('rater', rater)}",
                f"{words.number(start['estimate'])} {words.interval(start)}" if start else words("hidden"),
                f"{words.number(YEAR * slope['estimate'], sign='+')} {words.interval(slope, factor=YEAR, sign='+')}" if slope else words("hidden"),
                words.p(slope["p_value"]) if slope else "",
            ])  # fmt: skip
    return writer.table(
        words("alliance.growth_caption"), [words("scale_rater"), words("alliance.start"), words("alliance.year"), "p"], rows,
        writer.ratings(frame["clients"]), ["growth"], words("alliance.growth_note"),
    )  # fmt: skip


def _agreement(writer: Writer) -> Table:
    words, frame = writer.words, writer.frame("rater_agreement")
    own = frame[frame["pairs"] == ALL_PAIRS]
    rows = [
        [f"{words.name('scale', row['scale'])}, {row['wave']}", words.count(row["n"]), words.number(row["pearson"]),
         "–" if is_missing(row["icc_agreement"]) else f"{words.number(row['icc_agreement'])} {words.span(words.number(row['icc_agreement_low']), words.number(row['icc_agreement_high']))}",
         f"{words.number(row['mean_difference'], sign='+')} {words.interval(row, sign='+')}"]
        for scale in scales_of(writer, own) for row in records(own[own["scale"] == scale].sort_values("wave"))
    ]  # fmt: skip
    return writer.table(
        words("alliance.raters_caption"), [words("alliance.scale_wave"), words("alliance.pairs"), "r", "ICC", words("alliance.difference")],
        rows, writer.ratings(own["n"]), ["rater_agreement"], words("alliance.raters_note"),
    )  # fmt: skip


def _convergence(writer: Writer) -> Table:
    """Whether the two come nearer: how far apart they are, by time."""
    words, frame = writer.words, writer.frame("rater_convergence")
    own = frame[(frame["pairs"] == ALL_PAIRS) & (frame["measure"] == "absolute_difference") & frame["estimate"].notna()]
    cells = {(row["scale"], row["term"]): row for row in records(own)}
    rows = []
    for scale in scales_of(writer, own):
        start, slope = cells.get((scale, "intercept")), cells.get((scale, "months"))
        rows.append([
            words.name("scale", scale), *[words.count((start or slope or {})[name]) for name in ("clients", "n")],
            f"{words.number(start['estimate'])} {words.interval(start)}" if start else words("hidden"),
            f"{words.number(YEAR * slope['estimate'], sign='+')} {words.interval(slope, factor=YEAR, sign='+')}" if slope else words("hidden"),
            words.p(slope["p_value"]) if slope else "",
        ])  # fmt: skip
    heads = [words(f"alliance.{name}") for name in ("scale", "clients", "pairs", "apart", "year")]
    return writer.table(
        words("alliance.convergence_caption"), [*heads, "p"], rows, writer.ratings(own["n"]), ["rater_convergence"],
        words("alliance.convergence_note"),
    )  # fmt: skip


def _reliability(writer: Writer) -> Table:
    words, frame = writer.words, writer.frame("reliability")
    rows = [
        [f"{words.name('scale', row['scale'])}, {words.name('rater', row['rater'])}, {row['wave']}", words.count(row["n_complete"]),
         f"{words.number(row['alpha'])} {words.span(words.number(row['alpha_low']), words.number(row['alpha_high']))}",
         words.number(row["omega"]), words.number(row["standard_error_of_measurement"])]
        for scale in scales_of(writer, frame) for row in records(frame[frame["scale"] == scale])
    ]  # fmt: skip
    return writer.table(
        words("alliance.reliability_caption"),
        [words("alliance.scale_rater_wave"), words("alliance.complete"), "alpha", "omega", words("alliance.sem")],
        rows, writer.ratings(frame["n_complete"]), ["reliability"], words("alliance.reliability_note"),
    )  # fmt: skip


def dashed(span: str) -> str:
    """A span of waves as it is printed: T1–T2."""
    return span.replace("-", "–")


def pattern_counts(frame: pd.DataFrame, rater: str, scale: str, span: str, rule: str) -> dict[str, float]:
    """The counts of one judged table of change patterns, and its total; missing where hidden, empty where there is no such table."""
    own = frame[frame["table"] == f"patterns.{rater}.{scale}.{span}.{rule}.{ALL_PAIRS}"]
    return {str(name): float(count) for name, count in zip(own["class"], own["count"], strict=True)}


def _patterns(writer: Writer) -> Table:
    words, frame, rules = writer.words, writer.frame("change_patterns"), writer.content.spec.determinants
    rows, totals = [], []
    for rater in rules.raters:
        for scale in writer.content.spec.recidivism.scales:
            for rule in rules.rules:
                counts = pattern_counts(frame, rater, scale, rules.span, rule)
                if not counts:
                    continue
                totals.append(counts["total"])
                cells = [_pattern(writer, counts.get(pattern), counts["total"]) for pattern in PATTERNS]
                total = words("hidden") if is_missing(counts["total"]) else words.count(counts["total"])
                rows.append(
                    [
                        f"{words.name('scale', scale)}, {words.name('rater', rater)}, {words.name('rule_of_change', rule)}",
                        total,
                        *cells,
                    ]
                )
    return writer.table(
        words("change.patterns_caption", span=dashed(rules.span)),
        [words("change.scale_rater_rule"), words("change.rated_twice"), *[words.name("pattern", name) for name in PATTERNS]], rows,
        writer.ratings(pd.Series(totals, dtype=float)), ["change_patterns"], words("change.patterns_note"),
    )  # fmt: skip


def _pattern(writer: Writer, count: float | None, total: float) -> str:
    words = writer.words
    if count is None or is_missing(count):
        return words("hidden")
    return (
        words.count(count)
        if is_missing(total) or not total
        else f"{words.count(count)}{NBSP}({words.percent(count / total)})"
    )


def _determinants(writer: Writer, raters: Sequence[str]) -> list[Block]:
    if not writer.has("determinants"):
        return [Block("", [writer.absent("determinants")])]
    rules, words = writer.content.spec.determinants, writer.words
    return [
        Block(
            words("change.block", rater=words.name("rater", rater), rule=words.name("rule_of_change", rule)),
            [_odds_table(writer, rater, rule)], is_open=place == 0,
        )
        for place, (rater, rule) in enumerate((rater, rule) for rater in raters for rule in rules.rules)
    ]  # fmt: skip


def _odds_table(writer: Writer, rater: str, rule: str) -> Table:
    words, rules = writer.words, writer.content.spec.determinants
    part = as_imputed(writer.frame("determinants"), rater, rule)
    changing = [name for name in PATTERNS if name != rules.reference]
    cells = {(row["scale"], row["pattern"], row["term"]): row for row in records(part)}
    columns = [(scale, pattern) for scale in scales_of(writer, part) for pattern in changing]
    rows = [
        [words.name("term", predictor.name), *[_odds(writer, cells.get((*column, predictor.name))) for column in columns]]
        for predictor in rules.predictors
    ]  # fmt: skip
    return writer.table(
        words("change.determinants_caption", span=dashed(rules.span), rater=words.name("rater", rater), rule=words.name("rule_of_change", rule)),
        [words("change.predictor"), *[f"{words.name('scale', scale)}, {words.name('pattern', pattern)}" for scale, pattern in columns]],
        rows, writer.ratings(part["n"]), ["determinants"], words("change.determinants_note"),
    )  # fmt: skip


def _odds(writer: Writer, row: Record | None) -> str:
    return writer.words("hidden") if row is None else writer.words.ratio(row).replace(" [", "\n[")


def _effects(writer: Writer) -> Table:
    words, rules = writer.words, writer.content.spec.determinants
    part = as_imputed(writer.frame("marginal_effects"), rules.rater, rules.rules[0])
    cells = {(row["scale"], row["term"], row["pattern"]): row for row in records(part)}
    rows = []
    for scale in scales_of(writer, part):
        for predictor in rules.predictors:
            found = [cells.get((scale, predictor.name, pattern)) for pattern in PATTERNS]
            if any(row is not None for row in found):
                rows.append(
                    [
                        f"{words.name('scale', scale)}: {words.name('term', predictor.name)}",
                        *[_points(writer, row) for row in found],
                    ]
                )
    return writer.table(
        words("change.effects_caption", rater=words.name("rater", rules.rater), rule=words.name("rule_of_change", rules.rules[0])),
        [words("change.scale_predictor"), *[words.name("pattern", name) for name in PATTERNS]], rows,
        writer.ratings(part["n"]), ["marginal_effects"], words("change.effects_note"),
    )  # fmt: skip


def _points(writer: Writer, row: Record | None) -> str:
    words = writer.words
    if row is None or is_missing(row["estimate"]):
        return words("hidden")
    return f"{words.number(100 * row['estimate'], 0, '+')} {words.interval(row, 0, 100)}"


def _tests(writer: Writer) -> Table:
    words, rules = writer.words, writer.content.spec.determinants
    part = as_imputed(writer.frame("determinant_tests"), rules.rater, rules.rules[0])
    scales = scales_of(writer, part)
    cells = {(row["scale"], row["term"]): row for row in records(part)}
    terms = [predictor.name for predictor in rules.predictors]
    rows = [
        [words.name("term", term), *[_wald(writer, cells.get((scale, term))) for scale in scales]]
        for term in (*terms, "all")
    ]
    return writer.table(
        words("change.tests_caption", rater=words.name("rater", rules.rater), rule=words.name("rule_of_change", rules.rules[0])),
        [words("change.predictor"), *[words.name("scale", scale) for scale in scales]], rows, writer.ratings(part["n"]),
        ["determinant_tests"], words("change.tests_note"),
    )  # fmt: skip


def _wald(writer: Writer, row: Record | None) -> str:
    words = writer.words
    if row is None or is_missing(row["p_value"]):
        return words("hidden")
    return f"F = {words.number(row['statistic'])}, p {_p(words.p(row['p_value']))}"


def _p(said: str) -> str:
    return said if said.startswith("<") else f"= {said}"


def _kappas(writer: Writer) -> Table:
    words, frame = writer.words, writer.frame("pattern_agreement")
    rows = [
        [f"{words.name('scale', row['scale'])}, {words.name('rater', row['rater'])}, {dashed(row['span'])}: {words.name('rule_of_change', row['rule_one'])} – {words.name('rule_of_change', row['rule_other'])}",
         words.count(row["n"]), words.percent(row["observed_agreement"]), words.number(row["kappa"])]
        for row in records(in_order(frame, "scale", list(words.texts["names"]["scale"])))
    ]  # fmt: skip
    return writer.table(
        words("change.rules_caption"), [words("change.two_rules"), "n", words("change.same"), "kappa"], rows,
        writer.ratings(frame["n"]), ["pattern_agreement"], words("change.rules_note"),
    )  # fmt: skip
