"""The page that a person looks at after a fit: one HTML file with everything in it, no request to anywhere, no script.

Reads a written fit and what the caller says of the version, and puts the sections together; what stands in a section is made by its
module, what may be shown of small counts is decided by `small_cells`, and the looks are in `templates/report.html.j2`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.analysis.benchmark import read_published
from orchestration.analysis.fit import read_fit, recovery_badge
from orchestration.analysis.grouping import TERTILE
from orchestration.analysis.showing import (  # fmt: skip
    alliance,
    answers,
    change,
    checked,
    counted,
    hazards,
    imputing,
    in_time,
    people,
    predicted,
)
from orchestration.analysis.showing.apa import apa_tables
from orchestration.analysis.showing.changed import changes
from orchestration.analysis.showing.labels import adjustment_name, scale_name
from orchestration.analysis.showing.source import Block, Part, Section, Source, Text, named, quarter
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import write_atomically
from orchestration.pages import rendered

TEMPLATES = Path(__file__).parent / "templates"
Tables = Mapping[str, pd.DataFrame]
Outcomes = Mapping[str, str]


def render_report(
    fit_dir: Path,
    version_manifest: Mapping[str, Any],
    out: Path,
    small_cell: int = 10,
    spec: Specification | None = None,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write the page for the fit in `fit_dir` to `out`; returns `out`.

    `version_manifest` needs `version_id` and `simulated` (true when the deliveries are not real: a banner, and a mark in
    every figure but that of the benchmark, which is real); the quarter of `registry_cutoff_on` is shown when there. Counts below
    `small_cell` are not shown. `spec`: the models that it was fitted by (default: the platform's). A fit of one's own is said
    to be one. `beside`: files beside the page that it links to, name to what they are.
    """
    tables, manifest = read_fit(fit_dir)
    source = source_of(manifest, version_manifest, fit_dir.name, small_cell)
    spec = spec or read_specification()
    outcomes = outcome_labels(tables["absolute_risk"])
    badge = recovery_badge()
    page = rendered(
        TEMPLATES / "report.html.j2",
        source=source,
        manifest=manifest,
        packages=", ".join(f"{name} {number}" for name, number in sorted(manifest["packages"].items())),
        headlines=answers.headlines(tables, spec, source),
        answers=answers.answers(tables, spec, outcomes, source),
        sections=sections(tables, spec, outcomes, badge, source),
        beside=beside or {},
        refusals=checked.refusals(tables["estimates"], tables["engine_agreement"], small_cell),
        agreement=checked.agreement(tables["engine_agreement"]),
        changes=changes(fit_dir, tables["estimates"], outcomes, source),
    )
    write_atomically(out, page.encode("utf-8"))
    return out


def source_of(manifest: Mapping[str, Any], version: Mapping[str, Any], name: str, small_cell: int) -> Source:
    """What the parts of a page state of themselves."""
    return Source(
        version_id=str(version["version_id"]),
        fit_id=str(manifest.get("fit_id", name)),
        is_simulated=bool(version["simulated"]),
        threshold=small_cell,
        follow_up_end=quarter(version.get("registry_cutoff_on")),
    )


def outcome_labels(absolute_risk: pd.DataFrame) -> dict[str, str]:
    """Outcome ids of a fit, and how a heading calls them."""
    return {str(outcome): named(str(outcome)) for outcome in dict.fromkeys(absolute_risk["outcome_id"])}


def sections(
    tables: Tables, spec: Specification, outcomes: Outcomes, badge: Mapping[str, Any], source: Source
) -> list[Section]:
    """Everything between the answers and what changed, in the order of the page."""
    return [
        people_section(tables, spec, outcomes, source),
        alliance_section(tables, spec, source),
        change_section(tables["determinants"], tables["marginal_effects"], tables["determinant_tests"], spec, source),
        recidivism_section(tables, spec, outcomes, source),
        risk_section(tables, spec, outcomes, source),
        prediction_section(tables, spec, outcomes, source),
        imputation_section(tables, spec, outcomes, source),
        manuscript_section(tables, spec, outcomes, source),
        belief_section(badge, source),
        benchmark_section(tables["benchmark"], source),
    ]


def people_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """Flow and Table 1."""
    flow, estimates = tables["cohort_flow"], tables["estimates"]
    described = [people.baseline_table(tables["baseline"], outcome, label, estimates, spec, outcomes, source) for outcome, label in outcomes.items()]  # fmt: skip
    return Section(
        "flow", "Who is in it",
        "Each outcome definition has its own origin of follow-up and so its own cohort. Nobody is dropped for a missing rating: those are imputed.",
        [
            _block("", [people.flow_picture(flow, estimates, outcomes, source)], is_open=True),
            _block("The flow in numbers", people.flow_tables(flow, estimates, outcomes, source)),
            _block("Table 1: what clients were like at the origin", described),
        ],
    )  # fmt: skip


def alliance_section(tables: Tables, spec: Specification, source: Source) -> Section:
    """Q1."""
    return Section(
        "alliance", "How the alliance develops", "",
        [
            _block("", [alliance.wave_picture(tables["wave_means"], source), alliance.pattern_table(tables["change_patterns"], spec, source)], is_open=True),
            _block("Means by wave", [alliance.wave_table(tables["wave_means"], source)]),
            _block("Trajectories: growth models", [alliance.growth_table(tables["growth"], source)]),
            _block("Client beside officer", [alliance.agreement_table(tables["rater_agreement"], tables["rater_convergence"], source)]),
            _block("Reliability, and what a low one does", [alliance.reliability_table(tables["reliability"], source)]),
            _block("How far the rules of change agree", [alliance.kappa_table(tables["pattern_agreement"], spec, source)]),
        ],
    )  # fmt: skip


def change_section(
    rows: pd.DataFrame, effects: pd.DataFrame, tests: pd.DataFrame, spec: Specification, source: Source
) -> Section:
    """Q2."""
    rules = spec.determinants
    first = (rules.rater, rules.rules[0])
    others = [(rater, rule) for rater in rules.raters for rule in rules.rules if (rater, rule) != first]
    return Section(
        "change", "What goes with change", "",
        [
            _block("", [change.determinant_table(rows, spec, source, *first)], is_open=True),
            _block("As differences in probability", [change.effect_table(effects, rows, spec, source, *first)]),
            _block("Tests over all patterns", [change.test_table(tests, spec, source)]),
            _block("By the other rules and raters", [change.determinant_table(rows, spec, source, *one) for one in others]),
        ],
    )  # fmt: skip


def recidivism_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """Q3: the Cox models and the other ways to count."""
    estimates, processes, rater = tables["estimates"], tables["process_estimates"], spec.recidivism.rater
    tests = hazards.tests_made(estimates)
    adjusted = ", ".join(adjustment_name(name) for name in spec.recidivism.adjustments)
    said = Text(
        f"{tests} coefficients of an alliance scale were estimated, by {' and '.join(spec.recidivism.raters)}; those of the {rater} are shown first, all "
        f"are in the fit. Nothing is corrected for their number: about {tests * 0.05:.1f} of them would fall below p = .05 if none had an effect."
    )

    def of(who: str) -> list[Part | None]:
        tables_of = [hazards.estimate_table(estimates, spec, outcome, label, source, who) for outcome, label in outcomes.items()]  # fmt: skip
        return [*tables_of]

    def process(which: Iterable[str], caption: str, note: str = "") -> Part:
        return counted.process_table(processes, tuple(which), f"{caption}, rated by the {rater}", outcomes, spec, source, note)  # fmt: skip

    others = [who for who in spec.recidivism.raters if who != rater]
    return Section(
        "recidivism", "The alliance and recidivism", f"Scales: {len(spec.recidivism.scales)}, each in {len(spec.recidivism.adjustments)} ways to adjust ({adjusted}).",
        [
            _block("", [hazards.forest_picture(estimates, spec, outcomes, source, rater), said], is_open=True),
            _block("Every hazard ratio of a scale", of(rater)),
            *[_block(f"The same, rated by the {who}", [hazards.forest_picture(estimates, spec, outcomes, source, who), *of(who)]) for who in others],
            _block("The level, or the development", [hazards.exposure_table(estimates, outcomes, spec, source)]),
            _block("Every term of the largest model", [hazards.covariate_table(estimates, spec, outcomes, source)]),
            _block("Detention in three ways", [counted.detention_table(processes, outcomes, spec, source), process(counted.STATES, "Transitions between being at liberty, detained, and reoffending")]),
            _block("Scores as last rated", [process(["time_varying"], "The score as last rated before each day")]),
            _block("All offences, not the first alone", [process(counted.RECURRENT, "All offences", "Andersen & Gill 1982; Prentice, Williams & Peterson 1981."), counted.count_table(tables["event_counts"], outcomes, source)]),
            _block("Proportional hazards: tested, refused, split", [
                Text(hazards.proportionality(tables["proportional_hazards"], spec)),
                hazards.proportional_table(tables["proportional_hazards"], estimates, outcomes, spec, source),
                hazards.refused_table(estimates, processes, outcomes, spec, source),
            ]),
            _block("What is not measured: E-values", [hazards.e_value_table(tables["e_values"], estimates, outcomes, spec, source)]),
        ],
    )  # fmt: skip


def risk_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """How many, and when."""
    curves, tests, incidence = tables["survival_curves"], tables["log_rank"], tables["cumulative_incidence"]
    by_pattern = [in_time.survival_picture(curves, tests, outcomes, spec, source, grouping) for grouping in in_time.pattern_groupings(spec)[:1]]  # fmt: skip
    return Section(
        "risk", "How many reoffend, and when", "",
        [
            _block(f"{in_time.grouping_name(TERTILE, spec)}", [
                in_time.survival_picture(curves, tests, outcomes, spec, source), in_time.risk_table(tables["absolute_risk"], outcomes, source),
            ], is_open=True),
            _block("By pattern of change", by_pattern),
            _block("Risks by group, tests, restricted means", [in_time.group_risk_table(tables["absolute_risk"], outcomes, spec, source), in_time.log_rank_table(tests, outcomes, spec, source), in_time.restricted_mean_table(tables["restricted_mean"], outcomes, spec, source)]),
            _block("Events that compete", [in_time.incidence_picture(incidence, outcomes, spec, source), in_time.incidence_table(incidence, outcomes, spec, source)]),
            _block("Where clients are: states", [in_time.state_table(tables["state_occupation"], outcomes, tables["process_estimates"], source)]),
        ],
    )  # fmt: skip


def prediction_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """Calibration and discrimination."""
    performance, levels = tables["performance"], tables["risk_by_level"]
    own, first = predicted.of_grouped(performance, spec), scale_name(spec.recidivism.grouped_scale)
    return Section(
        "prediction", "How well the models predict", predicted.NO_DECISIONS,
        [
            _block("Every scale and rater", [predicted.short_performance_table(performance, spec, outcomes, source), predicted.short_level_table(levels, spec, outcomes, source)]),
            _block(f"Calibration and discrimination of {first}", [
                predicted.calibration_picture(predicted.of_grouped(tables["calibration"], spec), own, spec, outcomes, source),
                predicted.performance_table(own, spec, outcomes, source),
            ]),
            _block(f"Risk by level of {first}", [predicted.level_table(predicted.of_grouped(levels, spec), spec, outcomes, source)]),
        ],
    )  # fmt: skip


def imputation_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """What imputation did."""
    estimates = tables["estimates"]
    return Section(
        "imputation", "What was missing", "",
        [
            _block("Few imputations beside all", [imputing.few_table(estimates, tables["estimates_few"], outcomes, spec, source)]),
            _block("Whether the chains agree", [imputing.diagnostics_table(tables["imputation_diagnostics"], estimates, outcomes, spec, source)]),
        ],
    )  # fmt: skip


def manuscript_section(tables: Tables, spec: Specification, outcomes: Outcomes, source: Source) -> Section:
    """The tables of the manuscript, as they stand in the document beside the page."""
    return Section("tables", "Tables for a manuscript", "In the style of the APA; the same are in a document beside the page.",
                   [_block("All tables", apa_tables(tables, spec, outcomes, source))])  # fmt: skip


def belief_section(badge: Mapping[str, Any], source: Source) -> Section:
    """Known effects, found again beside methods that must fail."""
    simulated = Source(source.version_id, source.fit_id, True, source.threshold, "does not apply: simulated studies")
    return Section(
        "truth", "Known effects, found again", f"Studies are simulated with effects that are known, and go through the same code: {badge['said']}.",
        [_block("The right method beside naive and broken ones", checked.recovery_tables(badge, simulated))],
    )  # fmt: skip


def benchmark_section(rows: pd.DataFrame, source: Source) -> Section:
    """The cohort with published results, which is real whatever the deliveries are."""
    real = Source(source.version_id, source.fit_id, False, source.threshold, "the published data's own end")
    return Section(
        "benchmark", "The benchmark",
        f"A cohort with published results goes through the same landing, gate, warehouse and fitting functions. Source of the published numbers: {read_published()['source']}.",
        [_block("", [checked.benchmark_picture(rows, real)], is_open=True), _block("Every number", [checked.benchmark_table(rows, real)])],
        is_real=True,
    )  # fmt: skip


def _block(title: str, parts: Iterable[Part | None], is_open: bool = False) -> Block:
    """A block of what there is; a picture that may not be drawn is said to be missing."""
    missing = Text("No figure: too few people, or nothing estimated yet.")
    return Block(title, [missing if part is None else part for part in parts], is_open)
