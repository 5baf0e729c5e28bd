"""The way of a release, walked at random on a real ledger and real folders: no road leads to an approval that should not be."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestration.audit import Sealing, entry_of, findings
from orchestration.files import write_json
from orchestration.hashing import sha256_file
from orchestration.home import initialise, opened
from orchestration.releases.approval import (
    APPROVED,
    DRAFT,
    MOVES,
    REJECTED,
    SUPERSEDED,
    CannotDecide,
    DraftOutdated,
    FitUnfit,
    NoSuchRelease,
    OwnDraft,
    Released,
    ReleaseDamaged,
    TagTaken,
    approve,
    current_release,
    damage,
    draft,
    is_same_person,
    moved,
    named_release,
    reject,
    releases,
    sources,
)
from orchestration.trouble import Mendable
from orchestration.warehouse.versions import VersionDamaged
from tests.conftest import Platform, settings_in

VERSION, FIT = "0123456789abcdef", "fedcba9876543210"
PEOPLE = {"anna": "anna", "Anna": "anna", " ANNA": "anna", "bert": "bert", "ｂｅｒｔ": "bert", "carla": "carla"}
TAGS = ("2026.1.0", "2026.1.1", "2026.2.0")
FILES = {"zone/parquet/client.parquet": b"rows", "public/tables/estimates.csv": b"term\n", "kept/counts.json": b"{}"}


def put(folder: Path, manifest: Mapping[str, Any]) -> None:
    """A version or a fit of one table."""
    folder.mkdir(parents=True)
    (folder / "rows.parquet").write_bytes(b"rows of " + folder.name.encode())
    entry = {"sha256": sha256_file(folder / "rows.parquet"), "content_hash": folder.name}
    write_json(folder / "manifest.json", {**manifest, "tables": {"rows": entry}})


def home_with_a_fit(platform: Platform) -> Platform:
    put(
        platform.settings.versions / VERSION,
        {"version_id": VERSION, "simulated": True, "registry_cutoff_on": "2025-12-31"},
    )
    put(platform.settings.fits / FIT, {"version_id": VERSION, "fit_id": FIT, "imputations": 2})
    platform.ledger.record_fit(FIT, VERSION, "mark")
    return platform


def write(folder: Path) -> dict[str, Any]:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {"simulated": True}


@pytest.fixture
def home(platform: Platform) -> Platform:
    return home_with_a_fit(platform)


def drafted(home: Platform, tag: str = TAGS[0], by: str = "anna") -> Released:
    return draft(home.settings, home.ledger, tag, sources(home.settings, home.ledger, VERSION, FIT), by, write)


class Killed(BaseException):
    """What ends a process in the middle of things."""


class WayOfReleases(RuleBasedStateMachine):
    """People draft, approve and reject, and somebody spoils, restores and kills in between. A model beside it says what may be."""

    @initialize()
    def new_home(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        settings = settings_in(self.place)
        initialise(settings)
        self.home = home_with_a_fit(Platform(settings, opened(settings)))
        self.state: dict[str, str] = {}
        self.by: dict[str, str] = {}
        self.after: dict[str, str | None] = {}
        self.spoilt: dict[str, tuple[Path, bytes | None]] = {}
        self.is_source_whole = True
        self.approved_bytes: dict[str, dict[str, bytes]] = {}

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.home.ledger.close()
            shutil.rmtree(self.place)

    @property
    def current(self) -> str | None:
        return next((tag for tag, state in self.state.items() if state == APPROVED), None)

    @rule(tag=st.sampled_from(TAGS), by=st.sampled_from(sorted(PEOPLE)))
    def draft_one(self, tag: str, by: str) -> None:
        try:
            drafted(self.home, tag, by)
        except TagTaken:
            assert tag in self.state
        except VersionDamaged:
            assert not self.is_source_whole
        else:
            assert tag not in self.state and self.is_source_whole
            self.state[tag], self.by[tag], self.after[tag] = DRAFT, by, self.current

    @rule(tag=st.sampled_from(TAGS), moment=st.sampled_from(["writing", "renamed"]))
    def draft_one_and_be_killed(self, tag: str, moment: str) -> None:
        if tag in self.state or not self.is_source_whole:
            return

        def dies(folder: Path) -> dict[str, Any]:
            write(folder)
            raise Killed

        chosen = sources(self.home.settings, self.home.ledger, VERSION, FIT)
        try:
            if moment == "writing":
                draft(self.home.settings, self.home.ledger, tag, chosen, "anna", dies)
            else:
                write(self.home.settings.releases / tag)
                raise Killed
        except Killed:
            pass

    @rule(tag=st.sampled_from(TAGS), by=st.sampled_from(sorted(PEOPLE)))
    def approve_one(self, tag: str, by: str) -> None:
        may = (
            self.state.get(tag) == DRAFT and PEOPLE[by] != PEOPLE[self.by[tag]] and self.after[tag] == self.current
            and tag not in self.spoilt and self.is_source_whole
        )  # fmt: skip
        before = self.current
        try:
            approve(self.home.settings, self.home.ledger, tag, by)
        except Mendable:
            assert not may
        else:
            assert may
            self.state[tag] = APPROVED
            if before:
                self.state[before] = SUPERSEDED

    @rule(tag=st.sampled_from(TAGS), by=st.sampled_from(sorted(PEOPLE)), reason=st.sampled_from(["", "wrong fit"]))
    def reject_one(self, tag: str, by: str, reason: str) -> None:
        may = self.state.get(tag) == DRAFT and bool(reason)
        try:
            reject(self.home.ledger, tag, by, reason)
        except (NoSuchRelease, CannotDecide):
            assert not may
        else:
            assert may
            self.state[tag] = REJECTED

    @rule(
        tag=st.sampled_from(TAGS),
        name=st.sampled_from([*FILES, "release.json", "zone/more.csv"]),
        how=st.sampled_from(["byte", "gone"]),
    )
    def spoil_one(self, tag: str, name: str, how: str) -> None:
        path = self.home.settings.releases / tag / name
        if tag not in self.state or tag in self.spoilt or (how == "gone" and not path.exists()):
            return
        was = path.read_bytes() if path.exists() else None
        if how == "gone":
            path.unlink()
        else:
            path.unlink(missing_ok=True)
            path.write_bytes((was or b"") + b" ")
        self.spoilt[tag] = (path, was)

    @rule(tag=st.sampled_from(TAGS))
    def put_right(self, tag: str) -> None:
        if tag in self.spoilt:
            path, was = self.spoilt.pop(tag)
            path.unlink(missing_ok=True)
            if was is not None:
                path.write_bytes(was)

    @rule()
    def spoil_or_mend_the_version(self) -> None:
        path = self.home.settings.versions / VERSION / "rows.parquet"
        path.write_bytes(path.read_bytes() + b" " if self.is_source_whole else path.read_bytes()[:-1])
        self.is_source_whole = not self.is_source_whole

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        found = releases(self.home.ledger)
        assert {one.tag: one.state for one in found} == self.state
        assert {one.tag for one in found if damage(self.home.settings, one)} == set(self.spoilt)
        assert sum(one.state == APPROVED for one in found) <= 1

    @invariant()
    def nobody_has_approved_what_is_his_own(self) -> None:
        assert not any(one.decided_by and one.state in (APPROVED, SUPERSEDED) and is_same_person(one.decided_by, one.drafted_by) for one in releases(self.home.ledger))  # fmt: skip

    @invariant()
    def every_act_is_in_the_audit_trail(self) -> None:
        entries = [entry_of(row) for row in self.home.ledger.audit()]
        assert findings(entries, Sealing.of(self.home.settings)) == []
        acts = [entry.what for entry in entries]
        assert acts.count("release.drafted") == len(self.state)
        assert acts.count("release.superseded") == list(self.state.values()).count(SUPERSEDED)


TestWayOfReleases = WayOfReleases.TestCase
TestWayOfReleases.settings = hypothesis_settings(max_examples=15, stateful_step_count=16, deadline=None)


def test_only_a_draft_is_approved_or_rejected_and_only_what_was_approved_is_superseded() -> None:
    assert MOVES == {(DRAFT, "approve"): APPROVED, (DRAFT, "reject"): REJECTED, (APPROVED, "supersede"): SUPERSEDED}
    for state in (APPROVED, REJECTED, SUPERSEDED):
        with pytest.raises(CannotDecide, match=state):
            moved(state, "approve")


@pytest.mark.parametrize("alias", ["anna", "Anna", "ANNA ", "ａｎｎａ"])
def test_who_drafted_cannot_approve_under_another_spelling(home: Platform, alias: str) -> None:
    drafted(home)
    with pytest.raises(OwnDraft, match="somebody else"):
        approve(home.settings, home.ledger, TAGS[0], alias)
    assert named_release(home.ledger, TAGS[0]).state == DRAFT


def test_a_draft_that_two_people_decide_at_once_is_decided_once(home: Platform) -> None:
    drafted(home)
    assert home.ledger.decide_release(TAGS[0], REJECTED, "bert", "wrong fit")
    assert not home.ledger.decide_release(TAGS[0], APPROVED, "carla", "")
    assert named_release(home.ledger, TAGS[0]).decided_by == "bert"
    assert home.ledger.audit()[-1]["what"] == "release.rejected"


def test_an_approval_supersedes_the_release_before_it(home: Platform) -> None:
    for tag in TAGS[:2]:
        drafted(home, tag)
        approve(home.settings, home.ledger, tag, "bert", "checked")
    assert [release.state for release in releases(home.ledger)] == [SUPERSEDED, APPROVED]
    assert [release.after for release in releases(home.ledger)] == [None, TAGS[0]]
    current = current_release(home.ledger)
    assert current is not None and (current.tag, current.decided_by, current.reason) == (TAGS[1], "bert", "checked")


def test_a_draft_that_was_judged_before_another_was_approved_has_to_be_drafted_again(home: Platform) -> None:
    drafted(home, TAGS[0])
    drafted(home, TAGS[1])
    approve(home.settings, home.ledger, TAGS[0], "bert")
    with pytest.raises(DraftOutdated, match="draft again"):
        approve(home.settings, home.ledger, TAGS[1], "bert")


@pytest.mark.parametrize("name", [*FILES, "release.json"])
def test_a_changed_byte_stops_the_approval_and_is_named(home: Platform, name: str) -> None:
    release = drafted(home)
    path = release.folder(home.settings) / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ReleaseDamaged, match=name.rpartition("/")[2]):
        approve(home.settings, home.ledger, TAGS[0], "bert")


def test_a_file_that_is_added_to_a_release_is_named(home: Platform) -> None:
    release = drafted(home)
    (release.folder(home.settings) / "public" / "more.csv").write_text("")
    (release.folder(home.settings) / "zone" / "link").symlink_to("..")
    assert damage(home.settings, release) == ["public/more.csv", "zone/link"]


def test_microdata_that_were_removed_under_a_tombstone_are_no_damage_and_are_not_approved(home: Platform) -> None:
    release = drafted(home)
    folder = release.folder(home.settings)
    shutil.rmtree(folder / "zone")
    assert damage(home.settings, release) == ["zone/parquet/client.parquet"]
    (folder / "tombstone.json").write_text("{}")
    assert damage(home.settings, release) == []
    with pytest.raises(DraftOutdated, match="withdrawn"):
        approve(home.settings, home.ledger, TAGS[0], "bert")
    (folder / "zone").mkdir()
    assert damage(home.settings, release) == ["tombstone.json", "zone/parquet/client.parquet"]


def test_the_files_of_a_draft_are_read_only_and_all_in_its_manifest(home: Platform) -> None:
    folder = drafted(home).folder(home.settings)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == len(FILES) + 1
    assert all(path.stat().st_mode & 0o222 == 0 for path in files)
    manifest = json.loads((folder / "release.json").read_text())
    assert manifest["files"] == {name: sha256_file(folder / name) for name in FILES}
    assert (manifest["drafted_by"], manifest["version_id"], manifest["fit_id"]) == ("anna", VERSION, FIT)


def test_a_fit_that_is_damaged_held_or_of_other_rows_is_not_released(home: Platform) -> None:
    held = "aaaaaaaaaaaaaaaa"
    put(home.settings.fits / held, {"version_id": VERSION, "fit_id": held, "imputations": 2})
    with pytest.raises(FitUnfit, match="held back"):
        sources(home.settings, home.ledger, VERSION, held)
    other = "bbbbbbbbbbbbbbbb"
    put(home.settings.versions / other, {"version_id": other, "simulated": True, "registry_cutoff_on": "2025-12-31"})
    with pytest.raises(FitUnfit, match="other rows"):
        sources(home.settings, home.ledger, other, FIT)
    (home.settings.fits / FIT / "rows.parquet").write_bytes(b"")
    with pytest.raises(FitUnfit, match="not what its manifest says"):
        sources(home.settings, home.ledger, VERSION, FIT)


def test_a_draft_whose_fit_is_gone_cannot_be_approved(home: Platform) -> None:
    drafted(home)
    shutil.rmtree(home.settings.fits / FIT)
    with pytest.raises(Mendable, match="fits have a name that begins so"):
        approve(home.settings, home.ledger, TAGS[0], "bert")


@pytest.mark.parametrize("moment", ["while it is written", "before it is on record"])
def test_a_draft_that_is_killed_leaves_nothing_that_anybody_sees_and_the_next_one_works(
    home: Platform, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if child == 0:  # a process of its own, which ends in the middle without any clearing up

        def dies(*_: Any, **__: Any) -> dict[str, Any]:
            os._exit(9)

        with monkeypatch.context() as patch:
            if moment == "before it is on record":
                patch.setattr(type(home.ledger), "record_draft", dies)
            draft(home.settings, home.ledger, TAGS[0], sources(home.settings, home.ledger, VERSION, FIT), "anna",
                  dies if moment == "while it is written" else write)  # fmt: skip
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(home.settings.releases.iterdir()) != []
    (home.settings.releases / "assets").mkdir()  # of the page above all releases: not the draft's to clear up
    assert releases(home.ledger) == []
    assert damage(home.settings, drafted(home)) == []
    assert {path.name for path in home.settings.releases.iterdir()} == {TAGS[0], "assets"}
