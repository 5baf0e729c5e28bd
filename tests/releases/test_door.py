"""The door for Python: what `load` gives, from where, and when it warns or refuses."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from orchestration import Superseded, codebook, load, tables
from orchestration.door import NoSuchTable, NotForUse, NotUnderstood, TableDamaged
from orchestration.home import opened
from orchestration.ledger import Ledger, now
from orchestration.releases import approval
from orchestration.releases.writing import INVENTORY
from orchestration.settings import CHECKOUT, Settings
from orchestration.warehouse.aside import CannotBuildAside
from orchestration.warehouse.versions import NoSuchVersion, PublishedTable, publish
from tests.conftest import settings_in
from tests.releases.making import SmallRelease

TAG = "2026.1.0"
IMPUTED = "parquet/imputed_general_landmark.parquet"


@dataclass(frozen=True)
class Zone:
    """A home with a version and an approved release of it."""

    settings: Settings
    ledger: Ledger
    made: SmallRelease

    def draft(self, tag: str) -> None:
        def write(folder: Path) -> dict[str, object]:
            (folder / "zone" / "parquet").mkdir(parents=True)
            for name in ("parquet/officer.parquet", "parquet/wide.parquet", IMPUTED):
                shutil.copyfile(self.made.folder / name, folder / "zone" / name)
            said = json.loads((self.made.folder / INVENTORY).read_text(encoding="utf-8"))
            (folder / "zone" / INVENTORY).write_text(json.dumps({**said, "tag": tag}), encoding="utf-8")
            return {}

        chosen = approval.Sources(self.made.version, self.made.fit)
        approval.draft(self.settings, self.ledger, tag, chosen, "one", write)


def zone_in(folder: Path, release: SmallRelease) -> Zone:
    left_out = shutil.ignore_patterns("raw", "builds", "fits", "letters", "landing")
    shutil.copytree(release.version.folder.parents[1], folder / "home", symlinks=True, ignore=left_out)
    settings = settings_in(folder)
    zone = Zone(settings, opened(settings), release)
    zone.draft(TAG)
    zone.ledger.decide_release(TAG, "approved", "two", "")
    return zone


@pytest.fixture(scope="module")
def _zone_once(release: SmallRelease, tmp_path_factory: pytest.TempPathFactory) -> Zone:
    return zone_in(tmp_path_factory.mktemp("zone"), release)


@pytest.fixture
def zone(_zone_once: Zone, monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The home that `load` finds; look, do not touch."""
    monkeypatch.setenv("DELICTVRIJ_HOME", str(_zone_once.settings.home))
    return _zone_once


@pytest.fixture
def own_zone(release: SmallRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The same, of a test's own."""
    monkeypatch.setenv("DELICTVRIJ_HOME", str(tmp_path / "home"))
    return zone_in(tmp_path, release)


def published(zone: Zone, table: str) -> pd.DataFrame:
    return pd.read_parquet(zone.made.version.folder / f"{table}.parquet")


def test_a_table_comes_as_it_was_published_with_what_is_said_of_it(zone: Zone) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = load("followup")
    rows = published(zone, "followup")
    assert list(frame.columns) == list(rows.columns)
    assert all(frame[name].astype(object).where(frame[name].notna(), None).tolist()
               == rows[name].astype(object).where(rows[name].notna(), None).tolist() for name in frame.columns)  # fmt: skip
    said = zone.made.catalogue.table("followup").variable("exit_reason")
    assert frame.attrs["labels"]["exit_reason"] == said.label
    assert frame.attrs["codes"]["exit_reason"] == said.values
    assert set(frame.attrs["labels"]) == set(frame.columns)
    assert (frame.attrs["version"], frame.attrs["release"], frame.attrs["simulated"]) == (
        zone.made.version.version_id, None, True,
    )  # fmt: skip


def test_codes_become_labels_in_the_order_of_the_list_and_missing_stays_missing(zone: Zone) -> None:
    for language in ("nl", "en"):
        frame, rows = load("client", as_labels=True, language=language), published(zone, "client")
        codes = frame.attrs["codes"]["ethnicity"]
        assert list(frame["ethnicity"].cat.categories) == [one[language] for one in codes.values()]
        expected = rows["ethnicity"].map({code: one[language] for code, one in codes.items()})
        assert (
            frame["ethnicity"].astype(object).where(frame["ethnicity"].notna(), None).tolist()
            == expected.where(expected.notna(), None).tolist()
        )
    event = load("followup", as_labels=True)["event"]
    assert event.isna().sum() == published(zone, "followup")["event"].isna().sum()
    assert set(event.dropna()) == {"ja", "nee"}


def test_a_version_is_named_by_its_id_a_beginning_of_it_or_a_day(zone: Zone) -> None:
    version = zone.made.version.version_id
    for named in (version, version[:6], now().date(), now().date().isoformat(), now()):
        assert load("officer", named).attrs["version"] == version
    with pytest.raises(NoSuchVersion):
        load("officer", "ffff")
    with pytest.raises(CannotBuildAside, match=r"nothing of .* had been received"):
        load("officer", "2020-01-01")


def test_what_was_not_made_for_a_day_says_how_it_is_made(own_zone: Zone) -> None:
    own_zone.ledger.receive("0" * 64, "rn", "2026-Q1", "later", "s")
    own_zone.ledger.decide("0" * 64, "accepted", [], sequence=1, content_hash="1" * 64)
    with pytest.raises(NoSuchVersion, match="delictvrij known-on"):
        load("officer", now().date())


def test_a_newer_version_or_release_is_warned_of_by_name(own_zone: Zone) -> None:
    old = own_zone.made.version.version_id
    marts = {"officer": pa.table({"officer_id": ["x"]})}
    record = {"is_simulated": True, "registry_cutoff_on": "2026-12-31"}
    new, _ = publish(own_zone.settings, marts, [PublishedTable("officer", "", "", {})], record)
    with pytest.warns(Superseded, match=new.version_id):
        load("officer", old)
    own_zone.draft("2026.2.0")
    own_zone.ledger.decide_release("2026.2.0", "approved", "two", "", [TAG])
    with pytest.warns(Superseded, match=r"2026\.2\.0"):
        load("wide", TAG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load("wide", "2026.2.0").attrs["release"] == "2026.2.0"
        assert list(load("officer")["officer_id"]) == ["x"]


def test_a_release_has_more_tables_and_a_draft_is_not_loaded(own_zone: Zone) -> None:
    assert {"wide", "imputed_general_landmark"} <= set(tables(TAG)["table"]) - set(tables()["table"])
    wide = load("wide", TAG)
    assert wide.attrs["labels"]["client_trust_t2"]["nl"]
    own_zone.draft("2026.2.0")
    with pytest.raises(NotForUse, match=r"2026\.2\.0 is draft"):
        load("wide", "2026.2.0")
    with pytest.raises(approval.NoSuchRelease):
        load("wide", "2030.1.0")
    buried = own_zone.settings.releases / TAG
    shutil.rmtree(buried / "zone")
    (buried / approval.TOMBSTONE).write_text("{}")
    with pytest.raises(NotForUse, match="people in them have withdrawn"):
        load("wide", TAG)


def test_a_handed_over_folder_needs_no_home(
    release: SmallRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", str(tmp_path / "nowhere"))
    frame = load("wide", release.folder)
    assert frame.attrs["release"] == TAG
    assert len(codebook("wide", release.folder)) == len(frame.columns)


@pytest.mark.parametrize("where", ["version", "release", "manifest of the release"])
def test_a_file_that_is_not_what_its_checksum_says_is_refused(own_zone: Zone, where: str) -> None:
    release = own_zone.settings.releases / TAG
    path, version = {
        "version": (own_zone.settings.versions / own_zone.made.version.version_id / "officer.parquet", "current"),
        "release": (release / "zone" / "parquet" / "officer.parquet", TAG),
        "manifest of the release": (release / "release.json", TAG),
    }[where]
    assert len(load("officer", version))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TableDamaged, match="do not use it"):
        load("officer", version)


def test_an_unknown_table_is_refused_with_the_names_of_those_there_are(zone: Zone) -> None:
    for asked in (load, codebook):
        with pytest.raises(NoSuchTable, match=r"analysis_cohort, .*, wave"):
            asked("wide")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("2026-02-30", "there is no day 2026-02-30"),
        ("2026.1", "the tag of a release"),
        ("newest", "the tag of a release"),
        (None, "NoneType is not understood"),
        (["current"], "list is not understood"),
        (Path("nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_is_no_version_is_refused_with_what_may_be_asked_for(zone: Zone, asked: object, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        load("officer", asked)  # type: ignore[arg-type]


def test_a_language_that_is_none_and_the_folder_of_a_release_are_refused_with_what_to_do(zone: Zone) -> None:
    with pytest.raises(NotUnderstood, match='"nl" or "en"'):
        load("officer", as_labels=True, language="de")  # type: ignore[arg-type]
    with pytest.raises(NotUnderstood, match="by its name"):
        load(["officer"])  # type: ignore[arg-type]
    with pytest.raises(NotForUse, match="by its tag"):
        load("officer", zone.settings.releases / TAG)
    with pytest.raises(NoSuchTable, match="are in releases"):
        load("wide")


def test_there_is_no_way_to_ask_for_dates(zone: Zone) -> None:
    with pytest.raises(TypeError):
        load("followup", include=["dates"])  # type: ignore[call-arg]
    for table in tables()["table"]:
        assert not any("date" in kind for kind in codebook(table)["type"]), table


def test_the_codebook_is_that_of_the_release(zone: Zone) -> None:
    released = pd.read_csv(zone.made.folder / "codebook.csv", dtype=str, keep_default_na=False)
    mine = codebook("client")
    assert mine.to_dict("records") == released[released["table"] == "client"].to_dict("records")


def test_importing_the_door_loads_nothing_heavy() -> None:
    code = "import sys, json; from orchestration import load; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"dagster", "pandas", "pyarrow", "numpy", "sqlalchemy", "pydantic", "yaml", "dbt"}
    assert (CHECKOUT / "orchestration" / "py.typed").is_file()


def test_the_examples_in_the_docs_say_what_comes_out(zone: Zone) -> None:
    done = doctest.testfile(str(CHECKOUT / "docs" / "load.md"), module_relative=False)
    assert done.attempted >= 10
    assert done.failed == 0
