"""The tables of a release as they are written: the published ones, one row per client with the waves side by side, and the imputed
data sets below the original. How a table becomes a file is in `formats.py`; what a column is, in `catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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


def published(version: Version, catalogue: Catalogue) -> list[ReleasedTable]:
    """The tables of a version as they are. Raises NotDescribed when one holds a column, or a type, that the catalogue does not."""
    import pyarrow.parquet as pq

    rows = {
        name: pq.read_table(version.folder / f"{name}.parquet").replace_schema_metadata(None)
        for name in version.manifest["tables"]
    }
    catalogue.holds({name: table.column_names for name, table in rows.items()})
    found = []
    for name, table in rows.items():
        described = catalogue.table(name)
        kept = {column: described.variable(column) for column in table.column_names}
        other = [
            f"{name}.{column}"
            for column, one in kept.items()
            if ARROW[one.type] != str(table.schema.field(column).type)
        ]
        if other:
            raise NotDescribed(f"{len(other)} column(s) are of another type than described: {', '.join(other)}")
        found.append(
            ReleasedTable(TableDescription(name, described.description, described.key, tuple(kept.values())), table)
        )
    return sorted(found, key=lambda table: table.name)


@dataclass(frozen=True)
class _Column:
    variable: Variable
    values: list[Any]
    reasons: list[int | None] | None = None


def _released(described: TableDescription, columns: Iterable[_Column]) -> ReleasedTable:
    import pyarrow as pa

    columns = list(columns)
    rows = pa.table(
        {one.variable.name: pa.array(one.values, pa.type_for_alias(ARROW[one.variable.type])) for one in columns}
    )
    reasons = {one.variable.name: pa.array(one.reasons, pa.int32()) for one in columns if one.reasons is not None}
    return ReleasedTable(described, rows, reasons)


def wide(tables: Mapping[str, ReleasedTable], catalogue: Catalogue) -> ReleasedTable:
    """A row per client: what does not change, each wave's status, day and scores by rater, and the primary outcomes.

    A score that is missing has the reason beside it: what became of the wave, or too few valid answers.
    """
    clients = tables["client"].rows.sort_by("client_id")
    ids = clients["client_id"].to_pylist()
    columns = [
        _Column(catalogue.table("client").variable(name), clients[name].to_pylist()) for name in clients.column_names
    ]
    waves = _by(tables["wave"], "rater", "wave")
    scores = _by(tables["alliance_score"], "rater", "wave", "scale")
    wave_table, score_table = catalogue.table("wave"), catalogue.table("alliance_score")
    parts: Mapping[str, Mapping[str | int, Label]] = {
        "rater": wave_table.variable("rater").values,
        "wave": wave_table.variable("wave").values,
        "scale": score_table.variable("scale").values,
    }
    for rater, rater_label in parts["rater"].items():
        for wave, wave_label in parts["wave"].items():
            there = waves.get((rater, wave), {})
            for name, source in (("status", "status"), ("day", "measured_day")):
                variable = wave_table.variable(source)
                label = _joined(variable.label, rater_label, wave_label)
                named = labelled(variable, f"{rater}_{str(wave).lower()}_{name}", label, is_required=False)
                columns.append(_Column(named, [there.get(one, {}).get(source) for one in ids]))
    for rater, rater_label in parts["rater"].items():
        for scale, scale_label in parts["scale"].items():
            for wave, wave_label in parts["wave"].items():
                variable = score_table.variable("score")
                named = labelled(
                    variable, f"{rater}_{scale}_{str(wave).lower()}", _joined(scale_label, rater_label, wave_label)
                )
                rated, there = scores.get((rater, wave, scale), {}), waves.get((rater, wave), {})
                values = [rated.get(one, {}).get("score") for one in ids]
                reason = _reasons(variable)
                columns.append(
                    _Column(
                        named, values,
                        [None if value is not None else reason(there.get(one)) for one, value in zip(ids, values, strict=True)],
                    )
                )  # fmt: skip
    columns += _outcomes(tables, catalogue, ids)
    described = TableDescription(WIDE, _WIDE_LABEL, ("client_id",), tuple(one.variable for one in columns))
    return _released(described, columns)


def _by(table: ReleasedTable, *names: str) -> dict[tuple[Any, ...], dict[Any, dict[str, Any]]]:
    """The rows by the values of columns, then by client: one each."""
    found: dict[tuple[Any, ...], dict[Any, dict[str, Any]]] = {}
    for row in table.rows.to_pylist():
        found.setdefault(tuple(row[name] for name in names), {})[row["client_id"]] = row
    return found


def _joined(*labels: Label) -> Label:
    said = {language: ", ".join(label[language] for label in labels) for language in LANGUAGES}
    return {language: text[0].upper() + text[1:] for language, text in said.items()}


def _reasons(variable: Variable) -> Callable[[Mapping[str, Any] | None], int]:
    codes = {one.term: one.code for one in variable.missing}

    def reason(wave: Mapping[str, Any] | None) -> int:
        term = (
            "not_recorded" if wave is None else "too_few_answers" if wave["status"] == "done" else str(wave["status"])
        )
        return codes.get(term, codes["not_recorded"])

    return reason


def _outcomes(tables: Mapping[str, ReleasedTable], catalogue: Catalogue, ids: list[str]) -> list[_Column]:
    followed = _by(tables["followup"], "outcome_id")
    primary = sorted(
        row["outcome_id"] for row in tables["outcome_definition"].rows.to_pylist() if row["role"] == "primary"
    )
    found = []
    for outcome in primary:
        there = followed.get((outcome,), {})
        for name in ("event", "days_at_risk", "exit_reason", "maturity"):
            variable = catalogue.table("followup").variable(name)
            label = {language: f"{text}: {outcome}" for language, text in variable.label.items()}
            named = labelled(variable, f"{outcome}_{name}", label, is_required=False)
            found.append(_Column(named, [there.get(one, {}).get(name) for one in ids]))
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
