"""Why estimates moved between two fits: the move of each is split into kinds of change, which are applied one after another.

In: two versions' rows, both fits' estimates and how the versions came about. Out: parts that add up to the whole move. The
models are fitted by `recidivism`; where versions and fits lie is the caller's business.

The order is `KINDS`. First the old rows under today's code, models and libraries; then, on top of each other, new follow-up
time, new people, corrected records, withdrawals and definitions, until the rows are those of the new version. Each kind's
part is the estimate after it less the estimate before it, so that the parts telescope to the whole. A part holds the chance
of its imputations too, since their draws are tied to the rows: `chance_std_error` says how large that may be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis import recidivism
from orchestration.analysis.imputation import ImputationError
from orchestration.analysis.imputed_cohort import imputed_cohort
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.outcome import judged_estimates, stream
from orchestration.analysis.prediction import reference_risk
from orchestration.analysis.specification import Specification

CODE, FOLLOW_UP, PEOPLE, CORRECTIONS, WITHDRAWALS, DEFINITIONS = (
    "code_and_libraries",
    "new_follow_up",
    "new_people",
    "corrected_records",
    "withdrawals",
    "definitions",
)
KINDS = (CODE, FOLLOW_UP, PEOPLE, CORRECTIONS, WITHDRAWALS, DEFINITIONS)
# What a version of the same study may gain without any number meaning something else.
GROWTH = (FOLLOW_UP, PEOPLE)
PERSON, OUTCOME = "client_id", "outcome_id"
EXIT = ("duration_days", "event", "exit_reason", "is_eligible", "ineligible_reason")
# Who was not followed for one of these reasons is followed once time has passed, not because a record was mended.
NOT_YET = ("supervision_not_ended", "no_followup", "detained_until_exit")
OUTCOME_LIST = "outcome"  # the code list that holds the outcome definitions, which are compared row by row
TERM = ("model_id", "term")
MADE_OF = ("code_hash", "models_hash", "packages", "seed", "imputations")

FitOutcome = Callable[[Inputs, str], pd.DataFrame]


@dataclass(frozen=True)
class Side:
    """One of two fits: the rows of its version, its estimates and manifest, and the build record of its version.

    `intervals` (client_id, outcome_id, start_day, stop_day, event, state; optional) tells a corrected past from a longer
    follow-up where both lengthen the time at risk.
    """

    inputs: Inputs
    estimates: pd.DataFrame
    manifest: Mapping[str, Any]
    record: Mapping[str, Any]
    intervals: pd.DataFrame | None = None


@dataclass(frozen=True)
class Explanation:
    """`parts`: a row per model and term of `TERM`, outcome_id, estimate_old, estimate_new, move, one column per kind,
    chance_std_error, note. `people`: clients by outcome and kind. `caveats`: what cannot be told apart from the tables.
    `fits`: how many outcomes were fitted on the way."""

    parts: pd.DataFrame
    people: pd.DataFrame
    caveats: tuple[str, ...]
    fits: int

    @property
    def largest_remainder(self) -> float:
        """How far the parts of any estimate are from its whole move."""
        known = self.parts[self.parts["move"].notna()]
        return float((known[list(KINDS)].sum(axis=1) - known["move"]).abs().max()) if len(known) else 0.0

    def as_record(self) -> dict[str, Any]:
        """Plain data, for JSON: counts and estimates, no person."""
        return {
            "order": list(KINDS),
            "people": self.people.to_dict("records"),
            "parts": [
                {name: None if value is None or value != value else value for name, value in row.items()}
                for row in self.parts.to_dict("records")
            ],
            "caveats": list(self.caveats),
        }


# --------------------------------------------------------------------------------------------------- kinds of change


def withdrawn_people(old: Mapping[str, Any], new: Mapping[str, Any]) -> frozenset[str]:
    """Pseudonyms whose withdrawal is in the new build record and not in the old. An entry is a pseudonym, or names it
    as `client_id`; an entry that names nobody withdraws nobody whose rows are still there."""

    def named(record: Mapping[str, Any]) -> set[str]:
        entries = record.get("withdrawals", [])
        found = (entry.get(PERSON) if isinstance(entry, Mapping) else entry for entry in entries)
        return {str(name) for name in found if name is not None}

    return frozenset(named(new) - named(old))


def redefined_outcomes(old: pd.DataFrame, new: pd.DataFrame) -> frozenset[str]:
    """Outcomes of both versions whose definition row says something else; a column that only one has counts as changed."""
    columns = sorted({*old.columns, *new.columns} - {OUTCOME})
    was, is_now = (
        frame.set_index(OUTCOME).reindex(columns=columns).astype(object).sort_index() for frame in (old, new)
    )
    both = was.index.intersection(is_now.index)
    before, after = was.loc[both], is_now.loc[both]
    differs = ~((before == after) | (before.isna() & after.isna()))
    return frozenset(str(name) for name in both[differs.any(axis=1).to_numpy()])


def changed_lists(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Code lists other than the outcome definitions that differ between two build records."""
    before, after = old.get("code_lists", {}), new.get("code_lists", {})
    return tuple(name for name in sorted({*before, *after} - {OUTCOME_LIST}) if before.get(name) != after.get(name))


def changed_past(old: pd.DataFrame, new: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Client and outcome whose time at risk up to the old end of follow-up is not what it was."""
    keys = [PERSON, OUTCOME]
    until = old.groupby(keys)["stop_day"].max().rename("until").reset_index()

    def at_risk(frame: pd.DataFrame) -> pd.Series[Any]:
        rows = frame[frame["state"] == "at_risk"].merge(until, on=keys, validate="many_to_one")
        days = (rows[["stop_day", "until"]].min(axis=1) - rows["start_day"]).clip(lower=0)
        return days.groupby([rows[PERSON], rows[OUTCOME]]).sum()

    both = pd.concat([at_risk(old), at_risk(new)], axis=1, keys=["was", "is_now"]).fillna(0)
    known = pd.MultiIndex.from_frame(new[keys].drop_duplicates())
    both = both[both.index.isin(known)]
    return frozenset(both.index[(both["was"] != both["is_now"]).to_numpy()])


@dataclass(frozen=True)
class Sorted:
    """The rows of two cohorts by kind of change.

    `rows`: one per client and outcome of either version, with where it stands in `stack` in each (-1: nowhere), and the
    kind of what changed in its exit (`EXIT`) and in the rest; None where nothing did.
    """

    stack: pd.DataFrame
    rows: pd.DataFrame

    def cohort(self, applied: Collection[str]) -> pd.DataFrame:
        """The old rows with these kinds of change made."""
        rows = self.rows
        is_new = {part: rows[f"{part}_kind"].isin(list(applied)).to_numpy() for part in ("exit", "rest")}
        place = {part: np.where(is_new[part], rows["new_at"], rows["old_at"]) for part in ("exit", "rest")}
        there = place["rest"] >= 0
        made = self.stack.iloc[place["rest"][there]].reset_index(drop=True)
        for column in EXIT:
            if column in made:
                made[column] = self.stack[column].iloc[place["exit"][there]].array
        return made

    def people(self) -> pd.DataFrame:
        """Clients by outcome and kind; one whose exit and record changed in different ways is counted under both."""
        parts = [self.rows[[PERSON, OUTCOME, f"{part}_kind"]].set_axis([PERSON, OUTCOME, "kind"], axis=1) for part in ("exit", "rest")]  # fmt: skip
        every = pd.concat(parts).dropna(subset="kind").drop_duplicates()
        return every.groupby([OUTCOME, "kind"]).size().rename("clients").reset_index()

    def changed(self, outcome: str) -> tuple[str, ...]:
        """The kinds that any row of an outcome has, in the order in which they are applied."""
        rows = self.rows[self.rows[OUTCOME] == outcome]
        found = {*rows["exit_kind"].dropna(), *rows["rest_kind"].dropna()}
        return tuple(kind for kind in KINDS if kind in found)


def sort_changes(
    old: pd.DataFrame,
    new: pd.DataFrame,
    withdrawn: Collection[str] = (),
    redefined: Collection[str] = (),
    past: Collection[tuple[str, str]] = (),
    are_lists_changed: bool = False,
) -> Sorted:
    """Sort what changed between two `analysis_cohort`s into kinds, by client and outcome.

    A row that only the new one has is a new person, one that only the old one has is withdrawn when it is among `withdrawn`
    and corrected otherwise. New follow-up time: no event before, more days at risk now, and nothing before the old exit
    changed (`past` names those where it did); or not followed before for want of time (`NOT_YET`). Everything else is a
    corrected record; a definition where the outcome is `redefined`; and where code lists changed (`are_lists_changed`)
    what would be a correction stands under definitions, since from the tables the two cannot be told apart.
    """
    stack = _stacked(old, new)
    keys = [PERSON, OUTCOME]
    places = [frame[keys].assign(at=range(start, start + len(frame))) for frame, start in ((old, 0), (new, len(old)))]
    rows = places[0].merge(places[1], on=keys, how="outer", suffixes=("_old", "_new"), validate="one_to_one", sort=True)
    was_at, is_at = (rows[name].fillna(-1).astype(int).to_numpy() for name in ("at_old", "at_new"))
    in_both = (was_at >= 0) & (is_at >= 0)
    before, after = stack.iloc[was_at].reset_index(drop=True), stack.iloc[is_at].reset_index(drop=True)
    exit_columns = [name for name in EXIT if name in stack]
    is_exit_changed = in_both & _differs(before, after, exit_columns)
    is_rest_changed = in_both & _differs(
        before, after, [str(name) for name in stack if name not in (*keys, *exit_columns)]
    )

    is_past_changed = pd.MultiIndex.from_frame(rows[keys]).isin(list(past)) if past else np.zeros(len(rows), dtype=bool)
    had_event = before["event"].astype("boolean").fillna(False).to_numpy(dtype=bool)
    was_in, is_in = (_eligible(frame) for frame in (before, after))
    is_longer = (after["duration_days"].astype(float) > before["duration_days"].astype(float)).to_numpy()
    is_extended = in_both & was_in & is_in & ~had_event & is_longer & ~is_past_changed
    reason = before["ineligible_reason"] if "ineligible_reason" in before else pd.Series(None, index=before.index)
    is_reached = in_both & ~was_in & is_in & reason.isin(NOT_YET).to_numpy()

    is_withdrawn = rows[PERSON].isin(list(withdrawn)).to_numpy()
    mended = DEFINITIONS if are_lists_changed else CORRECTIONS
    other = np.where(is_withdrawn, WITHDRAWALS, mended).astype(object)
    nothing = np.full(len(rows), None, dtype=object)
    exit_kind = np.where(is_exit_changed, np.where(is_extended | is_reached, FOLLOW_UP, other), nothing)
    rest_kind = np.where(is_rest_changed, np.where(is_reached, FOLLOW_UP, other), nothing)
    for place in (exit_kind, rest_kind):
        place[was_at < 0] = PEOPLE
        place[is_at < 0] = other[is_at < 0]
        is_changed = pd.notna(place)
        place[is_changed & rows[OUTCOME].isin(list(redefined)).to_numpy()] = DEFINITIONS
    made = rows[keys].assign(old_at=was_at, new_at=is_at, exit_kind=exit_kind, rest_kind=rest_kind)
    return Sorted(stack, made)


def _stacked(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """One below the other; a column that is of two types becomes one of objects, so that no value is turned into another."""
    apart = [str(name) for name in new if name in old and old[name].dtype != new[name].dtype]
    types = dict.fromkeys(apart, object)
    return pd.concat([old.astype(types), new.astype(types)], ignore_index=True)


def _eligible(frame: pd.DataFrame) -> np.ndarray:
    is_in = frame["is_eligible"].astype("boolean").fillna(False).to_numpy(dtype=bool)
    return np.asarray(is_in & frame["event"].notna().to_numpy())


def _differs(before: pd.DataFrame, after: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(n,) whether any of the columns differs; both missing is the same."""
    found = np.zeros(len(before), dtype=bool)
    for name in columns:
        was, is_now = before[name], after[name]
        same = (was == is_now).fillna(False).to_numpy(dtype=bool) | (was.isna() & is_now.isna()).to_numpy()
        found |= ~same
    return found


# ------------------------------------------------------------------------------------------------------------ the split


def explain(old: Side, new: Side, spec: Specification, fit: FitOutcome | None = None) -> Explanation:
    """Split the move of every estimate of a primary outcome that both fits have.

    `fit` (rows, outcome) gives estimates with `TERM`, estimate, std_error and fraction_missing; by default the Cox models of
    `spec` with the new fit's seed. An outcome is fitted once for each kind of change but the last, which is the new fit,
    and once more when code, models or libraries differ. Where rows that are half-way cannot be fitted, the part stands
    under the next kind and `note` says so.
    """
    refit = fit or (lambda rows, outcome: outcome_estimates(rows, outcome, spec, int(new.manifest["seed"])))
    definitions = new.inputs.outcome_definition
    primary = definitions.loc[definitions["role"] == "primary", OUTCOME].astype(str)
    outcomes = [name for name in primary if name in set(old.estimates[OUTCOME])]
    lists = changed_lists(old.record, new.record)
    changes, is_same_code = _changes(old, new), _is_same_code(old, new)
    fits, parts = 0, []
    for outcome in outcomes:
        steps = [*([] if is_same_code else [CODE]), *changes.changed(outcome)]
        path: list[tuple[str, pd.DataFrame | None]] = []
        for number, kind in enumerate(steps, start=1):
            # answers to items, which help to impute, are those of the new version as soon as rows are
            answers = (old if steps[:number] == [CODE] else new).inputs.alliance_item
            if number == len(steps):
                path.append((kind, new.estimates))
                continue
            fits += 1
            rows = replace(
                old.inputs, analysis_cohort=changes.cohort(steps[:number]), outcome_definition=definitions,
                alliance_item=answers,
            )  # fmt: skip
            path.append((kind, _estimates(refit, rows, outcome)))
        parts.append(_telescoped(_of(old.estimates, outcome), _of(new.estimates, outcome), path))
    columns = [*TERM, OUTCOME, "estimate_old", "estimate_new", "move", *KINDS, "chance_std_error", "note"]
    frame = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    people = changes.people()
    return Explanation(
        frame, people[people[OUTCOME].isin(outcomes)].reset_index(drop=True), _caveats(old, new, lists), fits
    )


def risks_without_growth(old: Side, new: Side, risks: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The risks of the reference people had there been no new people and no new follow-up time since the old fit.

    In and out: `reference_risk` tables; `risks` is the old fit's. The old rows with everything else that changed in them are
    fitted by today's code and models. An outcome of which nothing else changed keeps the risks that it had; one that cannot be
    fitted on such rows has none.
    """
    changes, is_same_code = _changes(old, new), _is_same_code(old, new)
    applied = [kind for kind in KINDS if kind not in GROWTH]
    definitions = new.inputs.outcome_definition
    parts = []
    for outcome in recidivism.modelled_outcomes(definitions, spec):
        if is_same_code and not set(changes.changed(outcome)) & set(applied):
            parts.append(_of(risks, outcome))
            continue
        rows = replace(
            old.inputs, analysis_cohort=changes.cohort(applied), outcome_definition=definitions,
            alliance_item=new.inputs.alliance_item,
        ).in_order()  # fmt: skip
        try:
            cohort = recidivism.outcome_cohort(rows.analysis_cohort, outcome, spec)
            seed = stream(int(new.manifest["seed"]), outcome)
            imputed = imputed_cohort(cohort, rows.alliance_item, spec, seed).data
        except (SpecificationError, ImputationError, KeyError):
            continue
        parts.append(reference_risk(cohort, imputed, spec))
    return pd.concat([risks.iloc[:0], *parts], ignore_index=True)


def _changes(old: Side, new: Side) -> Sorted:
    is_known = old.intervals is not None and new.intervals is not None
    return sort_changes(
        old.inputs.analysis_cohort,
        new.inputs.analysis_cohort,
        withdrawn_people(old.record, new.record),
        redefined_outcomes(old.inputs.outcome_definition, new.inputs.outcome_definition),
        changed_past(old.intervals, new.intervals) if is_known else frozenset(),  # type: ignore[arg-type]
        bool(changed_lists(old.record, new.record)),
    )


def _is_same_code(old: Side, new: Side) -> bool:
    return all(old.manifest.get(name) == new.manifest.get(name) for name in MADE_OF)


def outcome_estimates(inputs: Inputs, outcome: str, spec: Specification, seed: int) -> pd.DataFrame:
    """The Cox models of one outcome, as a fit makes them."""
    cohort = recidivism.outcome_cohort(inputs.in_order().analysis_cohort, outcome, spec)
    imputed = imputed_cohort(cohort, inputs.alliance_item, spec, stream(seed, outcome)).data
    return judged_estimates(cohort, imputed, spec)[0]


def _estimates(refit: FitOutcome, rows: Inputs, outcome: str) -> pd.DataFrame | None:
    """None where today's models cannot be fitted on these rows at all."""
    try:
        return refit(rows, outcome)
    except (SpecificationError, ImputationError, KeyError):
        return None


def _of(estimates: pd.DataFrame, outcome: str) -> pd.DataFrame:
    return estimates[estimates[OUTCOME] == outcome]


def _telescoped(old: pd.DataFrame, new: pd.DataFrame, path: list[tuple[str, pd.DataFrame | None]]) -> pd.DataFrame:
    keys = list(TERM)
    numbers = ["estimate", "std_error", "fraction_missing", "imputations"]
    both = old[[*keys, OUTCOME, *numbers]].merge(
        new[[*keys, *numbers]], on=keys, suffixes=("_old", "_new"), validate="one_to_one"
    )
    index = pd.MultiIndex.from_frame(both[keys])
    begin, end = (both[f"estimate_{side}"].to_numpy(dtype=float) for side in ("old", "new"))
    moved = {kind: np.zeros(len(both)) for kind in KINDS}
    at, notes = begin.copy(), np.full(len(both), None, dtype=object)
    for kind, estimates in path:
        value = (
            np.full(len(both), np.nan)
            if estimates is None
            else estimates.set_index(keys)["estimate"].reindex(index).to_numpy(dtype=float)
        )
        known = np.isfinite(value)
        moved[kind] = np.where(known, value - at, 0.0)
        notes[~known] = [f"{'' if note is None else note + ', '}{kind}" for note in notes[~known]]
        at = np.where(known, value, at)
    is_known = np.isfinite(begin) & np.isfinite(end)
    made = both.assign(
        move=end - begin,
        **{kind: np.where(is_known, part, np.nan) for kind, part in moved.items()},
        chance_std_error=np.sqrt(_chance(both, "old") + _chance(both, "new")),
        note=pd.Series(notes, dtype=object).map(
            lambda kinds: kinds and f"not fitted by itself, so under what follows: {kinds}"
        ),
    )
    return made.astype({"note": object})


def _chance(both: pd.DataFrame, side: str) -> np.ndarray:
    """Variance that comes of drawing m imputations: B / m, with B from the fraction missing (Rubin 1987, section 3.1)."""
    share = both[f"fraction_missing_{side}"].to_numpy(dtype=float)
    m = both[f"imputations_{side}"].to_numpy(dtype=float)
    return np.asarray(share * both[f"std_error_{side}"].to_numpy(dtype=float) ** 2 / (m + 1))


def _caveats(old: Side, new: Side, lists: Sequence[str]) -> tuple[str, ...]:
    said = []
    if lists:
        said.append(f"code lists differ ({', '.join(lists)}): corrected records stand under definitions too")
    if old.record.get("code") != new.record.get("code"):
        said.append(
            "the warehouse's code differs: what it changed in the rows of people stands under corrected records"
        )
    if old.record.get("settings") != new.record.get("settings"):
        said.append(
            "the build's settings differ: what they changed in the rows of people stands under corrected records"
        )
    if old.intervals is None or new.intervals is None:
        said.append(
            "no intervals of follow-up: a corrected past that lengthens the time at risk counts as new follow-up"
        )
    return tuple(said)
