"""A fit of one's own: a researcher's models, outcome definitions or both, on a published version, kept apart under a name.

It lies in `own/<name>/` of the home, in the form of a fit. The platform's fits, the pointer to the current one and the ledger
know nothing of it. How outcomes are computed is in the warehouse, what a fit is in `fit.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.analysis.fit import MANIFEST, made_by, recovery_badge, run_fit, write_fit
from orchestration.analysis.imputation import ImputationError
from orchestration.analysis.inputs import MODEL_TABLES, InputError, Inputs, read_inputs
from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.pooled_cox import PARTIAL_LIKELIHOOD
from orchestration.analysis.recidivism import OutcomeCohort, modelled_outcomes, outcome_cohort
from orchestration.analysis.reuse import rows_read
from orchestration.analysis.showing.report import render_report
from orchestration.analysis.specification import MODELS, Specification, read_specification
from orchestration.files import folder_by_rename
from orchestration.hashing import combined_hash, is_as_marked, sha256_file
from orchestration.ledger import Ledger
from orchestration.progress import Progress, named
from orchestration.settings import Settings
from orchestration.trouble import Mendable
from orchestration.warehouse import aside
from orchestration.warehouse.build import one_writer
from orchestration.warehouse.outcomes import OutcomeNotDefined, read_definitions
from orchestration.warehouse.versions import Version, require_present

OWN = "own"  # the role of outcome definitions of one's own
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
REPORT = "report.html"
FEW_EVENTS_PER_PARAMETER = 10
_COPIES = {"models": "models.yml", "outcomes": "outcomes.csv"}


class CannotFitOwn(Mendable):
    """A fit of one's own cannot be made as asked; says everything that stands in the way."""


class NameTaken(Mendable):
    """A fit of one's own has that name and was made of something else; says of what."""


@dataclass(frozen=True)
class Asked:
    """What a person asks for: the version, their file of models or None for the platform's, of outcomes or None, and a name."""

    version: Version
    models: Path | None = None
    outcomes: Path | None = None
    name: str | None = None


@dataclass(frozen=True)
class Own:
    """A fit of one's own: its name, folder and manifest, and whether it was made now or was there, the same to the bit."""

    name: str
    folder: Path
    manifest: Mapping[str, Any]
    is_new: bool


@dataclass(frozen=True)
class _Read:
    """What the files say, and what the fit is made of, by which two of one name are told apart."""

    spec: Specification
    seed: int
    definitions: Sequence[Mapping[str, str]]
    made_of: Mapping[str, Any]


def fit_own(settings: Settings, ledger: Ledger, asked: Asked, progress: Progress) -> Own:
    """Check the files wholly, compute the outcomes beside the version, fit, and write `own/<name>/` with its report.

    A name that is there with the same contents gives what is there, held against its manifest. Raises SpecificationError,
    OutcomeNotDefined or CannotFitOwn (everything that is wrong at once), NameTaken, and VersionDamaged.
    """
    if asked.models is None and asked.outcomes is None:
        raise CannotFitOwn("a fit of one's own has models, outcomes or both of one's own; give a file of either")
    if asked.name is not None and not NAME.fullmatch(asked.name):
        raise CannotFitOwn(
            "a name begins with a small letter or a digit and holds small letters, digits, - and _, 63 at most"
        )
    settings.own.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".asked-", dir=settings.own) as place:
        copied = _copied(asked, Path(place))
        read = _read(settings, copied)
        name = asked.name or combined_hash({key: json.dumps(value, sort_keys=True) for key, value in read.made_of.items()})[:16]  # fmt: skip
        folder = settings.own / name
        if folder.exists():
            return Own(name, folder, _as_it_is(folder, read.made_of), False)
        inputs, outcomes = read_inputs(asked.version), None
        if copied.outcomes is not None:
            progress("outcomes", 0, 1)
            with one_writer(settings):
                outcomes, _ = aside.own_outcomes(settings, ledger, asked.version, copied.outcomes)
            inputs = with_outcomes(inputs, outcomes)
        _require_readable(inputs, read.spec)
        manifest = {
            **_said_of(asked.version, read, name), "outcomes_folder": None if outcomes is None else outcomes.name,
            "fingerprint": combined_hash(rows_read(inputs.in_order(), read.spec)),
        }  # fmt: skip
        try:
            result = run_fit(inputs, read.spec, read.seed, named("fit", progress))
        except (ImputationError, InputError, SpecificationError) as error:
            raise CannotFitOwn(f"nothing is fitted: {error}") from None
        few = few_events(result.estimates)
        require_present(asked.version)
        with folder_by_rename(folder) as filled:
            whole = write_fit(result, filled, {**manifest, **few})
            for which, path in (("models", copied.models or MODELS), ("outcomes", copied.outcomes)):
                if path is not None:
                    shutil.copyfile(path, filled / _COPIES[which])
            render_report(filled, asked.version.manifest, filled / REPORT, settings.small_cell, read.spec)
        if json.loads((folder / MANIFEST).read_text(encoding="utf-8")) != json.loads(json.dumps(whole)):
            raise NameTaken(f"{name} was made by somebody else meanwhile, of something else; choose another name")
        return Own(name, folder, whole, True)


def with_outcomes(inputs: Inputs, folder: Path) -> Inputs:
    """The tables of a version with those of outcomes of one's own below them, their role being `own`.

    Raises CannotFitOwn where files are not what the folder's manifest says, and where the tables have other columns, which is
    so when the version was built by other code.
    """
    entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["tables"]
    damaged = [name for name, entry in entries.items() if not is_as_marked(folder / f"{name}.parquet", entry["sha256"])]
    if damaged:
        raise CannotFitOwn(
            f"{', '.join(damaged)} in {folder} are not what its manifest says; remove the folder and fit again"
        )
    added = {}
    for name in sorted({*MODEL_TABLES} & {*aside.OUTCOME_TABLES}):
        before, own = inputs.tables[name], pd.read_parquet(folder / f"{name}.parquet")
        if set(before) != set(own):
            raise CannotFitOwn(
                f"{name} of the version has other columns than this code computes; `delictvrij refresh` makes a version of today's code"
            )
        if name == "outcome_definition":
            own = own.assign(role=OWN)
        added[name] = pd.concat([part for part in (before, own[list(before)]) if len(part)] or [before], ignore_index=True)  # fmt: skip
    return replace(inputs, **added)


def few_events(estimates: pd.DataFrame) -> dict[str, int]:
    """How many models have fewer than ten events for each parameter, and how many of these went without a penalty."""
    first = estimates.dropna(subset="events_per_parameter").drop_duplicates("model_id")
    few = first[first["events_per_parameter"] < FEW_EVENTS_PER_PARAMETER]
    return {
        "models_with_few_events_per_parameter": len(few),
        "models_with_few_events_and_no_penalty": int((few["method"] == PARTIAL_LIKELIHOOD).sum()),
    }


def _copied(asked: Asked, place: Path) -> Asked:
    """What was asked for, with copies of the files, which are what is checked, hashed, used and kept."""

    def copy(which: str, path: Path | None) -> Path | None:
        if path is None:
            return None
        if not path.is_file():
            raise CannotFitOwn(f"there is no file {path}")
        (place / which).mkdir()
        return Path(shutil.copyfile(path, place / which / path.name))

    return replace(asked, models=copy("models", asked.models), outcomes=copy("outcomes", asked.outcomes))


def _read(settings: Settings, asked: Asked) -> _Read:
    """Both files, checked by themselves and against each other and the version."""
    troubles: list[Mendable] = []
    spec, definitions = read_specification().with_imputations(settings.imputations), []
    try:
        spec = read_specification(asked.models) if asked.models else spec
    except SpecificationError as error:
        troubles.append(error)
    try:
        definitions = read_definitions(asked.outcomes) if asked.outcomes else []
    except OutcomeNotDefined as error:
        troubles.append(error)
    if not troubles and asked.outcomes:
        there = pd.read_parquet(asked.version.folder / "outcome_definition.parquet")
        if found := [*_clashes(definitions, there), *_unknown_scores(definitions, spec)]:
            listed = "\n  ".join(found)
            troubles.append(CannotFitOwn(f"{asked.outcomes.name}, {len(found)} thing(s) to mend:\n  {listed}"))
    if not troubles and not asked.outcomes and not spec.recidivism.outcome_roles:
        troubles.append(CannotFitOwn("recidivism.outcome_roles is empty and no outcomes are given: there would be no model"))  # fmt: skip
    if len(troubles) == 1:
        raise troubles[0]
    if troubles:
        raise CannotFitOwn("\n".join(map(str, troubles)))
    seed = spec.seed if asked.models else settings.seed
    files = {which: None if (path := getattr(asked, which)) is None else sha256_file(path) for which in _COPIES}
    made_of = {"version_id": asked.version.version_id, "files": files, **made_by(spec, seed)}
    if asked.outcomes:
        rules = replace(spec.recidivism, outcome_roles=(*spec.recidivism.outcome_roles, OWN))
        spec = replace(spec, recidivism=rules)
    return _Read(spec, seed, definitions, made_of)


def _clashes(definitions: Sequence[Mapping[str, str]], there: pd.DataFrame) -> list[str]:
    """Rows whose name the version has, and rows that define what it defines under another name."""
    compared = [name for name in definitions[0] if name in there and name not in ("outcome_id", "version", "role")]
    known = {tuple(map(_as_text, row)): str(name) for name, *row in there[["outcome_id", *compared]].itertuples(index=False)}  # fmt: skip
    found = []
    for number, row in enumerate(definitions, start=1):
        if row["outcome_id"] in set(there["outcome_id"].astype(str)):
            found.append(f"row {number}: outcome_id {row['outcome_id']} is one of the version's; choose another")
        elif compared and (same := known.get(tuple(row[name] for name in compared))) is not None:
            found.append(f"row {number}: {row['outcome_id']} says the same as {same} of the version, which is fitted as it is")  # fmt: skip
    return found


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or type(value).__name__ == "bool" else str(value)


def _unknown_scores(definitions: Sequence[Mapping[str, str]], spec: Specification) -> list[str]:
    """Rows whose follow-up begins before the scores are there that the models read."""
    if not any(column.endswith("_t2") for column in spec.score_columns):
        return []
    return [
        f"row {number}: with origin supervision_start and entry origin no score of t2 is known, and the models impute it; "
        "enter at the landmark"
        for number, row in enumerate(definitions, start=1)
        if row["origin"] == "supervision_start" and row["entry"] == "origin"
    ]


def _require_readable(inputs: Inputs, spec: Specification) -> None:
    """What only the version can say: whether it has the columns and names that the models read, and an outcome for them."""
    wanted = {*spec.score_columns, *(spec.covariates[name].column for name in spec.imputed_covariates), spec.recidivism.cluster}  # fmt: skip
    lacking = sorted(wanted - {*inputs.analysis_cohort})
    names = {one.covariate.column for one in spec.determinants.predictors if one.table == "covariate"}
    unheard = sorted(names - {*inputs.covariate["name"].astype(str)})
    troubles = [f"analysis_cohort of the version has no {', '.join(lacking)}"] if lacking else []
    if unheard:
        known = ", ".join(sorted(inputs.covariate["name"].astype(str).unique()))
        troubles.append(f"covariate of the version has no rows of {', '.join(unheard)}; it has {known}")
    modelled = modelled_outcomes(inputs.outcome_definition, spec)
    if not modelled:
        troubles.append("no outcome of the version has a role that recidivism.outcome_roles names: there would be no model")  # fmt: skip
    if not lacking:
        cohorts = [outcome_cohort(inputs.analysis_cohort, outcome, spec) for outcome in modelled]
        troubles += [trouble for cohort in cohorts if (trouble := _nobody_has(cohort))]
    if troubles:
        raise CannotFitOwn("; ".join(troubles))


def _nobody_has(cohort: OutcomeCohort) -> str | None:
    """What no client of an outcome has at its origin, in words: a score that was rated later, or nothing that was measured."""
    empty = [str(name) for name, column in cohort.covariates.items() if column.isna().all()]
    if not cohort.n or not empty:
        return None
    return (
        f"{cohort.outcome_id}: none of its {cohort.n} clients has {', '.join(empty)} at the origin, and the models read or impute it; "
        "a later origin or entry, or other models, would have it"
    )


def _said_of(version: Version, read: _Read, name: str) -> dict[str, Any]:
    """What the manifest of a fit of one's own says that no other does, and what the caller of `write_fit` knows."""
    files = read.made_of["files"]
    of = " and ".join([*(["the models"] if files["models"] else []), *(["outcome definitions"] if files["outcomes"] else [])])  # fmt: skip
    badge = recovery_badge()
    return {
        "fit_id": f"{OWN}/{name}",
        "version_id": version.version_id,
        "simulated": version.manifest["simulated"],
        "registry_cutoff_on": version.manifest["registry_cutoff_on"],
        "is_platform_fit": False,
        "own": {
            "name": name,
            "said": f"a fit of one's own ({of}), not the platform's: no gate has judged it, and nothing that is published rests on it",
            "outcomes": [row["outcome_id"] for row in read.definitions],
            "files": {_COPIES[which]: mark for which, mark in files.items() if mark},
        },
        "made_of": dict(read.made_of),
        "recovery": {
            "is_proven": False,
            "said": f"not what was proven: {of} are one's own, and known effects were looked for with the platform's alone (of them: {badge['said']})",
        },
    }


def _as_it_is(folder: Path, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of what is there, if it was made of the same and its files are what it says. Raises NameTaken, CannotFitOwn."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise NameTaken(f"{folder} is there and is no fit of one's own; choose another name") from None
    before = manifest.get("made_of", {})
    differing = sorted(key for key in made_of if before.get(key) != made_of[key])
    if differing:
        raise NameTaken(
            f"{folder.name} is there and was made of other {', '.join(name.replace('_', ' ') for name in differing)}; it stays as it is: "
            "choose another name"
        )
    marks = {f"{name}.parquet": entry["sha256"] for name, entry in manifest["tables"].items()} | manifest["own"][
        "files"
    ]
    damaged = [name for name, mark in marks.items() if not is_as_marked(folder / name, mark)]
    if damaged:
        raise CannotFitOwn(
            f"{len(damaged)} files in {folder} are not what its manifest says: {', '.join(damaged)}; remove the folder and fit again"
        )
    return manifest
