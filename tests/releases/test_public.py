"""The folder that may leave, written from judged tables: everything described, checksummed, labelled, and looked at before it goes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest
from frictionless import Package

from orchestration.analysis.fit import FitResult
from orchestration.analysis.specification import read_specification
from orchestration.hashing import sha256_file
from orchestration.releases import disclosure, metadata
from orchestration.releases.catalogue import NotDescribed
from orchestration.releases.disclosure import Judged, ReleaseRules, judge_fit
from orchestration.releases.disclosure_counts import COUNT, CountTable, Release
from orchestration.releases.disclosure_scan import Secrets
from orchestration.releases.kept_counts import read_counts, write_counts
from orchestration.releases.public import Leaving, MayNotLeave, described, scanned, write_sums, write_tables
from orchestration.releases.suppression import suppress
from orchestration.releases.zone_people import determinant_classes, movements
from tests.analysis.synthetic import synthetic_inputs
from tests.releases.conftest import small_specification
from tests.releases.making import DAY, catalogue

RULES = ReleaseRules()


def leaving(judged: Judged) -> Leaving:
    tables = catalogue().tables
    about = metadata.About(
        "2026.1.0", DAY, "0123456789abcdef", "fedcba9876543210", True, "2025-12-31", metadata.read_study(), tables,
        {table.name: 0 for table in tables},
    )  # fmt: skip
    return Leaving(about, catalogue(), RULES, judged)


@pytest.fixture(scope="module")
def public(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public")
    write_tables(folder, leaving(judged), {"portal/": "pages to read"})
    write_sums(folder)
    return folder


def test_no_table_of_a_fit_is_unknown(judged: Judged) -> None:
    assert {field.name for field in fields(FitResult) if field.type == "pd.DataFrame"} == set(judged.verdicts["item"])
    assert not judged.verdicts["rule"].str.contains("unknown").any()


def test_every_table_and_column_that_leaves_is_described_and_no_other(public: Path, judged: Judged) -> None:
    known = described()
    columns = {column for frame in judged.frames.values() for column in frame}
    assert set(known.tables) >= set(judged.frames)
    assert set(known.columns) - {"release", "simulated"} >= columns
    undescribed = replace(judged, frames={**judged.frames, "shoes": pd.DataFrame({"size": [1]})})
    with pytest.raises(NotDescribed, match="shoes"):
        write_tables(public / "no", leaving(undescribed), {})


def test_the_folder_passes_the_scan_and_holds_no_kind_of_microdata(public: Path, judged: Judged, fit_tables: Mapping[str, pd.DataFrame]) -> None:  # fmt: skip
    found = scanned(public, leaving(judged), Secrets.of(fit_tables["imputed"]))
    assert set(found["item"]) == {path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()}
    assert {path.suffix for path in public.rglob("*") if path.is_file()} == {".csv", ".json", ".md", ".cff", ".txt"}


def test_one_pseudonym_in_one_file_stops_the_release_and_is_not_said(
    public: Path, judged: Judged, fit_tables: Mapping[str, pd.DataFrame]
) -> None:
    one = str(fit_tables["imputed"]["client_id"].iloc[0])
    (public / "notes.txt").write_text(f"see {one}")
    with pytest.raises(MayNotLeave, match=r"notes\.txt: identifier") as stopped:
        scanned(public, leaving(judged), Secrets(frozenset({one.ljust(5, "x"), one})))
    (public / "notes.txt").unlink()
    assert one not in str(stopped.value)


def test_each_table_says_its_release_and_that_it_is_simulated(public: Path, judged: Judged) -> None:
    for name, frame in judged.frames.items():
        rows = list(csv.DictReader((public / "tables" / f"{name}.csv").open(encoding="utf-8")))
        assert {(row["release"], row["simulated"]) for row in rows} == {("2026.1.0", "true")}
        assert len(rows) == len(frame)
    for name in ("README.md", "CHANGELOG.md", "CITATION.cff", "datapackage.json"):
        assert "SIMULATED" in (public / name).read_text(encoding="utf-8")


def test_the_data_package_is_valid_and_describes_every_table(public: Path, judged: Judged) -> None:
    package = Package(str(public / "datapackage.json"))
    report = package.validate()
    assert report.valid, report.flatten(["type", "message"])[:5]
    assert {resource.name for resource in package.resources} == set(judged.frames)


def test_the_checksums_are_those_of_every_other_file(public: Path) -> None:
    lines = [line.split("  ") for line in (public / "SHA256SUMS.txt").read_text().splitlines()]
    others = {path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()} - {"SHA256SUMS.txt"}
    assert {name: mark for mark, name in lines} == {name: sha256_file(public / name) for name in others}


def test_the_verdicts_lie_beside_the_tables(public: Path, judged: Judged) -> None:
    said = json.loads((public / "disclosure.json").read_text(encoding="utf-8"))
    assert [item["item"] for item in said["items"]] == judged.verdicts["item"].tolist()


def test_counts_that_are_kept_come_back_as_they_were_and_protect_the_next_release_alike(
    judged: Judged, tmp_path: Path
) -> None:
    write_counts(judged.release, tmp_path / "counts.json")
    again = read_counts(tmp_path / "counts.json")
    assert [table.name for table in again.tables] == [table.name for table in judged.release.tables]
    for one, other in zip(again.tables, judged.release.tables, strict=True):
        assert (one.dimensions, one.population, one.where, one.subtotals, one.is_sensitive) == (
            other.dimensions, other.population, dict(other.where), dict(other.subtotals), other.is_sensitive,
        )  # fmt: skip
        pd.testing.assert_frame_equal(one.cells, other.cells, check_dtype=False)


# Table 1 --------------------------------------------------------------------------------------------------------------
def table_one(*rows: tuple[str, str, str, int, int, float, float]) -> pd.DataFrame:
    columns = ["outcome_id", "group", "kind", "n", "observed", "count", "mean"]
    frame = pd.DataFrame(list(rows), columns=columns)
    whole = frame["group"] == "all"
    return frame.assign(
        rater=whole.map({True: "all", False: "client"}), scale="trust", grouping="pattern", term="t", missing=0,
        share=frame["count"] / frame["observed"], sd=1.0, q1=1.0, median=2.0, q3=3.0,
    )  # fmt: skip


NAN = float("nan")


def judged_table_one(frame: pd.DataFrame) -> pd.DataFrame:
    return judge_fit({"baseline": frame}, RULES, "2026.1.0").frames.get("baseline", pd.DataFrame())


def test_a_class_of_few_is_hidden_with_another_and_its_share_goes_with_it() -> None:
    found = judged_table_one(
        table_one(
            ("o", "all", "yes_no", 190, 190, 70, NAN), ("o", "stable", "yes_no", 60, 60, 4, NAN),
            ("o", "improving", "yes_no", 60, 60, 30, NAN), ("o", "deteriorating", "yes_no", 70, 70, 36, NAN),
        )
    ).set_index("group")  # fmt: skip
    assert pd.isna(found.loc["stable", "count"]) and pd.isna(found.loc["stable", "share"])
    assert found[COUNT].isna().sum() >= 2
    assert found.loc["all", "count"] == 70 and found.loc["all", "share"] == pytest.approx(70 / 190)


def test_only_one_of_two_outcomes_of_nearly_the_same_people_has_a_table_one() -> None:
    frame = table_one(("o", "all", "yes_no", 192, 192, 90, NAN), ("p", "all", "yes_no", 191, 191, 89, NAN))
    assert set(judged_table_one(frame)["outcome_id"]) == {"o"}


def test_a_mean_of_few_is_withheld_with_that_of_the_smallest_other_group() -> None:
    found = judged_table_one(
        table_one(
            ("o", "all", "number", 190, 190, NAN, 3.0), ("o", "stable", "number", 60, 8, NAN, 3.1),
            ("o", "improving", "number", 60, 50, NAN, 3.2), ("o", "deteriorating", "number", 70, 70, NAN, 3.3),
        )
    )  # fmt: skip
    assert set(found["group"]) == {"all", "deteriorating"}


@pytest.mark.parametrize(
    ("observed", "shown"), [(19, []), (20, ["median"]), (39, ["median"]), (40, ["q1", "median", "q3"])]
)
def test_a_quartile_needs_ten_people_on_either_side(observed: int, shown: list[str]) -> None:
    found = judged_table_one(table_one(("o", "all", "number", 190, observed, NAN, 3.0))).iloc[0]
    assert [name for name in ("q1", "median", "q3") if pd.notna(found[name])] == shown


# what the zone knows --------------------------------------------------------------------------------------------------
def test_the_smallest_class_of_a_binary_predictor_is_counted_by_pattern_and_model(fit_tables: Mapping[str, pd.DataFrame]) -> None:  # fmt: skip
    inputs, spec = synthetic_inputs(200, seed=1), small_specification()
    found = determinant_classes(inputs, spec, fit_tables["determinants"]).set_index(["model_id", "term"])["people"]
    assert set(found.index.get_level_values("model_id")) == set(fit_tables["determinants"]["model_id"])
    rows = fit_tables["determinants"]
    for (model, _), people in found.items():
        own = rows[rows["model_id"] == model]
        assert people <= min(own["class_count"].max(), own["reference_count"].max())
    needed = fit_tables["marginal_effects"]
    binary = needed[needed["kind"] == "difference 1 - 0"][["model_id", "term"]].itertuples(index=False, name=None)
    assert set(binary) <= set(found.index)


def test_nobody_moved_between_a_version_and_itself_and_one_person_more_is_one_to_nine(fit_tables: Mapping[str, pd.DataFrame]) -> None:  # fmt: skip
    inputs, spec = synthetic_inputs(200, seed=1), read_specification()
    named = disclosure.populations(fit_tables)
    populations = [name for name in named if name.startswith(("flow", "events", "patterns.client.trust"))]
    populations += [name for name in named if name.startswith("baseline")][:2]
    assert movements(inputs, inputs, populations, spec, 10) == (dict.fromkeys(populations, (0, 0)),) * 2
    rows = inputs.alliance_change
    first = rows.loc[rows["pattern"].notna(), "client_id"].iloc[0]
    fewer = replace(inputs, alliance_change=rows[rows["client_id"] != first])
    entered, left = movements(fewer, inputs, populations, spec, 10)
    touched = {f"patterns.{row.rater}.{row.scale}.{row.span}" for row in rows[(rows["client_id"] == first) & rows["pattern"].notna()].itertuples()}  # fmt: skip
    assert {name for name in populations if entered[name] == (1, 9) and name.startswith("patterns")} == touched & set(populations)  # fmt: skip
    assert all(left[name] == (0, 0) for name in populations if name.startswith("patterns"))


@pytest.mark.parametrize("knows_that_nobody_moved", [True, False])
def test_the_same_people_are_suppressed_alike_also_where_a_table_is_of_a_part_of_them(
    knows_that_nobody_moved: bool,
) -> None:
    whole = [("stable", 53), ("improving", 34), ("deteriorating", 45), ("total", 132)]
    part = [("stable", 45), ("improving", 28), ("deteriorating", 35), ("total", 108)]
    other = [("stable", 107), ("improving", 9), ("deteriorating", 16), ("total", 132)]
    tables = tuple(
        CountTable(f"{rule}.{len(where)}", (rule,), pd.DataFrame(rows, columns=[rule, COUNT]), where=where)
        for rule, rows, where in (
            ("half_sd", whole, {}),
            ("half_sd", part, {"pairs": "same_officer"}),
            ("rci", other, {}),
        )
    )
    still = {"people": (0, 0)} if knows_that_nobody_moved else {}
    first = suppress(Release("2026.1.0", tables))
    again = suppress(Release("2026.1.1", tables, still, still), [first.release])
    for one, two in zip(first.release.tables, again.release.tables, strict=True):
        pd.testing.assert_series_equal(one.cells[COUNT], two.cells[COUNT])
    assert set(again.hidden["rule"]) == set(first.hidden["rule"]) == {"small", "secondary"}


def test_cells_that_were_public_before_are_shown_again_and_the_hidden_ones_stay_hidden() -> None:
    counts = {
        "stable": (10, 38),
        "improving": (6, 24),
        "deteriorating": (11, 39),
        "not_rated": (12, 52),
        "total": (39, 153),
    }
    rows = [
        (group, value, count)
        for group, (yes, no) in counts.items()
        for value, count in (("yes", yes), ("no", no), ("total", yes + no))
    ]
    table = CountTable("baseline.o.t", ("group", "value"), pd.DataFrame(rows, columns=["group", "value", COUNT]))
    still = {"people": (0, 0)}
    first = suppress(Release("2026.1.0", (table,)))
    again = suppress(Release("2026.1.1", (table,), still, still), [first.release])
    assert first.release.tables[0].cells[COUNT].isna().sum() == 4
    pd.testing.assert_series_equal(again.release.tables[0].cells[COUNT], first.release.tables[0].cells[COUNT])
