"""A home is copied and comes back whole; who left since stays out, and what is not whole or not ours is refused."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from orchestration.audit import Sealing, entry_of, findings
from orchestration.cli import main
from orchestration.deliveries.keys import make_key
from orchestration.deliveries.sealing import make_opening_key, recipient
from orchestration.home import opened
from orchestration.ledger import Ledger
from orchestration.releases.withdrawal import Asked, begin, finish
from orchestration.settings import Settings
from orchestration.stewards.backup import BackupDamaged, CannotRestore, Restored, back_up, restore, verified
from orchestration.warehouse import versions
from tests.conftest import Platform
from tests.deliveries.making import digests
from tests.releases.dying import settings_of
from tests.releases.leaving import Person, furnished, looked_for, request, somebody
from tests.releases.making import SmallRelease
from tests.server.postgres import Cluster
from tests.test_cli import environment


@dataclass(frozen=True)
class Kept:
    """A home with everything in it, and a copy of it."""

    settings: Settings
    person: Person
    copy: Path
    before: dict[str, str]


@pytest.fixture(scope="module")
def _kept_once(release: SmallRelease, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(release.version.folder.parents[2], folder, dirs_exist_ok=True, symlinks=True)
    settings = settings_of(folder)
    ledger = opened(settings)
    person = somebody(settings, ledger)
    furnished(settings, ledger, release, person)
    shutil.rmtree(settings.releases / "2026.1.0")  # one that no ledger knows
    made = back_up(settings, ledger, folder / "copies")
    ledger.close()
    shutil.rmtree(settings.versions / ".0123.killed")  # nothing of a process that was killed comes along
    return Kept(settings, person, made.path, digests(settings.versions))


@pytest.fixture
def kept(_kept_once: Kept, tmp_path: Path) -> Kept:
    """The same in a folder of a test's own."""
    source = _kept_once.settings.home_path.parent
    shutil.copytree(source, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Kept(
        settings_of(tmp_path), _kept_once.person, tmp_path / _kept_once.copy.relative_to(source), _kept_once.before
    )


def lose(settings: Settings) -> None:
    shutil.rmtree(settings.home_path)


def test_what_comes_back_is_what_was_kept_and_its_audit_trail_holds(kept: Kept) -> None:
    settings = kept.settings
    lose(settings)
    back = restore(settings, kept.copy)
    assert (back.versions, back.fits, back.acts_lost) == (1, 1, 1)  # that the copy was made came after it
    verified(kept.copy)  # it may be needed again
    assert digests(settings.home_path / "versions") == kept.before
    assert versions.current_version(settings) is not None
    assert (settings.fits / "current").resolve().name == "f00d"
    ledger = opened(settings)
    entries = [entry_of(row) for row in ledger.audit()]
    assert findings(entries, Sealing.of(settings)) == []
    assert entries[-1].what == "home.restored"
    assert "1 acts that came after it" in entries[-1].why
    assert list(settings.home_path.parent.glob("*.audit.before-*"))


def test_no_key_and_no_direct_identifier_is_in_a_copy(kept: Kept) -> None:
    secret = kept.settings.key_path.read_text().strip()
    content = b"".join(path.read_bytes() for path in sorted(kept.copy.rglob("*")) if path.is_file())
    for word in (secret, kept.person.national_number, kept.person.surname):
        assert word.encode() not in content
    assert not (kept.copy / "home" / "landing").exists()


def test_whoever_was_erased_after_the_copy_is_in_nothing_that_came_back(kept: Kept) -> None:
    settings = kept.settings
    ledger = opened(settings)
    file = request(settings.home_path.parent, ("rn", "client_number", kept.person.client_number))
    begin(settings, ledger, file, Asked("erase", "consent", "asked by letter", "anna"))
    file.unlink()
    ledger.close()
    lose(settings)
    shutil.rmtree(settings.inbox_path)
    restore(settings, kept.copy)
    assert looked_for(settings, kept.person).hits
    again = opened(settings)
    (done,) = finish(settings, again, lambda: True)
    assert done.finished_at is not None
    assert looked_for(settings, kept.person).hits == []
    again.close()


def test_a_home_that_is_there_is_never_written_over(kept: Kept) -> None:
    before = digests(kept.settings.home_path)
    with pytest.raises(CannotRestore, match="holds something"):
        restore(kept.settings, kept.copy)
    with pytest.raises(CannotRestore, match="outside the home"):
        back_up(kept.settings, opened(kept.settings), kept.settings.home_path / "copies")
    assert {**digests(kept.settings.home_path), **before} == digests(kept.settings.home_path)


def spoil(copy: Path, how: str) -> None:
    table = next((copy / "home" / "versions").glob("*/client.parquet"))
    if how == "a byte":
        table.write_bytes(table.read_bytes()[:-1] + b"?")
    elif how == "a file less":
        table.unlink()
    elif how == "a file more":
        (copy / "home" / "more.txt").write_text("more")
    elif how == "a link":
        (copy / "home" / "link").symlink_to("/etc/hostname")
    else:
        manifest = json.loads((copy / "backup.json").read_text())
        manifest["links"]["home/versions/current"] = "../../../elsewhere"
        (copy / "backup.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("how", ["a byte", "a file less", "a file more", "a link", "a link that leads elsewhere"])
def test_a_copy_that_is_not_what_was_written_is_refused_and_nothing_is_made(kept: Kept, how: str) -> None:
    lose(kept.settings)
    spoil(kept.copy, how)
    beside = sorted(path.name for path in kept.settings.home_path.parent.iterdir())
    with pytest.raises(BackupDamaged):
        restore(kept.settings, kept.copy)
    assert sorted(path.name for path in kept.settings.home_path.parent.iterdir()) == beside


def test_another_key_and_what_is_no_copy_are_refused(kept: Kept, tmp_path: Path) -> None:
    lose(kept.settings)
    kept.settings.key_path.unlink()
    make_key(kept.settings.key_path)
    with pytest.raises(CannotRestore, match="is not that of the copy"):
        restore(kept.settings, kept.copy)
    (tmp_path / "empty").mkdir()
    for nothing, said in ((tmp_path / "empty", "no copy of a home"), (tmp_path / "nowhere", "there is no copy")):
        with pytest.raises((BackupDamaged, CannotRestore), match=said):
            restore(kept.settings, nothing)


def test_a_sealed_copy_opens_with_its_key_alone(kept: Kept, tmp_path: Path) -> None:
    own, other = tmp_path / "own.age", tmp_path / "other.age"
    make_opening_key(own)
    make_opening_key(other)
    ledger = opened(kept.settings)
    made = back_up(kept.settings, ledger, tmp_path / "sealed", recipient(own))
    ledger.close()
    assert kept.person.client_id.encode() not in made.path.read_bytes()
    assert not tarfile.is_tarfile(made.path)
    lose(kept.settings)
    with pytest.raises(CannotRestore, match="--opening-key"):
        restore(kept.settings, made.path)
    with pytest.raises(BackupDamaged, match="cannot be opened"):
        restore(kept.settings, made.path, other)
    assert isinstance(restore(kept.settings, made.path, own), Restored)
    assert digests(kept.settings.home_path / "versions") == kept.before


def test_the_commands_keep_a_home_and_bring_it_back(platform: Platform, tmp_path: Path) -> None:
    settings = platform.settings
    platform.ledger.close()

    def run(*words: object) -> str:
        done = CliRunner().invoke(main, [str(word) for word in words], env=environment(settings))
        assert done.exit_code == 0, done.output
        return done.output

    assert "version none yet" in run("backup", tmp_path / "copies")
    (copy,) = (tmp_path / "copies").iterdir()
    verified(copy)
    lose(settings)
    assert "0 withdrawals were carried out again" in run("restore", copy)
    assert {entry["what"] for entry in Ledger.of(settings).audit()} >= {"home.restored"}


def test_what_lies_in_postgresql_comes_along_and_comes_back(
    platform: Platform, postgres: Cluster, tmp_path: Path
) -> None:
    """The ledger and the database of Dagster of a server."""
    names = {name: postgres.database() for name in ("ledger_url", "dagster_url")}
    settings = Settings(**{**platform.settings.model_dump(), **names})
    ledger = Ledger.of(settings)
    ledger.create()
    platform.ledger.copy_state(ledger)
    ledger.act("test.done", "something")
    said = [dict(row) for row in ledger.audit()]
    with sa.create_engine(settings.dagster_url).begin() as connection:
        connection.execute(sa.text("create table runs as select 'a run' as run_id"))
    made = back_up(settings, ledger, tmp_path / "copies")
    ledger.close()
    lose(settings)
    with pytest.raises(CannotRestore, match="holds a ledger already"):
        restore(settings, made.path)
    assert not settings.home_path.exists()
    elsewhere = Settings(**{**settings.model_dump(), **{name: postgres.database() for name in names}})
    back = restore(elsewhere, made.path)
    assert back.acts_lost == 1
    again = Ledger.of(elsewhere)
    assert [dict(row) for row in again.audit()][: len(said)] == said
    again.close()
    with sa.create_engine(elsewhere.dagster_url).connect() as connection:
        assert connection.execute(sa.text("select run_id from runs")).fetchall() == [("a run",)]
    verified(made.path)
