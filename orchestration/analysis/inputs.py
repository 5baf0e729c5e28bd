"""The published tables that models read, as frames. Which version is read is the caller's business; that it is a published one, not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pandas as pd

from orchestration.warehouse.versions import Version, verify

DAYS_PER_MONTH = 30.4375


class InputError(ValueError):
    """A published table that models need is not there, or has no rows; names the table."""


@dataclass(frozen=True)
class Inputs:
    """One frame for each published table that a model reads, named as the table is."""

    alliance_change: pd.DataFrame
    alliance_item: pd.DataFrame
    alliance_pattern_agreement: pd.DataFrame
    alliance_score: pd.DataFrame
    analysis_cohort: pd.DataFrame
    benchmark_recid: pd.DataFrame
    client: pd.DataFrame
    cohort_flow: pd.DataFrame
    covariate: pd.DataFrame
    dyad: pd.DataFrame
    followup_event: pd.DataFrame
    followup_interval: pd.DataFrame
    officer: pd.DataFrame
    outcome_definition: pd.DataFrame
    scale_reliability: pd.DataFrame
    wave: pd.DataFrame

    def in_order(self) -> Inputs:
        """The same rows sorted by all columns, so that sums of floating-point numbers do not depend on how they were stored."""
        return Inputs(
            **{
                name: frame.sort_values(list(frame.columns), kind="stable", ignore_index=True) if len(frame) else frame
                for name, frame in self.tables.items()
            }
        )

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        return {name: getattr(self, name) for name in MODEL_TABLES}


MODEL_TABLES: tuple[str, ...] = tuple(field.name for field in fields(Inputs))


def read_inputs(version: Version) -> Inputs:
    """Every table of `MODEL_TABLES` of a published version, held against its manifest: a candidate is none, and has no way in.

    Raises `InputError` when a table is missing, and `VersionDamaged`.
    """
    absent = [name for name in MODEL_TABLES if not (version.folder / f"{name}.parquet").is_file()]
    if absent:
        raise InputError(f"the version lacks {', '.join(absent)}; expected {len(MODEL_TABLES)} tables that models read")
    verify(version)
    return Inputs(**{name: pd.read_parquet(version.folder / f"{name}.parquet") for name in MODEL_TABLES})
