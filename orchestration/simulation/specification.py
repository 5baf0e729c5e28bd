"""What a partner gets who is asked to deliver: the specification in Dutch, a template and an example of each table.

All of it is derived from the contract; the example is simulated and says so.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.deliveries.contracts import Column, Organisation, Table, spoken_today
from orchestration.deliveries.judgement import messages
from orchestration.deliveries.periods import last_day
from orchestration.files import write_atomically
from orchestration.pages import rendered
from orchestration.simulation import simulate
from orchestration.simulation.delivery import (
    EXPECTATIONS,
    Period,
    csv_header,
    csv_newline,
    describe_file,
    file_name,
    is_numeric_code,
    write_manifest,
    write_sav,
    write_xlsx,
)

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLE_CLIENTS = 12
TYPES = {"text": "tekst", "code": "code", "integer": "geheel getal", "decimal": "getal", "date": "datum"}
PERSONAL = {
    "identifier": "direct herkenbaar",
    "quasi_identifier": "indirect herkenbaar",
    "free_text": "vrije tekst",
    "none": "niet herkenbaar",
}
RULES = {
    "unique": "samen uniek",
    "order": "niet later dan",
    "required_when": "verplicht onder voorwaarde",
    "missing_share": "niet te vaak leeg",
    "flag_share": "zelden gemarkeerd",
}


def write_specification(out: Path, name: str, expectations: Path = EXPECTATIONS) -> list[Path]:
    """Write `leveringsspecificatie.html`, `sjabloon/` and `voorbeeld/` for one organisation below `out`.

    Template and example have the form that the organisation is agreed to deliver (the first of its contract). Returns
    what was written. Raises KeyError for an organisation without contract, FileExistsError when `out` holds one already.
    """
    organisation = spoken_today(expectations)[name]
    form = next(iter(organisation.forms))
    out.mkdir(parents=True, exist_ok=True)
    example, template = out / "voorbeeld", out / "sjabloon"
    for folder in (example, template):
        folder.mkdir()
    with tempfile.TemporaryDirectory() as aside:
        simulate(Path(aside), EXAMPLE_CLIENTS, periods="last", expectations=expectations)
        (delivery,) = (path.parent for path in Path(aside).glob(f"{name}/*/*/manifest.json"))
        shutil.copytree(delivery, example, dirs_exist_ok=True)
        period = delivery.parent.name
    _write_template(template, organisation, form, period)
    page = out / "leveringsspecificatie.html"
    write_atomically(page, _page(organisation, form).encode())
    return [page, template, example]


def _write_template(folder: Path, organisation: Organisation, form: str, period_name: str) -> None:
    made_at = datetime(2026, 1, 1)  # noqa: DTZ001 - a fixed moment, so that the template is the same every time
    if form == "csv":
        terms = organisation.forms[form]
        for table in organisation.tables:
            (folder / f"{table.name}.csv").write_bytes(csv_header(table, terms, csv_newline(terms)))
    elif form == "xlsx":
        sheets = [(table, _empty(table, numeric_codes=False)) for table in organisation.tables]
        write_xlsx(folder / file_name(organisation, "", form), sheets, made_at)
    else:
        for table in organisation.tables:
            write_sav(folder / f"{table.name}.sav", table, _empty(table, numeric_codes=True), made_at)
    files = [describe_file(path) for path in sorted(folder.iterdir())]
    period = Period(period_name, last_day(period_name))
    write_manifest(folder, organisation, period, form, files, {table.name: 0 for table in organisation.tables})


def _empty(table: Table, *, numeric_codes: bool) -> pd.DataFrame:
    def dtype(column: Column) -> Any:
        if column.type == "date":
            return "datetime64[s]"
        is_number = column.type in ("integer", "decimal") or (numeric_codes and is_numeric_code(column))
        return float if is_number else object

    return pd.DataFrame({column.source: np.array([], dtype=dtype(column)) for column in table.columns})


def _page(organisation: Organisation, form: str) -> str:
    return rendered(
        TEMPLATES / "specification.html.j2",
        organisation=organisation,
        form=form,
        terms=organisation.forms[form],
        types=TYPES,
        personal=PERSONAL,
        rules=RULES,
        columns={table.name: {column.name: column.source for column in table.columns} for table in organisation.tables},
        texts={rule: text["nl"] for rule, text in sorted(messages().items())},
        file_of={table.name: file_name(organisation, table.name, form) for table in organisation.tables},
    )
