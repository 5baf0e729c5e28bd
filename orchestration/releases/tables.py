"""The tables of a release as they are written: the published ones, one row per client with the waves side by side, and the imputed
data sets below the original. How a table becomes a file is in `formats.py`; what a column is, in `catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.releases.catalogue import (
    LANGUAGES,
    YES_NO,
    Catalogue,
    Label,
    NotDescribed,
    TableDescription,
    Variable,
    labelled,
)
from orchestration.trouble import Mendable
from orchestration.warehouse.versions import Version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from orchestration.analysis.specification import Covariate, Specification

WIDE = "wide"
FOLLOWED = ("event", "days_at_risk", "exit_reason", "maturity")
WIDE_OF: Mapping[str, tuple[str, ...] | None] = {
    "client": None, "wave": ("client_id", "rater", "wave", "status", "measured_day"),
    "alliance_score": ("client_id", "rater", "wave", "scale", "score"), "followup": ("client_id", "outcome_id", *FOLLOWED),
    "outcome_definition": ("outcome_id", "role"),
}  # fmt: skip
IMPUTED = "imputed"
IMPUTATION, ROW = "Imputation_", "Row_"
ARROW = {"text": "string", "integer": "int32", "decimal": "double", "boolean": "bool", "date": "date32[day]"}
_WIDE_LABEL = {"nl": "Eén rij per cliënt, de metingen naast elkaar", "en": "One row per client, the waves side by side"}
_IMPUTED_LABEL = {
    "nl": "Eén rij per imputatie en cliënt, 0 is het origineel: {0}",
    "en": "One row per imputation and client, 0 is the original: {0}",
}


class FitOfOtherRows(Mendable):
    """A fit was not made from the rows of this version; names the outcome."""


@dataclass(frozen=True)
class ReleasedTable:
    """A described table and its rows. `reasons`: column -> (rows,) codes of why it is missing, null where it is not."""

    described: TableDescription
    rows: pa.Table
    reasons: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.described.name

    @property
    def n_rows(self) -> int:
        return int(self.rows.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        return self.rows[name]


@dataclass(frozen=True)
class StoredTable:
    """A described table whose rows lie in a Parquet file, and are read when they are wanted."""

    described: TableDescription
    path: Path
    n_rows: int
    reasons: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.described.name

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, text in a dictionary."""
        return self.read([name], has_dictionaries=True).rows[name]

    def read(self, columns: Sequence[str] | None = None, *, has_dictionaries: bool = False) -> ReleasedTable:
        """The table with its rows, or with those columns alone; `has_dictionaries`: text in dictionaries, a quarter of the memory."""
        import pyarrow.parquet as pq

        kept = tuple(one for one in self.described.variables if columns is None or one.name in columns)
        texts = [one.name for one in kept if one.type == "text"] if has_dictionaries else []
        rows = pq.read_table(self.path, columns=[one.name for one in kept], read_dictionary=texts)
        rows = rows.replace_schema_metadata(None)
        reasons = {one.name: self.reasons[one.name] for one in kept if one.name in self.reasons}
        return ReleasedTable(replace(self.described, variables=kept), rows, reasons)


def stored(version: Version, catalogue: Catalogue) -> list[StoredTable]:
    """The tables of a version as they lie there. Raises NotDescribed when one holds a column, or a type, that the catalogue does not."""
    import pyarrow.parquet as pq

    paths = {name: version.folder / f"{name}.parquet" for name in version.manifest["tables"]}
    schemas = {name: pq.read_schema(path) for name, path in paths.items()}
    catalogue.holds({name: schema.names for name, schema in schemas.items()})
    found = []
    for name, schema in schemas.items():
        described = catalogue.table(name)
        kept = {column: described.variable(column) for column in schema.names}
        other = [
            f"{name}.{column}" for column, one in kept.items() if ARROW[one.type] != str(schema.field(column).type)
        ]
        if other:
            raise NotDescribed(f"{len(other)} column(s) are of another type than described: {', '.join(other)}")
        about = TableDescription(name, described.description, described.key, tuple(kept.values()))
        found.append(StoredTable(about, paths[name], version.manifest["tables"][name]["rows"]))
    return sorted(found, key=lambda table: table.name)


def published(version: Version, catalogue: Catalogue) -> list[ReleasedTable]:
    """The tables of a version with their rows, all at once. Raises NotDescribed."""
    return [table.read() for table in stored(version, catalogue)]


def laid_aside(table: ReleasedTable, folder: Path) -> StoredTable:
    """The same table, its rows written to a file of `folder`, so that they take no memory until their turn comes."""
    import pyarrow.parquet as pq

    path = folder / f"{table.name}.parquet"
    pq.write_table(table.rows, path, compression="zstd")
    return StoredTable(table.described, path, table.n_rows, table.reasons)


def wide_of(tables: Iterable[StoredTable], catalogue: Catalogue) -> ReleasedTable:
    """`wide` of tables of which only the columns that it looks at are read."""
    return wide({table.name: table.read(WIDE_OF[table.name]) for table in tables if table.name in WIDE_OF}, catalogue)


@dataclass(frozen=True)
class _Column:
    variable: Variable
    values: list[Any] | pa.ChunkedArray
    reasons: pa.ChunkedArray | None = None


def _released(described: TableDescription, columns: Iterable[_Column]) -> ReleasedTable:
    import pyarrow as pa

    columns = list(columns)
    rows = pa.table({one.variable.name: _typed(one) for one in columns})
    reasons = {one.variable.name: one.reasons.combine_chunks() for one in columns if one.reasons is not None}
    return ReleasedTable(described, rows, reasons)


def _typed(column: _Column) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa

    kind = pa.type_for_alias(ARROW[column.variable.type])
    return pa.array(column.values, kind) if isinstance(column.values, list) else column.values.cast(kind)


def wide(tables: Mapping[str, ReleasedTable], catalogue: Catalogue) -> ReleasedTable:
    """A row per client: what does not change, each wave's status, day and scores by rater, and the primary outcomes.

    A score that is missing has the reason beside it: what became of the wave, or too few valid answers.
    """
    clients = tables["client"].rows.sort_by("client_id")
    ids = clients["client_id"]
    columns = [_Column(catalogue.table("client").variable(name), clients[name]) for name in clients.column_names]
    wave_table, score_table = catalogue.table("wave"), catalogue.table("alliance_score")
    parts: Mapping[str, Mapping[str | int, Label]] = {
        "rater": wave_table.variable("rater").values,
        "wave": wave_table.variable("wave").values,
        "scale": score_table.variable("scale").values,
    }
    statuses = {}
    for rater, rater_label in parts["rater"].items():
        for wave, wave_label in parts["wave"].items():
            there = _beside(ids, tables["wave"], {"rater": rater, "wave": wave})
            statuses[rater, wave] = there["status"]
            for name, source in (("status", "status"), ("day", "measured_day")):
                variable = wave_table.variable(source)
                label = _joined(variable.label, rater_label, wave_label)
                named = labelled(variable, f"{rater}_{str(wave).lower()}_{name}", label, is_required=False)
                columns.append(_Column(named, there[source]))
    for rater, rater_label in parts["rater"].items():
        for scale, scale_label in parts["scale"].items():
            for wave, wave_label in parts["wave"].items():
                variable = score_table.variable("score")
                named = labelled(
                    variable, f"{rater}_{scale}_{str(wave).lower()}", _joined(scale_label, rater_label, wave_label)
                )
                rated = _beside(ids, tables["alliance_score"], {"rater": rater, "wave": wave, "scale": scale})
                columns.append(
                    _Column(named, rated["score"], _reasons(variable, statuses[rater, wave], rated["score"]))
                )
    columns += _outcomes(tables, catalogue, ids)
    described = TableDescription(WIDE, _WIDE_LABEL, ("client_id",), tuple(one.variable for one in columns))
    return _released(described, columns)


def _beside(ids: pa.ChunkedArray, table: ReleasedTable, values: Mapping[str, str | int]) -> pa.Table:
    """The row of each client, of which there is one at most, among those that have these values; nothing in it where there is none."""
    import pyarrow.compute as pc

    rows = table.rows
    for name, value in values.items():
        rows = rows.filter(pc.equal(rows[name], value))
    return rows.take(pc.index_in(ids, value_set=rows["client_id"]))


def _joined(*labels: Label) -> Label:
    said = {language: ", ".join(label[language] for label in labels) for language in LANGUAGES}
    return {language: text[0].upper() + text[1:] for language, text in said.items()}


def _reasons(variable: Variable, status: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The code of why each value is missing, by what became of the wave; null where there is a value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = {one.term: one.code for one in variable.missing}
    terms = status.unique().to_pylist()
    found = pa.array(
        [codes.get("too_few_answers" if term == "done" else term, codes["not_recorded"]) for term in terms], pa.int32()
    )
    of_wave = found.take(pc.index_in(status, value_set=pa.array(terms, pa.string())))
    return pc.if_else(values.is_valid(), pa.scalar(None, pa.int32()), of_wave)


def _outcomes(tables: Mapping[str, ReleasedTable], catalogue: Catalogue, ids: pa.ChunkedArray) -> list[_Column]:
    primary = sorted(
        row["outcome_id"] for row in tables["outcome_definition"].rows.to_pylist() if row["role"] == "primary"
    )
    found = []
    for outcome in primary:
        there = _beside(ids, tables["followup"], {"outcome_id": outcome})
        for name in FOLLOWED:
            variable = catalogue.table("followup").variable(name)
            label = {language: f"{text}: {outcome}" for language, text in variable.label.items()}
            named = labelled(variable, f"{outcome}_{name}", label, is_required=False)
            found.append(_Column(named, there[name]))
    return found


def imputed_sets(
    cohort: pd.DataFrame, imputed: pd.DataFrame, spec: Specification, catalogue: Catalogue
) -> list[ReleasedTable]:
    """The data sets of each modelled outcome below each other, `Imputation_` 0 to m; 0 is what was known, from `analysis_cohort`.

    `Row_` counts 1 to n in each, always the same client. Raises FitOfOtherRows when a fit is of other clients, times or events.
    """
    return [
        _imputed(str(outcome), rows.reset_index(drop=True), cohort, spec, catalogue)
        for outcome, rows in imputed.groupby("outcome_id", sort=True)
    ]


def _imputed(
    outcome: str, filled: pd.DataFrame, cohort: pd.DataFrame, spec: Specification, catalogue: Catalogue
) -> ReleasedTable:
    import pandas as pd

    from orchestration.analysis.recidivism import outcome_cohort

    known = outcome_cohort(cohort, outcome, spec)
    m = int(filled["imputation"].max())
    person = {
        "client_id": known.client, "cluster": known.cluster, "entry_days": known.entry, "duration_days": known.duration,
        "event": known.event,
    }  # fmt: skip
    is_same = len(filled) == m * known.n and all(
        (rows[name].to_numpy() == values).all()
        for _, rows in filled.groupby("imputation")
        for name, values in person.items()
    )
    covariates = [name for name in filled.columns if name not in ("outcome_id", "imputation", *person)]
    described = _imputed_variables(covariates, spec, catalogue)
    if not is_same or len(described) != len(covariates):
        raise FitOfOtherRows(f"{outcome}: the fit was made from other rows or models than this version's; fit again")
    original = pd.DataFrame({**person, **_original(known.covariates, covariates, spec)})
    stacked = pd.concat([original.assign(imputation=0), filled], ignore_index=True)
    variables = [*_imputed_keys(m), *(_of_person(name, catalogue) for name in person), *described]
    label = {language: text.format(outcome) for language, text in _IMPUTED_LABEL.items()}
    names = [variable.name for variable in variables]
    stacked = stacked.rename(columns={"imputation": IMPUTATION}).assign(**{ROW: list(range(1, known.n + 1)) * (m + 1)})
    values = {name: [None if pd.isna(value) else value for value in stacked[name].tolist()] for name in names}
    return _released(
        TableDescription(f"{IMPUTED}_{outcome}", label, (IMPUTATION, ROW), tuple(variables)),
        [_Column(variable, values[variable.name]) for variable in variables],
    )


def _original(known: pd.DataFrame, wanted: list[str], spec: Specification) -> dict[str, pd.Series[Any]]:
    from orchestration.analysis.specification import states_of

    changes = {name: known[later] - known[first] for name, (later, first) in states_of(spec.score_columns).items()}
    return {name: known[name] if name in known else changes[name] for name in wanted if name in {*known, *changes}}


def _imputed_keys(m: int) -> list[Variable]:
    number: dict[str | int, Label] = {0: {"nl": "oorspronkelijke gegevens", "en": "original data"}}
    number |= {i: {"nl": f"imputatie {i}", "en": f"imputation {i}"} for i in range(1, m + 1)}
    return [
        Variable(
            IMPUTATION, "integer", {"nl": "Imputatienummer", "en": "Imputation number"}, "0 for what was known, 1 to m imputed",
            personal="none", purpose="imputation", measure="nominal", values=number, is_required=True, csv_name=".imp",
        ),
        Variable(
            ROW, "integer", {"nl": "Rijnummer in elke imputatie", "en": "Number of the row in each imputation"},
            "The same client has the same number in every imputation", personal="none", purpose="imputation",
            measure="scale", is_required=True, csv_name=".id",
        ),
    ]  # fmt: skip


def _of_person(name: str, catalogue: Catalogue) -> Variable:
    cohort = catalogue.table("analysis_cohort")
    if name == "cluster":
        officer = cohort.variable("officer_id")
        return labelled(
            officer, name, officer.label, description="The officer at the origin, or the client where none is known"
        )
    return labelled(cohort.variable(name), name, cohort.variable(name).label, is_required=True)


def _imputed_variables(names: list[str], spec: Specification, catalogue: Catalogue) -> list[Variable]:
    cohort = catalogue.table("analysis_cohort")
    known = {variable.name: variable for variable in cohort.variables}
    found = []
    for name in names:
        if name in spec.covariates:
            found.append(_covariate(spec.covariates[name], known, catalogue))
        elif name in known:
            found.append(labelled(known[name], name, known[name].label))
    return found


def _covariate(covariate: Covariate, known: Mapping[str, Variable], catalogue: Catalogue) -> Variable:
    """What the term of a model is: the column that it is made of, and how."""
    source = known[covariate.column]
    made = {"log1p": "log(1 + {0})", "positive": "{0} > 0", "divide": "{0} / {1}", "equals": "{0}: {1}"}
    text = made.get(covariate.transform, "{0}")
    if covariate.transform == "equals":
        value = source.values.get(covariate.argument, dict.fromkeys(LANGUAGES, str(covariate.argument)))
        label = {language: text.format(source.label[language], value[language]) for language in LANGUAGES}
    else:
        label = {language: text.format(source.label[language], covariate.argument) for language in LANGUAGES}
    return labelled(
        source, covariate.name, label, type="decimal", description=covariate.label, is_required=False,
        values=YES_NO if covariate.is_binary else {}, measure="nominal" if covariate.is_binary else "scale",
        unit=source.unit if covariate.transform == "identity" else None,
    )  # fmt: skip
