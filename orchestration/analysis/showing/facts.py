"""What the platform knows of a fit, in words: the values that fill model cards and checklists. Nothing of a person, and no small count."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import pandas as pd

from orchestration.analysis.showing.answers import recidivism_said
from orchestration.analysis.showing.hazards import own_rows
from orchestration.analysis.showing.labels import MEASURE_LABELS, STEP_LABELS, adjustment_name, scale_name
from orchestration.analysis.showing.predicted import of_grouped
from orchestration.analysis.showing.source import Source, is_missing, named, percent, records, sizes_of
from orchestration.analysis.specification import Specification

Tables = Mapping[str, pd.DataFrame]
NO_PERSON = "Not for decisions about a person, nor for selecting, supervising or sanctioning anybody: it was made to answer questions about a cohort."
PURPOSE = "Whether, and how strongly, the working alliance goes with recidivism in a cohort of probation clients, after what else is known of them."


def facts(
    tables: Tables,
    manifest: Mapping[str, Any],
    spec: Specification,
    outcomes: Mapping[str, str],
    badge: Mapping[str, Any],
    source: Source,
) -> dict[str, str]:
    """Name -> text, for every name that the checklists may ask for; empty where this fit has nothing to say."""
    estimates, rules = tables["estimates"], spec.recidivism
    covariates = sorted({spec.label(term) for terms in rules.adjustments.values() for term in terms})
    own = own_rows(estimates, rules.rater)
    return {
        "simulated": "The cohort is SIMULATED." if source.is_simulated else "The cohort is real.",
        "purpose": PURPOSE,
        "not_for": NO_PERSON,
        "design": "Cohort followed from supervision on, read from registers; " + "; ".join(outcome_said(row) for row in records(tables["outcome_definition"])),
        "source_of_data": f"Version {source.version_id}: exports of probation organisations and an extract of a judicial register, gated and published.",
        "dates": f"Register read up to {source.follow_up_end}; follow-up ends the registration lag before." if source.follow_up_end != "not known" else "",
        "eligibility": _steps(tables["cohort_flow"]),
        "outcomes": "; ".join(f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {outcome_said(row)}" for row in records(tables["outcome_definition"])),
        "predictors": f"Scales {', '.join(scale_name(scale) for scale in rules.scales)}, rated by {' and '.join(rules.raters)}; covariates: {', '.join(covariates)}.",
        "coding": "Scores and ages as they are, counts of cases as log(1 + n), groups as 0/1; no cut-off is chosen by outcome. Curves are drawn by quantile and by pattern.",
        "sample_size": f"{sizes_of(estimates, outcomes, source)}; {_per_parameter(own)}",
        "missing": f"Multiple imputation by chained equations, m = {manifest['imputations']}, {spec.imputer.iterations} rounds, outcome and cumulative hazard among the predictors; {_missing_information(own)}{_chains(tables['imputation_diagnostics'])}",
        "methods": f"Cox models ({rules.ties.capitalize()}'s ties), {len(rules.adjustments)} adjustments ({', '.join(map(adjustment_name, rules.adjustments))}), errors clustered by {rules.cluster.removesuffix('_id')}, Firth's penalty below {rules.min_events_per_parameter:g} events for each parameter, proportional hazards tested at {rules.proportional_level:g} and split at month {rules.split_months:g}.",
        "bias": "A landmark against immortal time; the register's lag cut off; clustering by officer; imputation instead of complete cases; ratings by another officer flagged; E-values for what is not measured.",
        "performance_measures": f"{', '.join(MEASURE_LABELS.values())}, apparent and corrected for optimism by {rules.bootstraps} samples of officers.",
        "performance": _performance(of_grouped(tables["performance"], spec), outcomes, source),
        "heterogeneity": f"By outcome definition ({', '.join(outcomes.values())}), rater and scale; not by organisation." if outcomes else "",
        "evaluation": "One cohort: optimism is measured by resampling officers, nothing is held out; no other cohort has the ratings.",
        "output": "A hazard ratio with its interval, and a risk at a level of the score with its interval; no classes, no thresholds.",
        "imbalance": "No resampling or weighting of events against non-events.",
        "flow": f"Flow diagram and table on the page (section “Who is in it”); {sizes_of(estimates, outcomes, source)}.",
        "described": "Table 1 of each outcome on the page, missing values counted." if len(tables["baseline"]) else "",
        "event_counts": sizes_of(estimates, outcomes, source) if len(estimates) else "",
        "results": recidivism_said(estimates, spec, outcomes, source),
        "specification": f"Every coefficient with its interval: estimates.parquet of fit {source.fit_id}; models.yml {str(manifest['models_hash'])[:16]}.",
        "other_analyses": "Officers' ratings, level and change in one model, detention in three ways, all offences, scores as last rated, competing events, restricted means, few imputations beside all, E-values.",
        "updating": f"Fitted again whenever the rows that models read, or the models, change; each refit says what moved and why, and is held where a check fails. Fit {source.fit_id}.",
        "known_limits": "Ratings are missing, some scales are of low reliability, events for each term are few, and what the registers do not see is not known; each is counted on the page.",
        "code": f"Code {str(manifest['code_hash'])[:16]}, {', '.join(f'{name} {number}' for name, number in sorted(manifest['packages'].items()))}; licence {licence()}.",
        "data_sharing": "Rows of persons stay where people with a permission work; aggregates that pass disclosure control may leave; a synthetic cohort can be made by anybody.",
        "proof": str(badge["said"]),
        "second_engine": "A second engine found the same coefficients and errors." if manifest["engines_agree"] else "A second engine did NOT find the same numbers.",
        "benchmark": "Published numbers of a real cohort were found again." if manifest["benchmark_agrees"] else "Published numbers of a real cohort were NOT found again.",
    }  # fmt: skip


def outcome_said(row: Mapping[str, Any]) -> str:
    """An outcome definition in words; only what its row says."""

    def yes(name: str) -> str:
        return "count" if bool(row[name]) else "do not count"

    parts = [f"{str(row['level']).replace('_', ' ')} recidivism" if "level" in row else named(str(row["outcome_id"]))]
    if "origin" in row:
        parts.append(f"from the {str(row['origin']).replace('_', ' ')} on, up to {int(row['horizon_months'])} months, lag {int(row['lag_months'])} months")  # fmt: skip
    if "pending_counts" in row:
        parts.append(f"pending cases {yes('pending_counts')}, policy dismissals {yes('policy_dismissal_counts')}, dated by {row['date_basis']}, detention {row['detention']}")  # fmt: skip
    return ", ".join(parts)


def licence() -> str:
    """The licence that the installed package names; `not known` where it is not installed."""
    try:
        found = metadata("delictvrij")
    except PackageNotFoundError:
        return "not known"
    return next((found[name] for name in ("License-Expression", "License") if name in found), "not known")


def _steps(flow: pd.DataFrame) -> str:
    steps = [
        STEP_LABELS.get(str(step), named(str(step))) for step in dict.fromkeys(flow.sort_values("step")["step_name"])
    ]
    return "; ".join(steps)


def _per_parameter(own: pd.DataFrame) -> str:
    per = own["events_per_parameter"].dropna()
    return f"{per.min():.1f} to {per.max():.1f} events for each parameter." if len(per) else "too few events."


def _missing_information(own: pd.DataFrame) -> str:
    share = own["fraction_missing"].dropna()
    return f"missing information of the scales {percent(share.min())} to {percent(share.max())}. " if len(share) else ""


def _chains(rows: pd.DataFrame) -> str:
    worst = rows["rhat_mean"].max() if len(rows) else float("nan")
    return "" if is_missing(worst) else f"Largest R-hat {worst:.2f}."


def _performance(rows: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> str:
    part = rows[(rows["measure"] == "concordance") & (rows["events"] >= source.threshold) & rows["corrected"].notna()]
    said = [f"{outcomes.get(row['outcome_id'], row['outcome_id'])}, {adjustment_name(str(row['model_id']).rsplit('.', 1)[-1])}: concordance {row['apparent']:.2f}, corrected {row['corrected']:.2f}" for row in records(part)]  # fmt: skip
    return "; ".join(said) or "Too few events to say."
