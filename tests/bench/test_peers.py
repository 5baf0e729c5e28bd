"""The peers: one of them as it is run, what is counted and measured, and what the table says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from orchestration.simulation import simulate
from orchestration.warehouse.versions import current_version
from tests.bench.measuring import CommandFailed, Cost, environment_of, measured
from tests.bench.peers.__main__ import Estimate, Result, lacking, result_of, row_of, table
from tests.bench.peers.described import EVERY_SCRIPT, MODELS, OUTCOME, PEERS, PLATFORM, lines_of
from tests.conftest import Platform, Shared

(PANDAS,) = (peer for peer in PEERS if peer.name.startswith("pandas"))
OTHERS = [peer for peer in PEERS if peer is not PANDAS]


@pytest.fixture(scope="session")
def as_csv(shared: Shared) -> Path:
    """The 40 clients of `simulated`, every delivery as CSV; look, do not touch."""
    return shared("simulated-csv", lambda out: simulate(out, clients=40, seed=20260101, form="csv", periods="last"))


def run_pandas(delivered: Path, out: Path) -> None:
    measured(PANDAS.commands(delivered, out, 2), environment_of(out / "home", delivered), out)


def result(n: int, events: int, ratio: float) -> Result:
    return Result(n, events, dict.fromkeys(MODELS, Estimate(ratio, ratio / 1.5, ratio * 1.5)))


def test_the_pandas_peer_follows_the_same_people_to_the_same_events_over_the_same_days(
    as_csv: Path, published: Platform, tmp_path: Path
) -> None:
    out = tmp_path / "peer"
    out.mkdir()
    run_pandas(as_csv, out)
    found = result_of(pd.read_csv(out / "estimates.csv"))
    version = current_version(published.settings)
    assert version is not None
    cohort = pd.read_parquet(version.folder / "analysis_cohort.parquet")
    cohort = cohort[(cohort["outcome_id"] == OUTCOME) & cohort["is_eligible"]]
    assert (found.n, found.events) == (len(cohort), cohort["event"].sum())
    days = pd.read_spss(out / "cohort.sav", convert_categoricals=False)["days"]
    assert sorted(days) == sorted(cohort["duration_days"])
    known = pd.read_csv(out / "table1.csv", index_col="variable")
    for variable, column in {
        "client_trust_t2": "client_trust_t2",
        "addiction": "addiction",
        "prior_cases": "prior_cases",
    }.items():
        values = cohort[column].dropna().astype(float)
        assert known.loc[variable, "count"] == len(values)
        assert known.loc[variable, "mean"] == pytest.approx(values.mean())


def test_the_pandas_peer_shows_a_date_that_it_cannot_read_as_is_said_of_it(as_csv: Path, tmp_path: Path) -> None:
    delivered, out = tmp_path / "delivered", tmp_path / "peer"
    shutil.copytree(as_csv, delivered)
    out.mkdir()
    (path,) = delivered.glob("svg/*/*/clients.csv")
    frame = pd.read_csv(path, sep=";", dtype=str)
    frame.loc[1, "GEB_DAT"] = "1987-03-01"
    frame.to_csv(path, sep=";", index=False)
    with pytest.raises(CommandFailed) as refused:
        run_pandas(delivered, out)
    assert "1987-03-01" in (out / "said.txt").read_text(encoding="utf-8")
    assert "1987" not in str(refused.value)
    assert any("a date that is none shows it" in item for item in PANDAS.lacks)


def test_the_table_says_who_disagrees_and_who_did_not_run() -> None:
    other, absent = OTHERS
    costs = {PLATFORM.name: [Cost(100, 1000), Cost(50, 1000)], PANDAS.name: [Cost(50, 500), Cost(20, 100)]}
    results = {PLATFORM.name: result(183, 57, 0.6), PANDAS.name: result(183, 56, 0.6)}
    rows = [row_of(peer, costs, results, None) for peer in (PLATFORM, PANDAS)]
    rows.append(row_of(other, costs, results, "the R package dplyr is not installed"))
    heading, platform, pandas, without = table(rows)
    assert heading.split()[:2] == ["seconds", "×"]
    assert platform.split()[-6:] == ["183", "57", "yes", "0.60", "(0.40–0.90)", "0.00"]
    assert "NO" in pandas
    assert "0.45   0.40–0.50" in pandas, "the median of the two ratios, each to the platform in its own round"
    assert without.endswith("not run: the R package dplyr is not installed")
    assert absent.name not in "\n".join([heading, platform, pandas, without])
    assert set(EVERY_SCRIPT) <= {line.removeprefix("  - ") for line in lacking(rows)}


def test_hazard_ratios_are_apart_by_standard_errors_of_their_logarithm() -> None:
    one, other = result(183, 57, 0.6), result(183, 57, 0.9)
    assert other.apart(one) == pytest.approx(1.96, abs=0.001)  # the end of the interval
    assert one.agrees(other)
    assert not one.agrees(result(182, 57, 0.6))


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.py", '"""Two\nlines."""\n\nx = """not\none"""  # counted\n# not this\n\n\ndef f():\n    "Nor this."\n', 3),
        ("a.R", "# no\nx <- 1 # yes\n\n", 1),
        ("a.sql", "-- no\n{# no\n   nor this #}\nselect 1\n", 1),
        ("a.yml", "# no\na:\n  - b\n", 2),
    ],
)
def test_a_line_counts_when_it_is_neither_blank_nor_comment(tmp_path: Path, name: str, text: str, lines: int) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert lines_of(path) == lines


def test_every_peer_has_a_text_that_is_counted() -> None:
    assert all(peer.lines > 100 for peer in PEERS)
    assert PLATFORM.lines > 50 * min(peer.lines for peer in PEERS)


def test_memory_is_that_of_the_process_that_holds_it_though_another_started_it(tmp_path: Path) -> None:
    holds = "held = bytearray(120_000_000); held[::4096] = b'1' * len(held[::4096])"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}], check=True)"
    cost = measured([[sys.executable, "-c", starts]], {}, tmp_path)
    assert 110 < cost.peak_mb < 200
    assert cost.seconds > 0


def test_a_command_that_fails_is_told_by_its_code_alone(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="left with 3") as failed:
        measured([[sys.executable, "-c", "import sys; print('a name'); sys.exit(3)"]], {}, tmp_path)
    assert failed.value.code == 3
    assert "a name" not in str(failed.value)
    assert failed.value.said.read_text(encoding="utf-8") == "a name\n"


def test_a_command_that_is_not_there_is_one_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="left with 2") as failed:
        measured([["no-such-command"]], {}, tmp_path)
    assert failed.value.said.read_text(encoding="utf-8") == "no-such-command is not installed\n"
