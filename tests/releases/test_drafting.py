"""A release from end to end, on a home with a small version and fit: drafted, approved by somebody else, and the next one after it."""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestration.analysis.reuse import models_hash
from orchestration.analysis.showing import multiverse as showing
from orchestration.cli import main
from orchestration.files import write_json
from orchestration.hashing import sha256_file
from orchestration.home import opened
from orchestration.releases.approval import (
    APPROVED,
    FitUnfit,
    Released,
    ReleaseDamaged,
    approve,
    damage,
    releases,
)
from orchestration.releases.drafting import Asked, NothingNew, WaitsForBatch, draft_release
from orchestration.releases.kept_counts import read_counts
from orchestration.releases.public import MayNotLeave
from orchestration.releases.shelf import DOWNLOADS, write_shelf
from orchestration.releases.tags import BadTag
from orchestration.settings import Settings
from orchestration.warehouse import versions
from tests.conftest import Platform, settings_in
from tests.releases.making import DAY, SmallRelease, catalogue, small_spec


@dataclass(frozen=True)
class Small:
    """A home with a version and a fit of it, and what models there are."""

    settings: Settings
    version: str
    fit: str

    def draft(self, by: str = "anna", **asked: Any) -> Released:
        names = {"version": self.version, "fit": self.fit, **asked}
        return draft_release(self.settings, opened(self.settings), Asked(by, DAY, **names), catalogue(), small_spec())

    def approve(self, tag: str) -> Released:
        return approve(self.settings, opened(self.settings), tag, "bert")


def put_fit(settings: Settings, source: Path, name: str, version: str, **more: Any) -> None:
    """A fit as the platform keeps it, of the estimates and imputed data sets that a small release has."""
    folder = settings.fits / name
    shutil.copytree(source, folder)
    tables = {path.stem: {"sha256": sha256_file(path)} for path in folder.glob("*.parquet")}
    manifest = {"fit_id": name, "version_id": version, "imputations": 3, "models_hash": models_hash(small_spec()), "tables": tables,
                "code_hash": "c0de", "packages": {}, "engines_agree": True, "benchmark_agrees": True, **more}  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    opened(settings).record_fit(name, version, "mark")


@pytest.fixture(scope="module")
def _drafted_once(release: SmallRelease, _settled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A home whose first release is drafted and approved; copy it."""
    folder = tmp_path_factory.mktemp("drafted")
    shutil.copytree(_settled_once, folder, dirs_exist_ok=True)
    settings = settings_in(folder)
    name = release.version.version_id
    shutil.copytree(release.version.folder, settings.versions / name)
    put_fit(settings, release.fit, "f00d", name)
    small = Small(settings, name, "f00d")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        assert small.draft().tag == "2026.1.0"
    small.approve("2026.1.0")
    return small


def stand_in(patch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in the place of the twin's, which takes a minute (`test_twin.py` has the real one); a test may say what it writes."""
    module = types.ModuleType("orchestration.releases.twin")
    module.TwinOf = lambda *of: of  # type: ignore[attr-defined]
    module.write_twin = lambda out, *_, **__: out.mkdir()  # type: ignore[attr-defined]
    patch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def small(_drafted_once: Small, tmp_path: Path) -> Small:
    shutil.copytree(_drafted_once.settings.home_path.parent, tmp_path, dirs_exist_ok=True)
    return replace(_drafted_once, settings=settings_in(tmp_path))


def corrected(small: Small, column: str = "birth_year") -> Small:
    """The same home with another version, in which one client has another value, and a fit of it."""
    settings, first = small.settings, versions.named_version(small.settings, small.version)
    marts = {name: pq.read_table(first.folder / f"{name}.parquet") for name in first.manifest["tables"]}
    client = marts["client"]
    values = client[column].to_pylist()
    values[0] += 1
    marts["client"] = client.set_column(client.column_names.index(column), column, pa.array(values, client.schema.field(column).type))  # fmt: skip
    tables = [
        versions.PublishedTable(name, "", entry["description"], {one["name"]: one["description"] for one in entry["columns"]}, tuple(entry["key"]))
        for name, entry in first.manifest["tables"].items()
    ]  # fmt: skip
    second, is_new = versions.publish(settings, marts, tables, first.manifest["build"])
    assert is_new
    put_fit(settings, settings.fits / small.fit, "cafe", second.version_id)
    return Small(settings, second.version_id, "cafe")


def test_a_release_holds_the_zone_what_may_leave_and_what_the_next_one_has_to_know(_drafted_once: Small) -> None:
    settings = _drafted_once.settings
    (release,) = releases(opened(settings))
    folder = release.folder(settings)
    assert (release.state, release.drafted_by, release.decided_by) == (APPROVED, "anna", "bert")
    assert damage(settings, release) == []
    assert {path.name for path in folder.iterdir()} == {"zone", "public", "kept", "release.json"}
    assert {path.name for path in (folder / "kept").iterdir()} == {"counts.json", "scan.json", "anonymity.json"}
    assert (folder / "zone" / "sav" / "wide.sav").is_file()
    scan = json.loads((folder / "kept" / "scan.json").read_text())
    assert {item["item"] for item in scan} == {path.relative_to(folder / "public").as_posix() for path in (folder / "public").rglob("*") if path.is_file()}  # fmt: skip
    manifest = json.loads((folder / "release.json").read_text())
    assert (manifest["simulated"], manifest["step"], manifest["after"]) == (True, "year", None)


def test_no_pseudonym_of_the_version_is_anywhere_in_what_may_leave(_drafted_once: Small) -> None:
    settings = _drafted_once.settings
    clients = pd.read_parquet(settings.versions / _drafted_once.version / "client.parquet")["client_id"]
    everything = b"".join(
        path.read_bytes() for path in (settings.releases / "2026.1.0" / "public").rglob("*") if path.is_file()
    )
    assert len(clients) == clients.nunique() > 10
    assert not any(one.encode() in everything for one in clients)


def test_a_corrected_row_makes_a_patch_whose_changelog_says_what_changed_in_the_zone_exactly_and_in_public_in_bands(
    small: Small,
) -> None:
    after = corrected(small).draft()
    folder = after.folder(small.settings)
    assert (after.tag, after.after) == ("2026.1.1", "2026.1.0")
    assert "| `client` | 40 | 40 | 0 | 0 | 1 | `birth_year` 1 |" in (folder / "zone" / "CHANGELOG.md").read_text()
    public = (folder / "public" / "CHANGELOG.md").read_text()
    assert "| `client` | 0–9 | 0–9 | 0–9 | `birth_year` 0–9 |" in public
    assert "Since 2026.1.0" in public
    small.approve("2026.1.1")
    assert [release.state for release in releases(opened(small.settings))] == ["superseded", "approved"]
    assert [read_counts(release.folder(small.settings) / "kept" / "counts.json").tag for release in releases(opened(small.settings))] == ["2026.1.0", "2026.1.1"]  # fmt: skip


def test_the_same_version_and_fit_are_released_again_only_when_a_tag_is_named(small: Small) -> None:
    with pytest.raises(NothingNew, match="2026"):
        small.draft()
    with pytest.raises(BadTag):
        small.draft(tag="2026.1.0")
    assert len(releases(opened(small.settings))) == 1


def test_a_fit_by_other_models_is_not_released(small: Small) -> None:
    put_fit(small.settings, small.settings.fits / small.fit, "beef", small.version, models_hash="0" * 64)
    with pytest.raises(FitUnfit, match="other models"):
        small.draft(fit="beef")


def test_nothing_is_drafted_while_an_earlier_release_is_not_intact(small: Small) -> None:
    path = small.settings.releases / "2026.1.0" / "kept" / "counts.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"tag"', '"Tag"'))
    with pytest.raises(ReleaseDamaged, match=r"counts\.json"):
        corrected(small).draft()


@pytest.fixture(autouse=True)
def twin(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The twin stands in, and the multiverse of the first draft for those of all others, which take seconds each."""

    def first(settings: Settings, *_: object) -> pd.DataFrame:
        (folder,) = settings.multiverse.iterdir()
        return pd.read_parquet(folder / showing.TABLE)

    monkeypatch.setattr(showing, "kept_multiverse", first)
    return stand_in(monkeypatch)


def test_a_release_that_only_few_erased_people_would_change_waits_for_more(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    module = types.ModuleType("orchestration.releases.superseding")
    module.waiting_for_batch = lambda *_: types.SimpleNamespace(may_be_public=False, batch=10)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(WaitsForBatch, match="10 are needed"):
        small.draft(tag="2026.1.1")


def test_what_fills_a_folder_of_its_own_is_called_with_what_may_leave_only(
    small: Small, twin: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def write_twin(out: Path, of: Any, frames: Any, *_: Any, **__: Any) -> None:
        seen.append((of, sorted(frames)))
        out.mkdir()
        (out / "client.csv").write_text("client_id,sex\nnobody-1,1\n")

    twin.write_twin = write_twin  # type: ignore[attr-defined]
    folder = corrected(small).draft().folder(small.settings)
    ((of, frames),) = seen
    assert of[0] == "2026.1.1" and "imputed" not in frames
    assert (folder / "public" / "twin" / "client.csv").is_file()
    assert "`twin/`" in (folder / "public" / "README.md").read_text()


def test_one_file_that_may_not_leave_fails_the_draft_and_nothing_of_it_is_seen(small: Small, twin: types.ModuleType) -> None:  # fmt: skip
    client = pd.read_parquet(small.settings.versions / small.version / "client.parquet")["client_id"].iloc[0]

    def write_twin(out: Path, *_: Any, **__: Any) -> None:
        out.mkdir()
        (out / "client.csv").write_text(f"client_id,sex\n{client},1\n")

    twin.write_twin = write_twin  # type: ignore[attr-defined]
    with pytest.raises(MayNotLeave, match=r"twin/client\.csv: identifier"):
        corrected(small).draft()
    assert [path.name for path in small.settings.releases.iterdir()] == ["2026.1.0"]
    assert len(releases(opened(small.settings))) == 1


def test_the_commands_say_who_decided_what_and_leave_with_one_where_a_release_is_damaged(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", str(small.settings.home_path))
    monkeypatch.setenv("DELICTVRIJ_KEY_FILE", str(small.settings.key_path))
    run = CliRunner().invoke
    listed = run(main, ["release", "list"])
    assert listed.exit_code == 0
    assert "2026.1.0    approved" in listed.output and "drafted by anna, bert decided; as drafted" in listed.output
    again = run(main, ["release", "approve", "2026.1.0"])
    assert again.exit_code == 1 and "it is approved, and only draft can be approved" in again.output
    assert run(main, ["release", "reject", "2026.9.9", "--reason", "no"]).exit_code == 1
    path = small.settings.releases / "2026.1.0" / "public" / "README.md"
    path.chmod(0o644)
    path.write_text("")
    damaged = run(main, ["release", "list", "--json"])
    assert damaged.exit_code == 1
    assert json.loads(damaged.output)[0]["damaged"] == ["public/README.md"]


def test_a_home_without_a_release_says_so(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", str(platform.settings.home_path))
    listed = CliRunner().invoke(main, ["release", "list"])
    assert (listed.exit_code, listed.output) == (0, "nothing has been drafted yet\n")


def test_the_public_estimates_of_a_small_fit_are_those_that_were_judged(_drafted_once: Small) -> None:
    public = _drafted_once.settings.releases / "2026.1.0" / "public"
    said = {item["item"]: item for item in json.loads((public / "disclosure.json").read_text())["items"]}
    assert said["imputed"]["verdict"] == "refused"
    assert said["multiverse"]["rule"] == "other_fit", "the small fit was not made by the seed of the models"
    assert set(said) == {"estimates", "imputed", "multiverse"}


def test_above_the_releases_is_a_page_and_in_the_place_of_one_that_no_longer_counts_another(small: Small) -> None:
    """All that the pages link to is there; the releases themselves are as they were drafted."""
    settings, ledger = small.settings, opened(small.settings)
    second = corrected(small).draft()
    small.approve(second.tag)
    write_shelf(settings, ledger)
    first, last = releases(ledger)
    assert (first.state, last.state) == ("superseded", APPROVED)
    assert damage(settings, first) == damage(settings, last) == []
    for page in (
        settings.releases / "en" / "index.html",
        settings.releases / "tombstones" / first.tag / "nl" / "index.html",
    ):
        text = page.read_text()
        links = [link for link in re.findall(r'(?:href|src)="([^"#:]+)"', text) if link]
        assert links and all((page.parent / link).resolve().exists() for link in links), page.parent.name
        assert last.tag in text and "SIMULATED" in text
    public = last.folder(settings) / "public" / "portal"
    hrefs = [one.href for one in DOWNLOADS if one.href and "twin" not in one.href]
    assert len(hrefs) > 4 and all((public / href).is_file() for href in hrefs)
