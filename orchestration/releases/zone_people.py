"""What the zone knows of its people that disclosure control asks for and a fit does not keep: the smallest classes of the predictors
of Q2, and how many people moved from one release to the next. Counts only; no row of a person leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from orchestration.analysis.determinants import COMPLETE_CASES, predictor_frame
from orchestration.analysis.development import ALL_PAIRS
from orchestration.analysis.grouping import ALL, groupings
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.recidivism import outcome_cohort
from orchestration.analysis.recurrent import stretches
from orchestration.analysis.specification import Specification
from orchestration.releases.disclosure_counts import Band, movement, said

FLOW = "flow"
CLASS_COLUMNS = ("model_id", "term", "people")


def determinant_classes(inputs: Inputs, spec: Specification, determinants: pd.DataFrame) -> pd.DataFrame:
    """The smallest class of every 0/1 predictor within any pattern of each model of Q2 (`CLASS_COLUMNS`), for `judge_fit`.

    Counted are people of whom the value is known; imputation only adds to a class, so that no imputed data set has a smaller one. In
    complete cases, those of whom every predictor is known. `determinants`: the table of the fit, which says which models there are.
    """
    rules = spec.determinants
    known = predictor_frame(inputs, rules)
    change = inputs.alliance_change[inputs.alliance_change["span"] == rules.span]
    identity = ["model_id", "rater", "scale", "rule", "pairs", "missing"]
    models = determinants[identity].drop_duplicates()
    patterns = determinants.groupby("model_id")["pattern"].agg(set)
    predictors = [one for one in rules.known if not one.is_auxiliary]
    rows = []
    for (rater, scale, rule), named in models.groupby(["rater", "scale", "rule"], sort=True):
        of_it = (change["rater"] == rater) & (change["scale"] == scale) & (change["rule"] == rule)
        pairs = change[of_it & change["pattern"].notna()].sort_values("client_id", kind="stable")
        from_change = {one.name: one.covariate.of(pairs).astype(float) for one in predictors if one.table == "alliance_change"}  # fmt: skip
        columns = ["client_id", "pattern", "officer_changed"]
        people = pairs[columns].assign(**from_change).merge(known, on="client_id", how="left", validate="1:1")
        is_same = ~people["officer_changed"].astype("boolean").fillna(False).astype(bool)
        names = [one.name for one in predictors]
        for model, which, missing in named[["model_id", "pairs", "missing"]].itertuples(index=False, name=None):
            chosen = people if which == ALL_PAIRS else people[is_same]
            chosen = chosen.dropna(subset=names) if missing == COMPLETE_CASES else chosen
            chosen = chosen[chosen["pattern"].isin(patterns[model] | {rules.reference})]
            rows += [(model, name, _smallest(chosen, name)) for name in names if set(people[name].dropna()) <= {0, 1}]
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


def _smallest(people: pd.DataFrame, name: str) -> int:
    """The fewest people with a 0, or with a 1, in any pattern."""
    counts = [int((rows[name] == value).sum()) for _, rows in people.groupby("pattern") for value in (0, 1)]
    return min(counts, default=0)


def movements(
    before: Inputs, after: Inputs, populations: Iterable[str], spec: Specification, threshold: int
) -> tuple[dict[str, Band], dict[str, Band]]:
    """By population of count tables: between which numbers lie the people who came in, and who went out, since the release before.

    The band of `threshold` wide, without zero where anybody moved, and exactly zero where nobody did: what the notes of a release
    let somebody know at most. Whoever changed class counts as both. Of the flow, whose first steps hold people who are in no table,
    it is said only that nobody moved.
    """
    entered: dict[str, Band] = {}
    left: dict[str, Band] = {}
    for population in populations:
        first, last = (_classes(inputs, population, spec) for inputs in (before, after))
        came, went = movement(first, last, "client_id", [str(name) for name in last if name != "client_id"])
        if population == FLOW and (came or went or not before.cohort_flow.equals(after.cohort_flow)):
            continue
        entered[population], left[population] = _known(came, threshold), _known(went, threshold)
    return entered, left


def _known(count: int, threshold: int) -> Band:
    low, high = said(count, threshold)
    return (0, 0) if count == 0 else (max(low, 1), high)


def _classes(inputs: Inputs, population: str, spec: Specification) -> pd.DataFrame:
    """A row per person of a population, with the classes in which its tables count (`disclosure.pattern_tables` and its likes)."""
    kind, *parts = population.split(".")
    if kind == "patterns":
        rater, scale, span = parts
        rows = inputs.alliance_change
        rows = rows[(rows["rater"] == rater) & (rows["scale"] == scale) & (rows["span"] == span) & rows["pattern"].notna()]  # fmt: skip
        wide = rows.pivot_table(index="client_id", columns="rule", values="pattern", aggfunc="first")
        wide = wide.reindex(columns=sorted(set(inputs.alliance_change["rule"])))
        changed = rows.groupby("client_id")["officer_changed"].first()
        return wide.assign(officer_changed=changed.reindex(wide.index)).reset_index()
    if kind == FLOW:
        rows = inputs.analysis_cohort
        reason = rows["ineligible_reason"].astype("string").fillna("")
        return pd.DataFrame({"client_id": rows["client_id"] + " " + rows["outcome_id"], "reason": reason})
    cohort = outcome_cohort(inputs.analysis_cohort, parts[0], spec)
    clients = pd.Series(cohort.client, dtype=object)
    if kind == "events":
        counted = stretches(inputs.followup_event, cohort).groupby("who")["event"].sum()
        return pd.DataFrame({"client_id": clients[counted.index].to_numpy(), "events": counted.to_numpy()})
    rules = spec.recidivism
    named = [
        one for one in groupings(cohort, inputs.alliance_change, spec)
        if (one.rater, one.scale, one.name) == (rules.rater, rules.grouped_scale, f"pattern_{rules.pattern_rules[0]}")
    ]  # fmt: skip
    value = cohort.covariates[parts[1]].to_numpy()
    people = pd.DataFrame({"client_id": clients, "group": named[0].label if named else ALL, "value": value})
    return people[people["value"].notna()]
