"""What each part of a fit reads, as fingerprints, and what an earlier fit of the same code may lend to a new one.

A part is a table that is made from whole input tables, or one outcome. A part whose rows are the same, made by the same
code, models, libraries and seed, is taken over bit for bit. No model is fitted here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.inputs import Inputs
from orchestration.analysis.processes import in_detention_family
from orchestration.analysis.recidivism import OutcomeCohort, modelled_outcomes, outcome_cohort
from orchestration.analysis.specification import Specification
from orchestration.hashing import combined_hash, content_hash, sha256_bytes

_Q2 = ("alliance_change", "alliance_score", "client", "covariate", "dyad", "officer")
# Tables of a fit that are made from whole input tables, and which those are.
WHOLE = {
    "wave_means": ("alliance_score", "dyad"),
    "change_patterns": ("alliance_change",),
    "pattern_agreement": ("alliance_pattern_agreement",),
    "growth": ("alliance_score", "dyad"),
    "rater_agreement": ("alliance_score", "dyad", "wave"),
    "rater_convergence": ("alliance_score", "dyad", "wave"),
    "reliability": ("scale_reliability",),
    "determinants": _Q2,
    "marginal_effects": _Q2,
    "determinant_tests": _Q2,
    "determinant_imputation": _Q2,
    "determinant_coding": _Q2,
    "benchmark": ("benchmark_recid",),
    "cohort_flow": ("cohort_flow",),
}
BY_OUTCOME = ("analysis_cohort", "outcome_definition")
OF_EVERY_OUTCOME = (
    "alliance_change",
    "alliance_item",
    "followup_event",
    "followup_interval",
)  # read whole: better a fit too many
MADE_BY = ("code_hash", "packages", "seed", "models_hash")


def outcome_part(outcome: str) -> str:
    """The name of an outcome's part."""
    return f"outcome {outcome}"


def rows_read(inputs: Inputs, spec: Specification) -> dict[str, str]:
    """The fingerprint of exactly the rows that each part reads, in any order of rows.

    Of an outcome that is its cohort as the models take it (the eligible, with the columns that some model has), those of the
    definitions that treat detention otherwise, and all these definitions; and the tables of `OF_EVERY_OUTCOME`.
    """
    hashes = {name: _of_frame(frame) for name, frame in inputs.tables.items() if name not in BY_OUTCOME}
    shared = {name: hashes[name] for name in OF_EVERY_OUTCOME}
    found = {part: combined_hash({name: hashes[name] for name in tables}) for part, tables in WHOLE.items()}
    definitions = inputs.outcome_definition
    for outcome in modelled_outcomes(definitions, spec):
        family = sorted({outcome, *in_detention_family(definitions, outcome).values()})
        cohorts = {name: cohort_hash(outcome_cohort(inputs.analysis_cohort, name, spec)) for name in family}
        definition = _of_frame(definitions[definitions["outcome_id"].isin(family)])
        found[outcome_part(outcome)] = combined_hash({**shared, **cohorts, "definition": definition})
    return found


def cohort_hash(cohort: OutcomeCohort) -> str:
    """One hash over everything that an outcome's models are given."""
    parts = {}
    for field in fields(cohort):
        value = getattr(cohort, field.name)
        if isinstance(value, np.ndarray):
            value = pd.DataFrame({field.name: value})
        parts[field.name] = _of_frame(value, in_order=True) if isinstance(value, pd.DataFrame) else str(value)
    return combined_hash(parts)


def _of_frame(frame: pd.DataFrame, in_order: bool = False) -> str:
    import pyarrow as pa

    numbered = frame.assign(_row=np.arange(len(frame))) if in_order else frame
    return content_hash(pa.Table.from_pandas(numbered, preserve_index=False).replace_schema_metadata(None))


def models_hash(spec: Specification) -> str:
    """One hash over everything that `models.yml` and the settings say of the models, the number of imputations included."""
    return sha256_bytes(repr(spec).encode())


@dataclass(frozen=True)
class Earlier:
    """A fit that may lend its parts: its tables and what each part of it read."""

    tables: Mapping[str, pd.DataFrame]
    rows_read: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, made_by: Mapping[str, Any]) -> Earlier | None:
        """The fit in a folder, or None when it was made by other code, models, libraries or seed (`MADE_BY`)."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if "rows_read" not in manifest or any(manifest.get(name) != made_by[name] for name in MADE_BY):
            return None
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in manifest["tables"]}
        return cls(tables, manifest["rows_read"])


class Lender:
    """What an earlier fit lends to one whose parts read `marks`; `taken` names what was taken over."""

    def __init__(self, earlier: Earlier | None, marks: Mapping[str, str]) -> None:
        self._earlier, self._marks = earlier, marks
        self.taken: list[str] = []

    def table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A table that is made from whole input tables: the earlier one while those are the same, else what `make` gives."""
        earlier = self._lent(name)
        return make() if earlier is None else earlier.tables[name]

    def outcome(self, outcome: str, tables: Sequence[str]) -> dict[str, pd.DataFrame] | None:
        """The rows of an outcome in each of `tables`, while the rows that it read are the same.

        A table without `outcome_id` is taken by what its `model_id` begins with.
        """
        earlier = self._lent(outcome_part(outcome))
        if earlier is None:
            return None
        found = {}
        for name in tables:
            frame = earlier.tables[name]
            own = frame["outcome_id"] if "outcome_id" in frame else frame["model_id"].str.partition(".")[0]
            found[name] = frame[own == outcome].reset_index(drop=True)
        return found

    def _lent(self, part: str) -> Earlier | None:
        if self._earlier is None or self._earlier.rows_read.get(part, "") != self._marks[part]:
            return None
        self.taken.append(part)
        return self._earlier
