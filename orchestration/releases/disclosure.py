"""The verdict on every table, curve and estimate of a fit that would leave, and the frames that may: suppressed, coarsened, rounded.

Count tables are suppressed in `suppression`; files of a public folder are looked at in `disclosure_scan`. What is not named here does
not leave. Thresholds: Hundepool et al. (2012), ch. 5 and 8; the handbook of the Safe Data Access Professionals (2019).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.baseline import YES_NO
from orchestration.analysis.grouping import ALL
from orchestration.analysis.multiverse import benjamini_hochberg, holm
from orchestration.analysis.recidivism import ESTIMATE_COLUMNS
from orchestration.analysis.showing.small_cells import coarse_curve, rounded
from orchestration.files import write_json
from orchestration.releases import definitions
from orchestration.releases.disclosure_counts import COUNT, TOTAL, Band, CountTable, NotACountTable, Release
from orchestration.releases.suppression import CannotProtect, Rules, TooLarge, suppress
from orchestration.settings import Settings

PASS, SUPPRESSED, REFUSED = "pass", "suppressed", "refused"
LEAST_STEP = 6  # events in a step of a curve, whatever the settings say
REASONS: Mapping[str, str] = {
    "": "nothing had to be hidden",
    "small": "a count of few people",
    "zero": "a class that nobody is in says so of everybody",
    "class": "nearly everybody of a group is in one class",
    "difference": "it moved by few people since an earlier release",
    "secondary": "another hidden count could be worked out from it",
    "public": "what is public already bounds a count that must stay hidden",
    "contradiction": "its counts contradict those that it is linked with",
    "few_people": "too few people",
    "few_events": "too few people with the event, or without it",
    "degrees_of_freedom": "too few people or events for the number of terms",
    "saturated": "a class of its term has too few people or events, or it is not known how many",
    "model": "its model does not leave",
    "steps": "too few events between one step and the next, or too few people still at risk",
    "family": "a group that did not leave could be worked out from it",
    "linked": "a table that it is computed from had counts hidden",
    "zone": "has a row per person, or numbers of few people, and stays in the zone",
    "extreme": "a smallest or largest value is that of a person",
    "nearly_same": "nearly the same people are described by another table that leaves, so that the few who are in one only would be too",
    "definition": "nearly the same people have the event by another definition that leaves, so that those who have it by one only would be described too",
    "other_fit": "its numbers of a model are not those of the fit",
    "unknown": "no rule lets it out",
}
COLUMNS = ("item", "kind", "rule", "verdict", "reason", "rows", "hidden")


@dataclass(frozen=True)
class ReleaseRules:
    """`counts`: those of count tables. `degrees_of_freedom`: people or events of a model beyond its terms, at least.
    `step_events`: events between the points of a curve. `base`: to which published numbers of people are rounded."""

    counts: Rules = field(default_factory=Rules)
    degrees_of_freedom: int = 10
    step_events: int = 10
    base: int = 5

    @property
    def threshold(self) -> int:
        return self.counts.threshold


def release_rules(settings: Settings) -> ReleaseRules:
    """The rules as the settings have them."""
    counts = Rules(settings.small_cell, settings.dominance, settings.release_difference)
    return ReleaseRules(counts, settings.model_degrees_of_freedom, settings.curve_step_events, settings.rounding_base)


@dataclass(frozen=True)
class Judged:
    """The frames that may leave, one verdict for each item (`COLUMNS`), and the count tables as a release for the next one to know
    (zone: with what must not be found out)."""

    frames: Mapping[str, pd.DataFrame]
    verdicts: pd.DataFrame
    release: Release


@dataclass(frozen=True)
class Policy:
    """How the rows of a table are judged. `keys` and `numbers` leave, the numbers only where a row may; `people` are counts that must reach
    the threshold and leave rounded. `model`: rows of it follow the model of that table; `base`: of which counts, less its terms,
    the degrees of freedom must be left."""

    kind: str
    keys: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    model: str = ""
    per: tuple[str, ...] = ("model_id",)


_ESTIMATE = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
_COX = Policy(
    "estimates", ("process", "model_id", "outcome_id", "rater", "scale", "exposure", "adjustment", "term", "method", "imputations", "cluster", "note"),
    (*_ESTIMATE, "fraction_missing", "degrees_of_freedom"), ("n", "events", "clusters"), ("events",),
)  # fmt: skip
_Q2 = ("model_id", "rater", "scale", "span", "rule", "pairs", "missing", "imputations")
ROWS: Mapping[str, Policy] = {
    "estimates": _COX,
    "estimates_few": _COX,
    "process_estimates": _COX,
    "determinants": Policy(
        "estimates", (*_Q2, "pattern", "reference", "term", "cluster", "note"), (*_ESTIMATE, "degrees_of_freedom", "fraction_missing"),
        ("n", "class_count", "reference_count", "clusters"), ("class_count", "reference_count"), per=("model_id", "pattern"),
    ),
    "growth": Policy(
        "estimates", ("model_id", "rater", "scale", "structure", "part", "term", "waves", "note"), (*_ESTIMATE, "degrees_of_freedom"),
        ("ratings", "clients", "officers"), ("clients",),
    ),
    "rater_convergence": Policy(
        "estimates", ("model_id", "scale", "pairs", "measure", "term", "note"), _ESTIMATE, ("n", "clients", "clusters"), ("clients",)
    ),
    "marginal_effects": Policy(
        "estimates", (*_Q2, "pattern", "patterns", "term", "kind", "note"), (*_ESTIMATE, "degrees_of_freedom", "fraction_missing"),
        ("n", "clusters"), model="determinants",
    ),
    "determinant_tests": Policy(
        "estimates", (*_Q2, "patterns", "term", "note"), ("statistic", "df_numerator", "df_denominator", "p_value"), ("n", "clusters"),
        model="determinants",
    ),
    "proportional_hazards": Policy(
        "estimates", ("model_id", "outcome_id", "term", "note", "passed"), ("chi_squared", "degrees_of_freedom", "p_value"), model="cox"
    ),
    "e_values": Policy(
        "estimates", ("model_id", "outcome_id", "term", "is_common"), ("hazard_ratio", "risk_ratio", "e_value", "e_value_limit"), model="cox"
    ),
    "performance": Policy(
        "estimates", ("model_id", "outcome_id", "rater", "scale", "adjustment", "measure", "months", "bootstraps", "note"), ("apparent", "std_error", "optimism", "corrected"),
        ("n", "events"), model="cox",
    ),
    "risk_by_level": Policy(
        "estimates", ("model_id", "outcome_id", "rater", "scale", "adjustment", "level", "months", "note"), ("risk", "conf_low", "conf_high"),
        ("n", "events"), model="cox",
    ),
    "reference_risk": Policy(
        "estimates", ("model_id", "outcome_id", "rater", "scale", "adjustment", "person", "described", "months", "note"),
        ("risk", "conf_low", "conf_high"), ("n", "events"), model="cox",
    ),
    "calibration": Policy(
        "means", ("model_id", "outcome_id", "rater", "scale", "adjustment", "months", "fifth"), ("predicted", "observed", "conf_low", "conf_high"), ("n", "events"), model="cox"
    ),
    "wave_means": Policy("means", ("rater", "scale", "wave"), ("mean", "sd", "std_error", "conf_low", "conf_high"), ("n",)),
    "rater_agreement": Policy(
        "means", ("scale", "wave", "pairs", "note"),
        ("pearson", "pearson_low", "pearson_high", "icc_agreement", "icc_agreement_low", "icc_agreement_high", "icc_consistency",
         "icc_consistency_low", "icc_consistency_high", "client_mean", "officer_mean", "mean_difference", "std_error", "conf_low",
         "conf_high", "sd_difference", "limit_low", "limit_high", "limit_std_error"), ("n", "officers"),
    ),
    "reliability": Policy(
        "means", ("rater", "scale", "wave", "form", "n_items", "note"),
        ("alpha", "alpha_low", "alpha_high", "omega", "score_sd", "standard_error_of_measurement", "reliable_change_band", "attenuation",
         "is_low"), ("n_complete", "n_scores"),
    ),
    "log_rank": Policy("estimates", ("outcome_id", "rater", "scale", "grouping", "groups", "note"), ("statistic", "p_value"), ("n", "events")),
    "restricted_mean": Policy(
        "means", ("outcome_id", "rater", "scale", "grouping", "group", "compared_with", "months", "note"),
        ("days", "std_error", "conf_low", "conf_high", "p_value"), ("n", "events"),
    ),
}  # fmt: skip
CURVES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # of which curve, and its shares
    "survival_curves": (("outcome_id", "rater", "scale", "grouping", "group"), ("survival", "conf_low", "conf_high")),
    "cumulative_incidence": (
        ("outcome_id", "rater", "scale", "grouping", "group", "cause"),
        ("risk", "conf_low", "conf_high"),
    ),
    "absolute_risk": (("outcome_id", "rater", "scale", "grouping", "group"), ("risk", "conf_low", "conf_high")),
}
FREE: Mapping[str, tuple[str, ...]] = {  # say nothing of people of the study
    "benchmark": ("name", "published", "computed", "rounded", "agrees", "source"),
    "engine_agreement": ("model_id", "largest_coefficient_difference", "largest_error_difference", "agrees"),
    # Not how many are known, the mean, and which values somebody has: with Table 1 they would give hidden counts away.
    "coding": ("outcome_id", "part", "name", "rater", "term", "column", "transform", "unit", "reference", "imputed_by"),
    "determinant_coding": ("part", "source", "combine", "term", "column", "transform", "unit", "reference", "imputed_by"),
    "outcome_definition": (
        "outcome_id", "version", "role", "level", "origin", "entry", "horizon_months", "lag_months", "pending_counts", "policy_dismissal_counts",
        "date_basis", "detention", "early_offenders",
    ),
}  # fmt: skip
# No events per term, which are exact counts, and no degrees of freedom or clusters, which this table needs least.
MULTIVERSE = Policy(
    "estimates", ("role", "model_id", "outcome_id", "rater", "scale", "exposure", "adjustment", "term", "method", "imputations", "note"),
    (*_ESTIMATE, "p_holm", "p_benjamini_hochberg", "fraction_missing"), ("n", "events"), ("events",),
)  # fmt: skip
BASELINE_KEYS = ("outcome_id", "rater", "scale", "grouping", "group", "term", "kind")
_OF_PERSONS = ("mean", "sd", "q1", "median", "q3")
ZONE = ("imputed", "imputation_diagnostics", "imputation_trace", "determinant_imputation", "state_occupation")


def judge_fit(
    tables: Mapping[str, pd.DataFrame], rules: ReleaseRules, tag: str, earlier: Sequence[Release] = (),
    entered: Mapping[str, Band] | None = None, left: Mapping[str, Band] | None = None, determinant_classes: pd.DataFrame | None = None,
    differences: pd.DataFrame | None = None,
) -> Judged:  # fmt: skip
    """Judge every table of a fit (`analysis.fit.read_fit`); a table that no rule names is refused.

    `earlier`: the releases that left before, oldest first; `entered`, `left`: as in `Release`. `determinant_classes` (model_id,
    term, people): the smallest class of a binary determinant within any pattern of its model; without it such terms are refused.
    `differences` (`definitions.COLUMNS`): how outcome definitions differ; without it the multiverse has only those of the fit.
    """
    frames: dict[str, pd.DataFrame] = {}
    verdicts: list[dict[str, Any]] = []
    allowed: dict[str, set[str]] = {"cox": set(), "determinants": set()}
    saturated = _saturated_terms(tables, rules, determinant_classes)
    followers_last = sorted((name for name in tables if name in ROWS), key=lambda name: bool(ROWS[name].model))
    for name in followers_last:
        policy = ROWS[name]
        why = judged_rows(
            tables[name], policy, rules, allowed.get(policy.model), saturated.get(name, saturated.get(policy.model))
        )
        if name in ("estimates", "determinants"):
            own = tables[name].loc[~why.isin(["few_people", "few_events", "degrees_of_freedom"]), "model_id"]
            bad = tables[name].loc[why.isin(["few_people", "few_events", "degrees_of_freedom"]), "model_id"]
            allowed["cox" if name == "estimates" else name] = set(own) - (set(bad) if name == "determinants" else set())
        frames[name], verdict = _kept(tables[name], policy, why, rules, name)
        verdicts.append(verdict)
    for name in (name for name in tables if name in CURVES):
        frames[name], verdict = _judged_curves(tables[name], name, rules)
        verdicts.append(verdict)
    release, found = _judged_counts(tables, rules, tag, earlier, entered or {}, left or {})
    if "baseline" in found:
        found["baseline"] = _judged_baseline(tables["baseline"], *found["baseline"], rules)
    for name, (frame, verdict) in found.items():
        frames[name] = frame
        verdicts.append(verdict)
    if "pattern_agreement" in tables:
        frames["pattern_agreement"], verdict = _pattern_agreement(
            tables["pattern_agreement"], frames.get("change_patterns"), rules
        )
        verdicts.append(verdict)
    if "multiverse" in tables:
        frames["multiverse"], verdict = _judged_multiverse(
            tables["multiverse"], tables, frames.get("estimates"), frames.get("cohort_flow"), differences, rules
        )
        verdicts.append(verdict)
    for name, columns in FREE.items():
        if name in tables:
            frames[name] = tables[name].loc[:, list(columns)].reset_index(drop=True)
            verdicts.append(_verdict(name, "check", [], len(tables[name]), 0))
    done = {verdict["item"] for verdict in verdicts}
    for name in sorted(set(tables) - done):
        rule = "zone" if name in ZONE else "unknown"
        verdicts.append(_verdict(name, "table", [rule], 0, len(tables[name]), REFUSED))
    order = pd.DataFrame(verdicts, columns=list(COLUMNS)).sort_values("item", kind="stable", ignore_index=True)
    return Judged({name: frame for name, frame in sorted(frames.items()) if len(frame)}, order, release)


def judged_rows(
    frame: pd.DataFrame, policy: Policy, rules: ReleaseRules, models: set[str] | None = None, saturated: set[tuple[str, str]] | None = None
) -> pd.Series:  # fmt: skip
    """The rule by which each row is withheld, '' where it leaves.

    `terms` of a frame says how many terms the model of a row has, where not all of them are rows of it; none known: it is withheld.
    `models`: the model ids that may leave, where the table follows models. `saturated`: model id and term of terms that may not.
    """
    why = pd.Series("", index=frame.index, dtype=object)

    def withhold(rows: Any, rule: str) -> None:
        why[(why == "") & np.asarray(rows, dtype=bool)] = rule

    for column in policy.people:
        few = pd.to_numeric(frame[column], errors="coerce").fillna(0) < rules.threshold
        withhold(few, "few_events" if column == "events" else "few_people")
    if "events" in policy.people and "n" in policy.people and policy.base != ("events",):
        withhold(frame["n"] - frame["events"] < rules.threshold, "few_events")
    if policy.base:
        terms = frame["terms"] if "terms" in frame else frame.groupby(list(policy.per))["term"].transform("size")
        withhold(~(frame[list(policy.base)].min(axis=1) - terms >= rules.degrees_of_freedom), "degrees_of_freedom")
    if models is not None:
        withhold(~frame["model_id"].isin(models), "model")
    if saturated and "term" in frame:
        withhold([pair in saturated for pair in zip(frame["model_id"], frame["term"], strict=True)], "saturated")
    return _whole_families(frame, why, rules)


def _whole_families(frame: pd.DataFrame, why: pd.Series, rules: ReleaseRules) -> pd.Series:
    """Where one group of a family is withheld, the smallest other goes with it: totals less the others would give it away."""
    part = next((name for name in ("group", "fifth") if name in frame), None)
    if part is None or not len(frame):
        return why
    family = [
        name for name in ("model_id", "outcome_id", "rater", "scale", "grouping", "months", "cause") if name in frame
    ]
    why = why.copy()
    for _, rows in frame.groupby(family, dropna=False, sort=False):
        hidden = set(rows.loc[why[rows.index] != "", part])
        others = rows[~rows[part].isin(hidden)].sort_values(["n", part], kind="stable")
        if len(hidden) == 1 and len(others):
            smallest = others[part].iloc[0]
            why[rows.index[rows[part] == smallest]] = "family"
        if "compared_with" in rows:  # a difference with a group that does not leave would give it away
            gone = set(rows.loc[why[rows.index] != "", part])
            why[rows.index[rows["compared_with"].isin(gone) & (why[rows.index] == "")]] = "family"
    return why


def _judged_multiverse(
    frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame], estimates: pd.DataFrame | None, flow: pd.DataFrame | None,
    differences: pd.DataFrame | None, rules: ReleaseRules,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """The multiverse as it may leave: each model by the rules of any other, each definition by those that leave before it.

    Both corrections are made anew over the tests that leave: over all, a corrected p-value may be that of a model that does not.
    n is missing where the flow does not show how many were analysed. `estimates` and `flow`: as they leave.
    """
    own = tables.get("estimates", pd.DataFrame(columns=list(ESTIMATE_COLUMNS)))
    if not _is_of_fit(frame, own):
        return frame.iloc[:0], _verdict("multiverse", "estimates", ["other_fit"], 0, len(frame))
    rows = frame.assign(terms=frame["adjustment"].map(_terms_of(own)))
    why = judged_rows(rows, MULTIVERSE, rules)
    first = [] if estimates is None else [str(name) for name in estimates["outcome_id"].unique()]
    in_order = rows[why == ""].sort_values("role", key=lambda role: role != "primary", kind="stable")["outcome_id"]
    known = pd.DataFrame(columns=list(definitions.COLUMNS)) if differences is None else differences
    wanted = map(str, in_order.unique())
    left = definitions.that_leave(wanted if differences is not None else [], first, known, rules.threshold)
    why[(why == "") & ~rows["outcome_id"].isin(left)] = "definition"
    kept, verdict = _kept(rows, MULTIVERSE, why, rules, "multiverse")
    p = kept["p_value"].to_numpy(dtype=float)
    kept = kept.assign(p_holm=holm(p), p_benjamini_hochberg=benjamini_hochberg(p))
    shown = set() if flow is None else set(flow.loc[(flow["class"] == "analysed") & flow[COUNT].notna(), "table"])
    is_shown = kept["outcome_id"].isin(first) | ("flow." + kept["outcome_id"].astype(str)).isin(shown)
    return kept.assign(n=kept["n"].astype("Int64").where(is_shown)), verdict


def _is_of_fit(multiverse: pd.DataFrame, estimates: pd.DataFrame) -> bool:
    """Whether the models that both have are the same numbers in both."""
    both = multiverse.merge(estimates, on=["model_id", "term"], suffixes=("", "_fit"))
    return bool(np.allclose(both["estimate"], both["estimate_fit"], rtol=1e-6, atol=1e-9, equal_nan=True))


def _terms_of(estimates: pd.DataFrame) -> dict[str, int]:
    """How many terms a model of a single score has by its adjustment, as the fit has it; a model that is split in time is another."""
    own = estimates[(estimates["exposure"] == "score") & ~estimates["model_id"].astype(str).str.endswith(".split")]
    terms = own.groupby(["adjustment", "model_id"]).size().groupby("adjustment").max()
    return {str(name): int(count) for name, count in terms.items()}


def _saturated_terms(
    tables: Mapping[str, pd.DataFrame], rules: ReleaseRules, determinant_classes: pd.DataFrame | None
) -> dict[str, set[tuple[str, str]]]:  # fmt: skip
    found: dict[str, set[tuple[str, str]]] = {}
    counts = class_counts(tables["imputed"]) if len(tables.get("imputed", ())) else pd.DataFrame()
    few = set()
    if len(counts):
        small = counts[(counts["people"] < rules.threshold) | (counts["events"] < rules.threshold)]
        few = set(zip(small["outcome_id"], small["term"], strict=True))
    for name in ("estimates", "estimates_few", "process_estimates"):
        frame = tables.get(name)
        if frame is not None:
            found[name] = {
                (str(model), str(term))
                for model, outcome, term in frame[["model_id", "outcome_id", "term"]].itertuples(index=False, name=None)
                if (outcome, term) in few
            }  # fmt: skip
    found["cox"] = found.get("estimates", set())
    effects = tables.get("marginal_effects")
    if effects is not None:
        binary = effects[effects["kind"] == "difference 1 - 0"]
        pairs = set(zip(binary["model_id"].astype(str), binary["term"].astype(str), strict=True))
        if determinant_classes is not None:
            enough = determinant_classes[determinant_classes["people"] >= rules.threshold]
            pairs -= set(zip(enough["model_id"], enough["term"], strict=True))
        found["determinants"] = pairs
    return found


def class_counts(imputed: pd.DataFrame) -> pd.DataFrame:
    """The smaller class of every binary covariate, in the data set where it is smallest: outcome_id, term, people, and `events`, the
    fewest with the event in either class. `imputed`: as a fit keeps it, a row per person and data set."""
    rows = []
    for outcome, cohort in imputed.groupby("outcome_id", sort=True):
        for name in cohort.columns.difference(["outcome_id", "imputation", "client_id", "cluster", "event"]):
            values = cohort[name].dropna()
            if not len(values) or not set(values.unique()) <= {0, 1}:
                continue
            both = cohort.assign(value=cohort[name]).groupby(["imputation", "value"])["event"].agg(["size", "sum"])
            both = both.reindex(
                pd.MultiIndex.from_product([cohort["imputation"].unique().tolist(), [0, 1]]), fill_value=0
            )
            rows.append(
                {
                    "outcome_id": outcome,
                    "term": name,
                    "people": int(both["size"].min()),
                    "events": int(both["sum"].min()),
                }
            )
    return pd.DataFrame(rows, columns=["outcome_id", "term", "people", "events"])


def _kept(
    frame: pd.DataFrame, policy: Policy, why: pd.Series, rules: ReleaseRules, name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    leaves = frame[why == ""]
    columns = [column for column in (*policy.keys, *policy.numbers, *policy.people) if column in frame]
    kept = leaves.loc[:, columns].reset_index(drop=True)
    for column in policy.people:
        kept[column] = [rounded(int(count), rules.base) for count in leaves[column]]
    if "note" in kept:  # what comes after the colon may hold counts
        kept["note"] = [str(note).split(":")[0] if isinstance(note, str) else None for note in leaves["note"]]
    return kept, _verdict(name, policy.kind, [rule for rule in why if rule], len(kept), int((why != "").sum()))


def coarse_points(curve: pd.DataFrame, shares: Sequence[str], rules: ReleaseRules) -> pd.DataFrame:
    """The points of one curve that may leave: month, its shares to two decimals, n and at_risk rounded; no events, no censoring.

    `curve` has month, n, at_risk, events (so far) and the shares. Between one point and the next lie `step_events` at least, and
    the threshold is still at risk. The same rule bins a baseline hazard. A curve that makes no step has no point.
    """
    points = coarse_curve(curve, rules.threshold, max(rules.step_events, LEAST_STEP))
    if len(points) < 2:
        points = points.iloc[:0]
    kept = points.loc[:, ["month", *shares]].round(dict.fromkeys(shares, 2))
    return kept.assign(
        n=[rounded(int(n), rules.base) for n in points["n"]],
        at_risk=[rounded(int(n), rules.base) for n in points["at_risk"]],
    )


def thin_steps(points: pd.DataFrame, share: str, base: int = 5) -> int:
    """How many steps of a published curve hold fewer than `LEAST_STEP` events by its own coordinates.

    A step of d events lowers the curve of n people by d / n at least, so the step times n, with what rounding can hide, is
    not below d.
    """
    steps = points.sort_values("month")[share].diff().abs().iloc[1:]
    most = (steps + 0.01) * (points["n"].max() + base / 2)
    return int((most < LEAST_STEP).sum())


def _judged_curves(frame: pd.DataFrame, name: str, rules: ReleaseRules) -> tuple[pd.DataFrame, dict[str, Any]]:
    keys, shares = CURVES[name]
    clock = "months" if "months" in frame else "month"
    rows = frame.rename(columns={clock: "month"})
    if name == "absolute_risk":
        rows = _from_nought(rows, keys)
    kept = {}
    sizes: dict[tuple[Any, ...], int] = {}
    for key, curve in rows.groupby(list(keys), sort=False):
        points = coarse_points(curve.dropna(subset=[shares[0]]), shares, rules)
        sizes[key] = int(curve["n"].max())
        if len(points) and not thin_steps(points, shares[0], rules.base):
            kept[key] = points
    place = keys.index("group")
    family = [key[:place] + key[place + 1 :] for key in sizes]
    for one in dict.fromkeys(family):
        members = [key for key in sizes if key[:place] + key[place + 1 :] == one]
        left = sorted((key for key in members if key in kept), key=lambda key: (sizes[key], str(key)))
        if len(members) - len(left) == 1 and left:
            del kept[left[0]]
    parts = [
        points.assign(**{name: str(value) for name, value in zip(keys, key, strict=True)})
        for key, points in kept.items()
    ]
    columns = [*keys, clock, *shares, "n", "at_risk"]
    shown = (
        pd.concat(parts, ignore_index=True).rename(columns={"month": clock})[columns]
        if parts
        else pd.DataFrame(columns=columns)
    )
    if name == "absolute_risk":
        shown = shown[shown[clock] > 0].reset_index(drop=True)
    hidden = len(frame) - len(shown)
    return shown, _verdict(name, "curve", ["steps"] if hidden else [], len(shown), hidden)


def _from_nought(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Risks at a few months as a curve: with the point at which nothing has happened yet."""
    first = rows.drop_duplicates(list(keys)).assign(month=0, events=0, risk=0.0, conf_low=0.0, conf_high=0.0)
    first["at_risk"] = first["n"]
    return pd.concat([first, rows], ignore_index=True)


def _judged_counts(
    tables: Mapping[str, pd.DataFrame], rules: ReleaseRules, tag: str, earlier: Sequence[Release], entered: Mapping[str, Band], left: Mapping[str, Band]
) -> tuple[Release, dict[str, tuple[pd.DataFrame, dict[str, Any]]]]:  # fmt: skip
    """Every count table of the fit, each linked set suppressed as one."""
    found, left_tables = {}, []
    for name, counted in count_tables(tables).items():
        parts, why, hidden, refused = [], [], 0, 0
        for population in dict.fromkeys(table.population for table in counted):
            linked = tuple(table for table in counted if table.population == population)
            try:
                done = suppress(Release(tag, linked, entered, left), earlier, rules.counts)
            except (CannotProtect, TooLarge, NotACountTable) as error:
                why.append("contradiction" if isinstance(error, NotACountTable) else "public")
                refused += sum(len(table.cells) for table in linked)
                continue
            why += done.hidden["rule"].tolist()
            hidden += int(done.hidden["cells"].sum())
            left_tables += list(done.release.tables)
            parts += [_as_frame(table) for table in done.release.tables]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        found[name] = (
            frame,
            _verdict(name, "counts", why, int(frame[COUNT].notna().sum()) if len(frame) else 0, hidden + refused),
        )
    return Release(tag, tuple(left_tables), entered, left), found


def count_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[CountTable]]:
    """The tables of a fit that count people, by name, as they are suppressed."""
    makers = {
        "change_patterns": pattern_tables, "cohort_flow": flow_tables, "event_counts": event_tables, "baseline": baseline_tables,
    }  # fmt: skip
    return {name: make(tables[name]) for name, make in makers.items() if name in tables}


def populations(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The populations that the count tables of a fit are of."""
    return list(dict.fromkeys(table.population for counted in count_tables(tables).values() for table in counted))


def _as_frame(table: CountTable) -> pd.DataFrame:
    """A table that may leave, in long form: table, class, count (missing where hidden)."""
    classes = table.cells[list(table.dimensions)].agg(" / ".join, axis=1)
    return pd.DataFrame({"table": table.name, "class": classes, COUNT: table.cells[COUNT]})


def pattern_tables(change_patterns: pd.DataFrame) -> list[CountTable]:
    """Counts of change patterns: the rules of a scale, rater and span are linked, and so are all pairs and those of one officer."""
    tables = []
    for (rater, scale, span, rule, pairs), rows in change_patterns.groupby(
        ["rater", "scale", "span", "rule", "pairs"], sort=True
    ):
        cells = pd.DataFrame(
            {rule: [*rows["pattern"], TOTAL], COUNT: [*rows["count"].astype(int), int(rows["n"].iloc[0])]}
        )
        where = {} if pairs == "all" else {"pairs": str(pairs)}
        name = f"patterns.{rater}.{scale}.{span}"
        tables.append(CountTable(f"{name}.{rule}.{pairs}", (str(rule),), cells, population=name, where=where))
    return tables


def flow_tables(cohort_flow: pd.DataFrame) -> list[CountTable]:
    """Who was left out at which step, and who remained. Steps that are the same for every outcome are one table; leaving at a step
    says nothing of a person's conduct, so that nobody may be left out in public."""
    flows = {str(name): rows.sort_values("step") for name, rows in cohort_flow.groupby("outcome_id", sort=True)}
    steps = [list(rows[["step_name", "n_in", "n_out"]].itertuples(index=False, name=None)) for rows in flows.values()]
    shared = 0
    while steps and all(len(one) > shared and one[shared] == steps[0][shared] for one in steps):
        shared += 1
    tables = [_exits("entry", steps[0][:shared], {}, "through")] if shared else []
    where = {"entry": "through"} if shared else {}
    own = [
        _exits(name, one[shared:], where, "analysed")
        for name, one in zip(flows, steps, strict=True)
        if len(one) > shared
    ]
    return [*tables, *own]


def _exits(name: str, steps: list[tuple[Any, ...]], where: Mapping[str, str], end: str) -> CountTable:
    out = {str(step): int(n_out) for step, _, n_out in steps}
    start = int(steps[0][1])
    labels = [*out, end]
    counts = [*out.values(), start - sum(out.values())]
    after = {f"after {step}": tuple(labels[i + 1 :]) for i, step in enumerate(out)}
    remaining = [sum(counts[i + 1 :]) for i in range(len(out))]
    cells = pd.DataFrame({name: [*labels, *after, TOTAL], COUNT: [*counts, *remaining, start]})
    return CountTable(
        f"flow.{name}", (name,), cells, population="flow", where=where, subtotals={name: after}, is_sensitive=False
    )


def event_tables(event_counts: pd.DataFrame) -> list[CountTable]:
    """How many people had exactly 0, 1, 2 ... events, of each outcome."""
    tables = []
    for outcome, rows in event_counts.groupby("outcome_id", sort=True):
        ordered = rows.sort_values("number")
        at_least = [int(ordered["people"].iloc[0]), *ordered["events"].astype(int), 0]
        exact = {str(i): at_least[i] - at_least[i + 1] for i in range(len(at_least) - 1)}
        while len(exact) > 1 and list(exact.values())[-1] == 0:
            exact.popitem()
        cells = pd.DataFrame({"events": [*exact, TOTAL], COUNT: [*exact.values(), at_least[0]]})
        tables.append(CountTable(f"events.{outcome}", ("events",), cells, population=f"events.{outcome}"))
    return tables


def baseline_tables(baseline: pd.DataFrame) -> list[CountTable]:
    """Who has which of two values of each binary term of Table 1, in all and by group; those of whom it is known. Of one outcome: the
    others are of nearly the same people."""
    of_one = baseline[(baseline["outcome_id"] == baseline["outcome_id"].iloc[0]) & (baseline["kind"] == YES_NO)] if len(baseline) else baseline  # fmt: skip
    tables = []
    for term, rows in of_one.groupby("term", sort=True):
        outcome = str(rows["outcome_id"].iloc[0])
        labels, values, counts = [], [], []
        for group, observed, yes in rows[["group", "observed", "count"]].itertuples(index=False, name=None):
            for value, count in (("yes", yes), ("no", observed - yes), (TOTAL, observed)):
                labels.append(TOTAL if group == ALL else str(group))
                values.append(value)
                counts.append(int(count))
        if not sum(counts):
            continue
        is_whole = set(labels) == {TOTAL}
        cells = pd.DataFrame({**({} if is_whole else {"group": labels}), "value": values, COUNT: counts})
        name = f"baseline.{outcome}.{term!s}"
        tables.append(CountTable(name, ("value",) if is_whole else ("group", "value"), cells, population=name))
    return tables


def _judged_baseline(
    frame: pd.DataFrame, counts: pd.DataFrame, verdict: Mapping[str, Any], rules: ReleaseRules
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Table 1 as it may leave, in the form of the fit: counts as suppressed, a share where both of its counts are shown, means, SDs and
    quartiles by how many people stand on either side; numbers of people rounded."""
    shown = dict(zip(zip(counts["table"], counts["class"], strict=True), counts[COUNT], strict=True)) if len(counts) else {}  # fmt: skip
    rows = frame.reset_index(drop=True)
    is_one = rows["outcome_id"] == rows["outcome_id"].iloc[0] if len(rows) else pd.Series(dtype=bool)
    why = pd.Series(np.where(is_one, "", "nearly_same"), index=rows.index, dtype=object)
    why[(why == "") & (rows["n"] < rules.threshold)] = "few_people"
    is_number = rows["kind"] != YES_NO
    why[(why == "") & is_number & (rows["observed"] < rules.threshold)] = "few_people"
    for _, family in rows[is_one & (rows["group"] != ALL)].groupby("term", sort=False):
        hidden = family.index[why[family.index] != ""]
        others = family.loc[family.index.difference(hidden)].sort_values(["observed", "group"], kind="stable")
        if len(hidden) == 1 and len(others):
            why[others.index[0]] = "family"
    kept = rows[why == ""].copy()
    left_out: list[str] = [rule for rule in why if rule]
    for place, row in kept.iterrows():
        kept.loc[place, list(_OF_PERSONS)] = [
            row[name] if row["observed"] * side >= rules.threshold else np.nan
            for name, side in zip(_OF_PERSONS, (1.0, 1.0, 0.25, 0.5, 0.25), strict=True)
        ]
        if row["kind"] == YES_NO:
            yes, no = (
                shown.get((f"baseline.{row['outcome_id']}.{row['term']}", name), np.nan)
                for name in _classes(row, shown)
            )
            kept.loc[place, "count"] = yes
            kept.loc[place, "share"] = yes / (yes + no) if pd.notna(yes) and pd.notna(no) else np.nan
    kept["n"] = [rounded(int(n), rules.base) for n in kept["n"]]
    kept[list(_OF_PERSONS)] = kept[list(_OF_PERSONS)].astype(float).round(2)
    kept = kept.loc[:, [*BASELINE_KEYS, "n", "count", "share", *_OF_PERSONS]].reset_index(drop=True)
    codes = [*left_out, *str(verdict["rule"]).split()]
    return kept, _verdict("baseline", "counts", codes, len(kept), int(verdict["hidden"]) + len(left_out))


def _classes(row: pd.Series, shown: Mapping[tuple[str, str], float]) -> tuple[str, str]:
    """How the two classes of a row are called in the table that was suppressed."""
    name = f"baseline.{row['outcome_id']}.{row['term']}"
    group = TOTAL if row["group"] == ALL else str(row["group"])
    has_groups = (name, f"{group} / yes") in shown
    return (f"{group} / yes", f"{group} / no") if has_groups else ("yes", "no")


def _pattern_agreement(
    frame: pd.DataFrame, shown: pd.DataFrame | None, rules: ReleaseRules
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Agreement of two rules leaves only where no count of either is hidden: with the margins it would give some away."""
    names = [
        f"patterns.{row.rater}.{row.scale}.{row.span}."
        for row in frame[["rater", "scale", "span"]].itertuples(index=False)
    ]
    table = shown["table"] if shown is not None and len(shown) else pd.Series(dtype=object)
    whole = [bool(table.str.startswith(name).any()) and bool(shown.loc[table.str.startswith(name), COUNT].notna().all()) for name in names] if shown is not None else [False] * len(frame)  # fmt: skip
    agree = frame["n"] * frame["observed_agreement"]
    enough = (agree >= rules.threshold) & (frame["n"] - agree >= rules.threshold)
    why = pd.Series(
        np.where(~np.array(whole, dtype=bool), "linked", np.where(~enough.to_numpy(), "few_people", "")),
        index=frame.index,
        dtype=object,
    )
    policy = Policy(
        "means", ("rater", "scale", "span", "rule_one", "rule_other", "note"), ("observed_agreement", "kappa"), ("n",)
    )
    return _kept(frame, policy, why, rules, "pattern_agreement")


def judged_summary(frame: pd.DataFrame, rules: ReleaseRules, item: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Statistics of one variable: rows `statistic` (mean, sd, median, or a percentile as p25), n, value.

    A percentile needs the threshold of people on either side of it. Smallest and largest values, and what is no statistic known
    here, are refused.
    """
    why = []
    for name, n in zip(frame["statistic"], frame["n"], strict=True):
        share = {"median": 0.5}.get(name, float(name[1:]) / 100 if name[:1] == "p" and name[1:].isdigit() else np.nan)
        if name in ("min", "max", "p0", "p100", "range"):
            why.append("extreme")
        elif name not in ("mean", "sd") and not np.isfinite(share):
            why.append("unknown")
        elif n < rules.threshold or (np.isfinite(share) and min(share, 1 - share) * n < rules.threshold):
            why.append("few_people")
        else:
            why.append("")
    return _kept(
        frame,
        Policy("means", ("statistic",), ("value",), ("n",)),
        pd.Series(why, index=frame.index, dtype=object),
        rules,
        item,
    )


def _verdict(
    item: str, kind: str, rules: Iterable[str], rows: int, hidden: int, verdict: str | None = None
) -> dict[str, Any]:
    codes = sorted(set(rules))
    found = verdict or (PASS if not hidden else SUPPRESSED if rows else REFUSED)
    reason = "; ".join(REASONS[code] for code in codes) or (REASONS[""] if found == PASS else REASONS["unknown"])
    return dict(zip(COLUMNS, (item, kind, " ".join(codes), found, reason, rows, hidden), strict=True))


def write_disclosure(verdicts: pd.DataFrame, rules: ReleaseRules, path: Path, is_simulated: bool) -> None:
    """Write `disclosure.json`: the rules, and every item with its verdict; counts of rows and cells, no value."""
    items = json.loads(verdicts.loc[:, list(COLUMNS)].to_json(orient="records"))
    write_json(path, {"simulated": is_simulated, "rules": asdict(rules), "items": items})
