"""`python -m tests.releases.cells`: every cell of a small release in every format, read back by others than who wrote it, held
against the published rows. Prints the cells compared and the differences of each reader.

Parquet is read by DuckDB, CSV by Python's csv module and by R, SPSS files by haven in R and by PSPP, as text with 17 digits.
"""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestration.releases.formats import FOR_DUTCH_EXCEL, FOR_PROGRAMS, Dialect
from orchestration.releases.tables import ReleasedTable, imputed_sets, published, wide
from tests.releases.making import SmallRelease

# PSPP writes 16 digits, which is one too few to name every number.
PSPP_TOLERANCE = 1e-15
READ_IN_R = """
args <- commandArgs(trailingOnly = TRUE); release <- args[1]; out <- args[2]
text <- function(x) {
  if (is.character(x)) return(ifelse(is.na(x), "", x))
  ifelse(is.na(x), "", sprintf("%.17g", as.numeric(x)))
}
# R is one off in the last digit of some numbers of 17: `no.loss` leaves their column as text, here with its decimal comma.
pointed <- function(x) if (is.character(x) && all(grepl("^-?[0-9]+(,[0-9]+)?(e-?[0-9]+)?$", x[!is.na(x)]))) sub(",", ".", x) else x
keep <- function(frame, name) {
  spelled <- as.data.frame(lapply(as.list(frame), function(x) text(unclass(x))), check.names = FALSE)
  write.table(spelled, file.path(out, name), sep = ",", row.names = FALSE, col.names = FALSE, qmethod = "double")
}
for (file in list.files(file.path(release, "sav"))) {
  name <- sub(".sav$", "", file)
  frame <- haven::read_sav(file.path(release, "sav", file))
  keep(haven::zap_labels(frame), paste0("haven-", name))
  keep(read.csv(file.path(release, "csv", paste0(name, ".csv")), na.strings = "", encoding = "UTF-8", numerals = "no.loss"), paste0("r-csv-", name))
  dutch <- read.csv2(file.path(release, "csv-nl", paste0(name, ".csv")), na.strings = "", fileEncoding = "UTF-8-BOM", numerals = "no.loss")
  keep(as.data.frame(lapply(dutch, pointed), check.names = FALSE), paste0("r-csv2-", name))
}
"""


def tables_of(release: SmallRelease) -> list[ReleasedTable]:
    """The rows that every format must hold, from the version and the fit and from no written file of the release."""
    import pandas as pd

    marts = published(release.version, release.catalogue)
    by_name = {table.name: table for table in marts}
    cohort = by_name["analysis_cohort"].rows.to_pandas()
    imputed = pd.read_parquet(release.fit / "imputed.parquet")
    return [*marts, wide(by_name, release.catalogue), *imputed_sets(cohort, imputed, release.spec, release.catalogue)]


def differences(
    table: ReleasedTable, rows: list[list[str]], decimal: str = ".", tolerance: float = 0.0
) -> tuple[int, int]:
    """Cells compared, and those that are not what the table holds. A row or a column too few or many counts whole."""
    columns = [(one.type, table.rows[one.name].to_pylist()) for one in table.described.variables]
    compared = table.rows.num_rows * len(columns)
    if len(rows) != table.rows.num_rows or any(len(row) != len(columns) for row in rows):
        return compared, compared
    return compared, sum(
        not _is_same(kind, values[i], row[j].replace(decimal, ".") if kind == "decimal" else row[j], tolerance)
        for i, row in enumerate(rows)
        for j, (kind, values) in enumerate(columns)
    )


def _is_same(kind: str, value: Any, text: str, tolerance: float) -> bool:
    if value is None or text == "":
        return value is None and text == ""
    if kind == "text":
        try:
            return value == text or float(value) == float(text)  # a code list of digits, to a reader that guesses
        except ValueError:
            return False
    return math.isclose(float(value), float(text), rel_tol=tolerance, abs_tol=0.0)


def _csv_rows(text: str, dialect: Dialect) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter))[1:]


def by_python(release: SmallRelease, tables: list[ReleasedTable]) -> dict[str, tuple[int, int]]:
    """Parquet by DuckDB, and both CSVs by the csv module."""
    import duckdb

    found = {"parquet, DuckDB": (0, 0), "csv, Python": (0, 0), "csv-nl, Python": (0, 0)}
    for table in tables:
        kept = duckdb.sql(f"from read_parquet('{release.folder / 'parquet' / table.name}.parquet')").fetchall()
        expected = list(zip(*(table.rows[one.name].to_pylist() for one in table.described.variables), strict=True))
        cells = len(expected) * len(table.described.variables)
        wrong = cells if len(kept) != len(expected) else sum(
            a != b for one, other in zip(kept, expected, strict=True) for a, b in zip(one, other, strict=True)
        )  # fmt: skip
        _count(found, "parquet, DuckDB", (cells, wrong))
        for folder, dialect in (("csv", FOR_PROGRAMS), ("csv-nl", FOR_DUTCH_EXCEL)):
            text = (release.folder / folder / f"{table.name}.csv").read_bytes().decode("utf-8-sig")
            _count(found, f"{folder}, Python", differences(table, _csv_rows(text, dialect), dialect.decimal))
    return found


def by_r(release: SmallRelease, tables: list[ReleasedTable], folder: Path) -> dict[str, tuple[int, int]]:
    """SPSS files by haven, and both CSVs by R."""
    script = folder / "read.R"
    script.write_text(READ_IN_R, encoding="utf-8")
    command = ["Rscript", "--vanilla", str(script), str(release.folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    named = {"sav, haven": "haven-", "csv, R": "r-csv-", "csv-nl, R": "r-csv2-"}
    found = dict.fromkeys(named, (0, 0))
    for table in tables:
        for reader, prefix in named.items():
            text = (folder / f"{prefix}{table.name}").read_text(encoding="utf-8")
            _count(found, reader, differences(table, list(csv.reader(io.StringIO(text, newline="")))))
    return found


def by_pspp(release: SmallRelease, tables: list[ReleasedTable], folder: Path) -> dict[str, tuple[int, int]]:
    """SPSS files by PSPP. Its user-missing codes are written as numbers: they are held against the reasons."""
    lines = [
        f'GET FILE="{release.folder}/sav/{table.name}.sav".\n'
        f'SAVE TRANSLATE /OUTFILE="{folder}/pspp-{table.name}" /TYPE=CSV /REPLACE /MISSING=RECODE /CELLS=VALUES /TEXTOPTIONS FORMAT=PLAIN.\n'
        for table in tables
    ]
    script = folder / "read.sps"
    script.write_text("".join(lines), encoding="utf-8")
    done = subprocess.run(["pspp", str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    found = {"sav, PSPP": (0, 0)}
    for table in tables:
        text = (folder / f"pspp-{table.name}").read_text(encoding="utf-8")
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
        _count(found, "sav, PSPP", differences(table, rows, tolerance=PSPP_TOLERANCE))
    return found


def _count(found: dict[str, tuple[int, int]], reader: str, counts: tuple[int, int]) -> None:
    found[reader] = (found[reader][0] + counts[0], found[reader][1] + counts[1])


def said(found: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """A line for each reader, and one for all."""
    for reader, (cells, wrong) in found.items():
        yield f"{reader:16} {cells:8} cells {wrong:6} differences"
    yield f"{'all':16} {sum(cells for cells, _ in found.values()):8} cells {sum(wrong for _, wrong in found.values()):6} differences"


def main() -> int:
    """Simulate, take in, build, release, and compare; 1 where a cell differs."""
    from orchestration.deliveries.ingest import ingest
    from orchestration.home import initialise, opened
    from orchestration.simulation import simulate
    from tests.conftest import settings_in
    from tests.releases.making import small_release

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = settings_in(folder / "of")
        simulate(settings.inbox_path, clients=40, seed=20260101, periods="last")
        initialise(settings)
        for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
            ingest(manifest.parent, settings, opened(settings))
        release = small_release(settings, folder)
        tables = tables_of(release)
        found = by_python(release, tables) | by_r(release, tables, folder) | by_pspp(release, tables, folder)
    for line in said(found):
        sys.stdout.write(line + "\n")
    return int(any(wrong for _, wrong in found.values()))


if __name__ == "__main__":
    sys.exit(main())
