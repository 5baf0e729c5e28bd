"""Which columns of the published tables a model may read, and as what: what was known at the origin, or at baseline for Q2.

It stands beside each column in the yml of the marts (`models_read_as`); a column that is not marked is read by no model. No
model is named here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from orchestration.settings import DBT_PROJECT

MARTS = DBT_PROJECT / "models" / "marts"
COHORT = "analysis_cohort"
PREDICTOR_TABLES = ("alliance_change", "client", "officer")
COVARIATE, SCORE, CLUSTER, OUTCOME, PREDICTOR = "covariate", "score", "cluster", "outcome", "predictor"
_SCORE = re.compile(r"(client|officer)_([a-z_]+)_(t\d|state)")
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Column:
    """A column of a mart: its type, what it holds, and what models read it as; None where no model may."""

    data_type: str
    description: str
    read_as: str | None


@dataclass(frozen=True)
class Readable:
    """The columns of the marts that models read, by table, and of every mart which columns it has."""

    cohort: Mapping[str, Column]
    predictors: Mapping[str, Mapping[str, Column]]
    elsewhere: Mapping[str, tuple[str, ...]]

    def named(self, read_as: str) -> tuple[str, ...]:
        """Columns of the cohort that are read as such, in their order."""
        return tuple(name for name, column in self.cohort.items() if column.read_as == read_as)

    @property
    def raters(self) -> tuple[str, ...]:
        return self._parts(0)

    @property
    def scales(self) -> tuple[str, ...]:
        return self._parts(1)

    @property
    def waves(self) -> tuple[str, ...]:
        """The waves whose scores can be known at an origin, such as t1."""
        return tuple(part for part in self._parts(2) if part != "state")

    def _parts(self, place: int) -> tuple[str, ...]:
        found = [match.groups()[place] for name in self.named(SCORE) if (match := _SCORE.fullmatch(name))]
        return tuple(dict.fromkeys(found))

    def why_not(self, column: str) -> str:
        """Why no covariate may be made of a column, in words."""
        if column in self.cohort:
            known = self.cohort[column]
            if known.read_as == OUTCOME:
                return f"{column} is the outcome, or known only after the origin"
            return f"{column} is no measurement: it says whose a row is, or who is in the cohort"
        if _SCORE.fullmatch(column):
            return f"{column} is no score that is known at the origin: those are of {', '.join(self.waves)}, by {' or '.join(self.raters)}, on {', '.join(self.scales)}"
        if tables := self.elsewhere.get(column):
            return f"{column} stands in {' and '.join(tables)}, not among what {COHORT} holds as known at the origin"
        return f"{COHORT} has no column {column}; known at the origin are {', '.join(self.named(COVARIATE))}"


@cache
def readable(marts: Path = MARTS) -> Readable:
    """What the yml of the marts says of their columns."""
    tables = {}
    for path in sorted(marts.glob("*.yml")):
        for model in yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)["models"]:  # noqa: S506 - a safe loader
            tables[str(model["name"])] = {str(entry["name"]): _column(entry) for entry in model["columns"]}
    places: dict[str, list[str]] = {}
    for table, columns in tables.items():
        for name in columns:
            places.setdefault(name, []).append(table)
    return Readable(
        cohort=tables[COHORT],
        predictors={table: {name: one for name, one in tables[table].items() if one.read_as == PREDICTOR} for table in PREDICTOR_TABLES},
        elsewhere={name: tuple(found) for name, found in places.items()},
    )  # fmt: skip


def _column(entry: Mapping[str, object]) -> Column:
    config = entry.get("config")
    meta = config.get("meta") if isinstance(config, dict) else None
    read_as = meta.get("models_read_as") if isinstance(meta, dict) else None
    return Column(str(entry.get("data_type", "")), str(entry.get("description", "")), read_as)
