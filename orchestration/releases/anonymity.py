"""How many people share their quasi-identifiers, for whoever approves a release: counts only. Which columns these are, and how they are
banded, stands as `quasi_identifier` in the yml of the marts; microdata stay in the zone whatever comes out here.

k-anonymity: Samarati & Sweeney (1998); every combination up to a size is looked at, as special uniques are (Elliot et al. 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.trouble import Mendable

MISSING = "missing"
LEVELS = (1, 2, 3, 5, 10)
COLUMNS = ("size", "quasi_identifiers", "people", "classes", "least_k", "median_k", "unique", "below_threshold")


class NotDeclared(Mendable):
    """A quasi-identifier is declared that the data do not have, or none is; says which."""


@dataclass(frozen=True)
class QuasiIdentifier:
    """A column that somebody may know of a person. `bands`: lower limits of the bands in which a number counts as known; without
    them the value does."""

    name: str
    bands: tuple[float, ...] = ()


def declared(marts: Path) -> tuple[QuasiIdentifier, ...]:
    """What `client.yml` and `covariate.yml` in `marts` declare; covariates by their name. Raises NotDeclared when nothing is."""
    import yaml

    found = []
    for table in ("client", "covariate"):
        model = yaml.safe_load((marts / f"{table}.yml").read_text(encoding="utf-8"))["models"][0]
        for column in model["columns"]:
            said: Mapping[str, Any] | None = column.get("config", {}).get("meta", {}).get("quasi_identifier")
            if said is not None:
                names = said.get("names", [column["name"]])
                found += [QuasiIdentifier(name, tuple(said.get("bands", ()))) for name in names]
    if not found:
        raise NotDeclared(f"no column of {marts.name}/client.yml or covariate.yml is declared a quasi_identifier")
    return tuple(found)


def known_of_people(
    client: pd.DataFrame, covariate: pd.DataFrame, identifiers: tuple[QuasiIdentifier, ...]
) -> pd.DataFrame:
    """One row per client, one column of text per quasi-identifier, banded; of a covariate the first value. Not known is `missing`.

    Raises NotDeclared for one that is neither a column of `client` nor a name of `covariate`.
    """
    first = covariate.dropna(subset=["value"]).sort_values(["measured_day", "source"], kind="stable")
    wide = first.drop_duplicates(["client_id", "name"]).pivot(index="client_id", columns="name", values="value")
    rows = client.set_index("client_id")
    out = {}
    for one in identifiers:
        if one.name in rows:
            values = rows[one.name]
        elif one.name in set(covariate["name"]):
            values = wide[one.name].reindex(rows.index) if one.name in wide else pd.Series(np.nan, index=rows.index)
        else:
            raise NotDeclared(f"{one.name} is declared a quasi_identifier, and neither client nor covariate has it")
        out[one.name] = _banded(values, one.bands)
    return pd.DataFrame(out, index=rows.index).reset_index(drop=True)


def _banded(values: pd.Series, bands: tuple[float, ...]) -> pd.Series:
    if not bands:
        if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
            values = values.astype("Int64")  # with missing values a whole number became a fraction
        return values.astype("string").fillna(MISSING).astype(object)
    numbers = pd.to_numeric(values, errors="coerce")
    place = pd.Series(np.searchsorted(bands, numbers.fillna(-np.inf), side="right"), index=values.index)
    return place.astype(str).where(numbers.notna(), MISSING)


def anonymity_report(known: pd.DataFrame, threshold: int = 10, most: int = 3) -> pd.DataFrame:
    """k by combination of quasi-identifiers: all those of 1 to `most` of them, and all together. Columns `COLUMNS`, no value.

    k of a person is the number of people with the same classes. `classes`: how many combinations occur; `unique`: people with
    k = 1; `below_threshold`: people with a k below it.
    """
    names = list(known.columns)
    sizes = sorted({*range(1, min(most, len(names)) + 1), len(names)})
    rows = []
    for size in sizes:
        for chosen in combinations(names, size):
            k = _k(known, chosen)
            rows.append(
                {
                    "size": size, "quasi_identifiers": " ".join(chosen), "people": len(known), "classes": len(known[list(chosen)].drop_duplicates()),
                    "least_k": int(k.min()) if len(k) else 0, "median_k": float(k.median()) if len(k) else 0.0,
                    "unique": int((k == 1).sum()), "below_threshold": int((k < threshold).sum()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def distribution(known: pd.DataFrame) -> pd.DataFrame:
    """How many people have a k of 1, 2, 3-4, 5-9, 10 and more, all quasi-identifiers together: columns k, people."""
    k = _k(known, tuple(known.columns))
    limits = [*LEVELS, np.inf]
    labels = [f"{low}" if high == low + 1 else f"{low} to {int(high) - 1}" if np.isfinite(high) else f"{low} and more" for low, high in pairwise(limits)]  # fmt: skip
    people = [int(((k >= low) & (k < high)).sum()) for low, high in pairwise(limits)]
    return pd.DataFrame({"k": labels, "people": people})


def _k(known: pd.DataFrame, chosen: tuple[str, ...]) -> pd.Series:
    return known.groupby(list(chosen), sort=False)[chosen[0]].transform("size").astype(int)
