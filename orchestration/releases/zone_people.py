"""What the zone knows of its people that disclosure control asks for and a fit does not keep: the smallest classes of the predictors
of Q2, and how many people moved from one release to the next. Counts only; no row of a person leaves this module.
"""

from __future__ import annotations

import pandas as pd

from orchestration.analysis.determinants import COMPLETE_CASES, predictor_frame
from orchestration.analysis.development import ALL_PAIRS
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.specification import Specification
from orchestration.releases.disclosure_counts import Band, Release, movement, said

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
    before: Inputs, after: Inputs, release: Release, threshold: int
) -> tuple[dict[str, Band], dict[str, Band]]:
    """By population of `release`: between which numbers lie the people who came in, and who went out, since the release before.

    The band of `threshold` wide, without zero where anybody moved, and exactly zero where nobody did: what the notes of a release
    let somebody know at most. Whoever changed class counts as both.
    """
    entered: dict[str, Band] = {}
    left: dict[str, Band] = {}
    for population in dict.fromkeys(table.population for table in release.tables):
        first, last = _classes(before, population), _classes(after, population)
        classes = [name for name in first if name != "client_id"]
        came, went = movement(first, last, "client_id", classes)
        entered[population], left[population] = _known(came, threshold), _known(went, threshold)
    return entered, left


def _known(count: int, threshold: int) -> Band:
    low, high = said(count, threshold)
    return (0, 0) if count == 0 else (max(low, 1), high)


def _classes(inputs: Inputs, population: str) -> pd.DataFrame:
    """A row per person of a population, with the classes in which its tables count: as text."""
    kind, *parts = population.split(".")
    if kind == "patterns":
        rater, scale, span = parts
        rows = inputs.alliance_change
        rows = rows[(rows["rater"] == rater) & (rows["scale"] == scale) & (rows["span"] == span)]
        rows = rows.assign(pattern=rows["pattern"].astype("string").fillna(""))
        wide = rows.pivot_table(index="client_id", columns="rule", values="pattern", aggfunc="first")
        changed = rows.groupby("client_id")["officer_changed"].first().astype("string").fillna("")
        return _as_classes(wide.assign(officer_changed=changed).reset_index())
    if kind == "flow":
        rows = inputs.analysis_cohort
        rows = rows.assign(reason=rows["ineligible_reason"].astype("string").fillna(""))
        wide = rows.pivot_table(index="client_id", columns="outcome_id", values="reason", aggfunc="first")
        return _as_classes(wide.reset_index())
    outcome = parts[0]
    cohort = inputs.analysis_cohort[inputs.analysis_cohort["outcome_id"] == outcome]
    cohort = cohort[cohort["is_eligible"].astype("boolean").fillna(False).astype(bool)]
    if kind == "events":
        events = inputs.followup_event[inputs.followup_event["outcome_id"] == outcome]
        counted = events.groupby("client_id")["event"].sum()
        return _as_classes(pd.DataFrame({"client_id": cohort["client_id"], "class": cohort["client_id"].map(counted)}))
    return _as_classes(cohort.drop(columns=["officer_id", "outcome_id"]))


def _as_classes(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows.astype("string").fillna("").reset_index(drop=True)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)
