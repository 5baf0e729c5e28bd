"""The synthetic twin: it is made of numbers that may leave, holds no row of a person, and is a release in all that a script sees."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.analysis.development import wave_means
from orchestration.analysis.group_curves import survival_curves
from orchestration.analysis.grouping import everybody
from orchestration.analysis.recidivism import outcome_cohort
from orchestration.releases.disclosure import Judged, ReleaseRules, judge_fit
from orchestration.releases.disclosure_scan import Secrets, may_leave
from orchestration.releases.twin import TwinOf, same_rows, start_of, write_twin
from orchestration.releases.twin_aims import TRIED, Aims, aims_of, main_outcome, nearest, seen_in
from orchestration.releases.writing import Inventory
from orchestration.settings import Settings
from orchestration.simulation.cohort import simulate_cohort
from orchestration.warehouse import dbt
from tests.analysis.synthetic import synthetic_inputs
from tests.releases.making import DAY, OUTCOME, SmallRelease, catalogue, small_spec
from tests.releases.twin import fidelity, real_tables, verdict, written_tables
from tests.warehouse.histories import Compiled

SEEDS = Settings().dbt_project / "seeds"
OF = TwinOf("2026.1.0", DAY, date(2025, 12, 31), is_simulated=True)


@dataclass(frozen=True)
class SmallTwin:
    """A written twin of 60 people, what it was made from, and what it says."""

    folder: Path
    judged: Mapping[str, pd.DataFrame]
    inventory: Inventory
    settings: Settings

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "parquet" / f"{name}.parquet")


@pytest.fixture(scope="session")
def twin(judged: Judged, compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> SmallTwin:
    folder = tmp_path_factory.mktemp("public")
    frames = {**judged.frames, "survival_curves": judged.frames["survival_curves"].assign(n=60)}
    settings = Settings(home=folder.parent / "no home", key_file=folder.parent / "no key")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt, "build", compiled.build)
        inventory = write_twin(folder / "twin", OF, frames, settings, catalogue(), small_spec())
    return SmallTwin(folder / "twin", frames, inventory, settings)


def judged_of(person: int, *, score: float = 0.0, reoffended: bool | None = None) -> Mapping[str, pd.DataFrame]:
    """What may leave of 200 people, of whom one scores otherwise, or did or did not reoffend."""
    inputs, spec = synthetic_inputs(200, seed=1), small_spec()
    scores, cohort = inputs.alliance_score.copy(), inputs.analysis_cohort.copy()
    one = sorted(cohort["client_id"].unique())[person]
    scores.loc[scores["client_id"] == one, "score"] += score
    if reoffended is not None:
        cohort.loc[cohort["client_id"] == one, "event"] = reoffended
    known = outcome_cohort(cohort, OUTCOME, spec)
    tables = {
        "wave_means": wave_means(scores, inputs.dyad, spec.confidence),
        "survival_curves": survival_curves(known, [everybody(known)]),
    }
    return judge_fit(tables, ReleaseRules(), "2026.1.0").frames


def test_a_twin_is_given_frames_that_may_leave_and_no_version_fit_or_home(twin: SmallTwin) -> None:
    assert set(inspect.signature(write_twin).parameters) == {
        "out", "of", "judged", "settings", "catalogue", "spec", "makes_inert", "language", "seed",
    }  # fmt: skip
    assert not twin.settings.home_path.exists()
    assert not twin.settings.key_path.exists()


def _numbers(aims: Aims) -> dict[str, float]:
    found = {f"{key} mean": mean for key, (mean, _) in aims.scores.items()}
    found |= {f"{key} SD": sd for key, (_, sd) in aims.scores.items()}
    return found | {f"risk {months}": risk for months, risk in aims.risks.items()}


@pytest.mark.parametrize("person", [0, 70, 140])
def test_one_person_reaches_a_twin_only_as_a_step_in_the_rounding_of_a_number_that_left(person: int) -> None:
    before, after = judged_of(person), judged_of(person, score=0.5)
    assert not before["wave_means"].equals(after["wave_means"])
    one, other = (_numbers(aims_of(frames, OUTCOME)) for frames in (before, after))
    moved = {name for name in one if one[name] != other[name]}
    assert all(abs(one[name] - other[name]) <= 0.1 + 1e-9 for name in moved)
    assert len(moved) < 0.1 * len(one)
    assert not any(name.startswith("risk") for name in moved)
    # Without what left of the scores nothing of this person is there.
    without = [{name: frame for name, frame in frames.items() if name != "wave_means"} for frames in (before, after)]
    assert aims_of(without[0], OUTCOME) == aims_of(without[1], OUTCOME)


def test_a_person_who_does_or_does_not_reoffend_changes_a_twin_by_a_hundredth_of_a_risk_that_left() -> None:
    yes, no = judged_of(0, reoffended=True), judged_of(0, reoffended=False)
    one, other = aims_of(yes, OUTCOME), aims_of(no, OUTCOME)
    assert one.scores == other.scores
    assert one.risks.keys() == other.risks.keys()
    assert all(abs(one.risks[months] - other.risks[months]) <= 0.03 for months in one.risks)
    many = {**yes, "wave_means": yes["wave_means"].assign(mean=yes["wave_means"]["mean"] + 0.3)}
    assert aims_of(many, OUTCOME).scores != one.scores
    assert aims_of({}, OUTCOME) == Aims()


def test_what_was_withheld_is_not_aimed_at(judged: Judged) -> None:
    whole = aims_of(judged.frames, OUTCOME)
    gone = aims_of({name: frame for name, frame in judged.frames.items() if name != "survival_curves"}, OUTCOME)
    assert whole.risks
    assert whole.people is not None
    assert gone.people is None
    assert gone.risks == {}
    assert gone.scores == whole.scores


def test_a_simulated_cohort_comes_near_what_is_aimed_at() -> None:
    aims = Aims(
        people=120, scores={("T1", "client", "trust"): (3.1, 0.8), ("T2", "officer", "bond"): (4.0, 0.4)},
        rated={("T1", "client"): 0.8, ("T1", "officer"): 0.8, ("T2", "client"): 0.5, ("T2", "officer"): 0.5},
        risks={12: 0.35, 24: 0.55}, effects={"effect_trust": -0.3}, described={"is_male": 0.7, "addiction": 0.6, "age_decades": 30.0},
    )  # fmt: skip
    config, clients = nearest(aims, start_of(Settings(), OF), SEEDS)
    seen = seen_in(simulate_cohort(TRIED, 77, config, SEEDS), SEEDS)
    for key, (mean, sd) in aims.scores.items():
        assert seen.aims.scores[key] == pytest.approx((mean, sd), abs=0.08)
    for key, share in aims.rated.items():
        assert seen.aims.rated[key] == pytest.approx(share, abs=0.08)
    for months, risk in aims.risks.items():
        assert seen.aims.risks[months] == pytest.approx(risk, abs=0.04)
    assert seen.aims.described["is_male"] == pytest.approx(0.7, abs=0.04)
    assert seen.aims.described["addiction"] == pytest.approx(0.6, abs=0.04)
    assert seen.aims.described["age_decades"] == pytest.approx(30, abs=1)
    assert config.effect_trust == -0.3
    assert clients * seen.followed == pytest.approx(120, abs=5)


def test_it_has_every_table_column_type_and_label_of_the_release(twin: SmallTwin, release: SmallRelease) -> None:
    of_release = {path.name for path in (release.folder / "parquet").iterdir()}
    more = {path.name for path in (twin.folder / "parquet").iterdir()} - of_release
    assert of_release - {path.name for path in (twin.folder / "parquet").iterdir()} == set()
    assert {name.partition("_")[0] for name in more} <= {"imputed"}  # of outcomes that the small fit leaves out
    for name in of_release:
        own, real = (pq.read_schema(folder / "parquet" / name) for folder in (twin.folder, release.folder))
        assert own.equals(real, check_metadata=False), name
        assert [field.metadata for field in own] == [field.metadata for field in real], name
    for folder in ("csv", "csv-nl", "sav"):
        real_names = {path.name for path in (release.folder / folder).iterdir()}
        assert real_names <= {path.name for path in (twin.folder / folder).iterdir()}


def test_no_row_of_it_is_a_real_row_and_one_that_were_is_found(twin: SmallTwin, release: SmallRelease) -> None:
    real = real_tables(release.version, pd.read_parquet(release.fit / "imputed.parquet"), release.spec)
    own = written_tables(twin.folder, real)
    found = same_rows(own, real)
    assert {"analysis_cohort", "client", "followup_interval", "wide"} <= set(found)
    assert set(found.values()) == {0}
    wide = next(table for table in own if table.name == "wide")
    copied = next(table for table in real if table.name == "wide").rows.slice(3, 1)
    known = replace(wide, rows=pa.concat_tables([wide.rows.slice(0, 2), copied.cast(wide.rows.schema)]))
    assert same_rows([known], real) == {"wide": 1}


def test_it_says_that_it_is_synthetic_wherever_rows_are_shown(twin: SmallTwin) -> None:
    for name in (
        "README.md",
        "CITATION.cff",
        "codebook.html",
        "datacite.json",
        "ddi.xml",
        "datapackage.json",
        "scripts/start.R",
    ):
        assert "SYNTHETIC" in (twin.folder / name).read_text(encoding="utf-8"), name
    assert json.loads(pq.read_schema(twin.folder / "parquet" / "client.parquet").metadata[b"delictvrij"])["synthetic"]
    assert json.loads((twin.folder / "inventory.json").read_text(encoding="utf-8"))["synthetic"]
    for name in ("client", "wide", f"imputed_{OUTCOME}"):
        assert twin.table(name)["client_id"].str.startswith("synthetic-client-").all(), name


def test_all_of_it_may_leave_and_a_real_name_in_it_may_not(twin: SmallTwin, tmp_path: Path) -> None:
    public = twin.folder.parent
    verdicts = verdict(public, twin.inventory, Secrets())
    assert may_leave(verdicts), verdicts[verdicts["verdict"] != "pass"].to_dict("records")
    assert len(verdicts) == len(twin.inventory.files) + 1
    one = str(twin.table("client")["client_id"].iloc[0])
    refused = verdict(public, twin.inventory, Secrets(frozenset({one})))
    bad = set(refused.loc[refused["verdict"] != "pass", "item"])
    assert {"twin/sav/client.sav", "twin/csv/client.csv"} <= bad


def test_rows_that_belong_together_do(twin: SmallTwin) -> None:
    client, dyad, supervision = (twin.table(name) for name in ("client", "dyad", "supervision"))
    assert set(twin.table("followup")["client_id"]) == set(client["client_id"])
    assert set(dyad["supervision_id"]) <= set(supervision["supervision_id"])
    both = dyad.merge(supervision, on="supervision_id", suffixes=("", "_of"))
    inside = (both["start_day"] >= both["start_day_of"]) | both["is_outside_supervision"]
    assert inside.all()
    scores = twin.table("alliance_score").query("scale == 'trust' and rater == 'client'")
    by_wave = scores.pivot_table(index="client_id", columns="wave", values="score")
    assert by_wave["T1"].corr(by_wave["T2"]) > 0.2


def test_followup_intervals_and_the_cohort_of_the_models_agree(twin: SmallTwin) -> None:
    cohort = twin.table("analysis_cohort").query("outcome_id == @OUTCOME and is_eligible").set_index("client_id")
    followed = twin.table("followup").query("outcome_id == @OUTCOME").set_index("client_id").loc[cohort.index]
    linked = followed["event"].notna()
    assert linked.sum() > 30
    assert (followed["event"][linked] == cohort["event"][linked]).all()
    assert (followed["days_at_risk"][linked] == (cohort["duration_days"] - cohort["entry_days"])[linked]).all()
    spells = twin.table("followup_interval").query("outcome_id == @OUTCOME")
    assert spells.groupby("client_id")["event"].sum().le(1).all()
    events = set(spells.loc[spells["event"].astype(bool), "client_id"])
    assert events <= set(followed.index[followed["event"].eq(True)])


def test_a_serious_offence_is_an_offence(twin: SmallTwin) -> None:
    events = twin.table("followup").pivot(index="client_id", columns="outcome_id", values="event").dropna()
    for narrow, wide in (("very_serious_landmark", "serious_landmark"), ("serious_landmark", "general_landmark")):
        assert (events[narrow].astype(int) <= events[wide].astype(int)).all(), narrow


def test_it_is_near_to_what_left(twin: SmallTwin) -> None:
    found = fidelity(twin.judged, twin.folder, main_outcome(SEEDS), small_spec())
    apart = (found["synthetic"] - found["released"]).abs().groupby(found["kind"]).mean()
    assert apart["mean"] < 0.2  # of 60 people, whose mean has an error of 0.08
    assert apart["survival"] < 0.15
    assert found.loc[found["what"] == "followed up", "synthetic"].iloc[0] == pytest.approx(60, abs=8)


COMMANDS = {
    "R": ["Rscript", "--vanilla", "scripts/start.R"],
    "Python": [sys.executable, "scripts/start.py"],
    "PSPP": ["pspp", "-O", "format=csv", "scripts/start.sps"],
}


@pytest.mark.parametrize("language", COMMANDS)
def test_a_script_runs_on_the_twin_as_on_the_release(twin: SmallTwin, release: SmallRelease, language: str) -> None:
    command = COMMANDS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on PATH (apt: r-base-core, r-cran-haven, pspp)")
    scripts = sorted(path.name for path in (twin.folder / "scripts").iterdir())
    assert scripts == sorted(path.name for path in (release.folder / "scripts").iterdir())
    written_on_the_twin = (twin.folder / command[-1]).read_text(encoding="utf-8")
    ends = []
    for folder in (twin.folder, release.folder):
        (folder.parent / Path(command[-1]).name).write_text(written_on_the_twin, encoding="utf-8")
        call = [*command[:-1], str(folder.parent / Path(command[-1]).name)]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        ends.append(done.returncode)
        assert ("\ncox,trust" in done.stdout) == (language != "PSPP"), done.stderr
    assert ends == [0, 0]
