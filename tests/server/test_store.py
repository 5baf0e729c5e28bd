"""The store: whole folders only, the same again does nothing, another machine gets what was made, what was erased is gone from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from orchestration import store
from orchestration.deliveries.ingest import ingest
from orchestration.hashing import sha256_file
from orchestration.home import initialise, opened
from orchestration.settings import Settings
from orchestration.store import Store, StoreDamaged, StoreTrouble, damaged, mirror, pull_all, push_all
from orchestration.warehouse.versions import current_version, verify
from tests.conftest import Platform, settings_in
from tests.server.s3 import Bucket, bucket_at


@pytest.fixture
def plain(s3: str) -> Bucket:
    return bucket_at(s3)


def of(settings: Settings) -> Store:
    made = Store.of(settings)
    assert made is not None
    return made


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "home" / "versions" / "abc"
    (made / "deep").mkdir(parents=True)
    (made / "manifest.json").write_text("{}")
    (made / "deep" / "one.parquet").write_bytes(b"one")
    (made / "two.parquet").write_bytes(b"two")
    return made


@pytest.fixture
def settings(tmp_path: Path, plain: Bucket) -> Settings:
    return settings_in(tmp_path).model_copy(update=plain.settings)


def test_a_folder_comes_back_as_it_was_and_the_second_time_nothing_is_sent(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    assert of(settings).push(folder, "versions/abc") == 8
    assert of(settings).push(folder, "versions/abc") == 0
    assert of(settings).folders("versions") == ["versions/abc"]
    assert of(settings).pull("versions/abc", tmp_path / "back") == 8
    assert files_of(tmp_path / "back") == files_of(folder)


class Cut:
    """A client whose connection breaks at one call, and from then on."""

    def __init__(self, client: object, at: int) -> None:
        self._client, self._at, self.calls = client, at, 0

    def __getattr__(self, name: str) -> object:
        found = getattr(self._client, name)
        if name in ("exceptions",):
            return found

        def called(*args: object, **terms: object) -> object:
            self.calls += 1
            if self.calls > self._at:
                raise EndpointConnectionError(endpoint_url="cut")
            return found(*args, **terms)

        return called


def test_a_connection_that_is_cut_at_any_call_leaves_nothing_half_done_in_sight(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    whole = of(settings)
    counted = Cut(whole.client, 10_000)
    Store(counted, whole.bucket, "counted/").push(folder, "versions/abc")
    for at in range(counted.calls):
        prefix = f"cut-{at}/"
        with pytest.raises(StoreTrouble, match="cannot be reached") as told:
            Store(Cut(whole.client, at), whole.bucket, prefix).push(folder, "versions/abc")
        assert told.value.is_transient
        seen = Store(whole.client, whole.bucket, prefix)
        assert seen.folders("versions") == []
        seen.push(folder, "versions/abc")
        assert seen.damage("versions/abc") == [] and seen.folders("versions") == ["versions/abc"]
    calls = Cut(whole.client, 10_000)
    Store(calls, whole.bucket, "counted/").pull("versions/abc", tmp_path / "probe")
    for at in range(calls.calls):
        with pytest.raises(StoreTrouble):
            Store(Cut(whole.client, at), whole.bucket, "counted/").pull("versions/abc", tmp_path / f"into-{at}")
        assert not list(tmp_path.glob(f"*into-{at}*"))


def test_what_was_put_in_place_anew_is_whole_before_during_and_after(settings: Settings, folder: Path) -> None:
    kept = of(settings)
    kept.push(folder, "releases/2026.1.0")
    before = kept._read(f"releases/2026.1.0/{store.INVENTORY}")
    (folder / "two.parquet").write_bytes(b"three")
    for at in range(2):
        with pytest.raises(StoreTrouble):
            Store(Cut(kept.client, at), kept.bucket, kept.prefix).push(folder, "releases/2026.1.0", anew=True)
        assert kept._read(f"releases/2026.1.0/{store.INVENTORY}") == before and kept.damage("releases/2026.1.0") == []
    kept.push(folder, "releases/2026.1.0", anew=True)
    assert kept.damage("releases/2026.1.0") == []
    assert len(list(kept._keys("releases/"))) == 4


def test_of_two_who_come_with_other_bytes_under_one_name_the_first_stays(settings: Settings, folder: Path) -> None:
    kept = of(settings)
    kept.push(folder, "versions/abc")
    first = kept._read(f"versions/abc/{store.INVENTORY}")
    (folder / "two.parquet").write_bytes(b"another")
    assert kept.push(folder, "versions/abc") == 0
    kept._put(f"versions/abc/{store.INVENTORY}", b"{}", if_absent=True)
    assert kept._read(f"versions/abc/{store.INVENTORY}") == first


def test_an_object_that_was_changed_is_named_and_not_taken(
    settings: Settings, folder: Path, plain: Bucket, tmp_path: Path
) -> None:
    of(settings).push(folder, "versions/abc")
    (key,) = [key for key in plain.keys() if key.endswith("one.parquet")]
    plain.client.put_object(Bucket=plain.name, Key=f"home/{key}", Body=b"One")
    assert damaged(settings) == {"versions/abc": ["deep/one.parquet"]}
    with pytest.raises(StoreDamaged, match="versions/abc"):
        of(settings).pull("versions/abc", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_an_inventory_that_leads_out_of_its_folder_is_refused(settings: Settings, tmp_path: Path) -> None:
    kept = of(settings)
    kept._put(f"versions/abc/{store.INVENTORY}", json.dumps({"files": {"../../out": "0" * 64}}).encode())
    with pytest.raises(StoreDamaged, match="outside"):
        kept.pull("versions/abc", tmp_path / "back")


def test_a_store_that_is_not_there_says_so_and_repeats_nothing(settings: Settings, folder: Path) -> None:
    nowhere = settings.model_copy(update={"store": "s3://no-such-bucket-here/home"})
    with pytest.raises(StoreTrouble, match="NoSuchBucket") as told:
        of(nowhere).push(folder, "versions/abc")
    assert not told.value.is_transient
    with pytest.raises(StoreTrouble, match="DELICTVRIJ_STORE"):
        push_all(settings.model_copy(update={"store": None}))


def test_a_delivery_is_in_the_store_before_the_ledger_says_that_it_counts(
    platform: Platform, simulated: Path, plain: Bucket
) -> None:
    settings = platform.settings.model_copy(update=plain.settings)
    (delivery,) = (simulated / "north_carolina").glob("*/*")
    with pytest.raises(StoreTrouble):
        ingest(delivery, settings.model_copy(update={"store": "s3://no-such-bucket-here/home"}), platform.ledger)
    assert [record.status for record in platform.ledger.deliveries()] == ["received"]
    receipt = ingest(delivery, settings, platform.ledger)
    assert receipt.status == "accepted"
    assert of(settings).folders("raw") == [f"raw/north_carolina/{receipt.content_hash}"]
    (letter,) = of(settings).folders("letters")
    assert letter.startswith(f"letters/north_carolina/{receipt.period}/")
    originals = {path.name for path in delivery.iterdir()}
    assert {key.split("/")[0] for key in plain.keys()} == {"raw", "letters"}
    assert not originals & {Path(key).name for key in plain.keys()}


def test_another_machine_gets_all_that_was_made_and_the_same_version_counts(
    stored: Platform, bucket: Bucket, tmp_path: Path
) -> None:
    moved = push_all(stored.settings)
    assert push_all(stored.settings).folders == ()
    assert damaged(stored.settings) == {}
    other = settings_in(tmp_path / "other").model_copy(update=bucket.settings)
    initialise(other)
    assert set(pull_all(other).folders) == set(moved.folders)
    assert pull_all(other).folders == ()
    theirs, ours = current_version(other), current_version(stored.settings)
    assert theirs is not None and ours is not None and theirs.version_id == ours.version_id
    verify(theirs)
    for root in ("raw", "versions"):
        assert files_of(other.home_path / root) == files_of(stored.settings.home_path / root)


def test_what_goes_from_the_home_goes_from_the_store_in_every_version_that_the_bucket_keeps(
    stored: Platform, bucket: Bucket
) -> None:
    settings = stored.settings
    push_all(settings)
    gone = next(iter(settings.raw.glob("rn/*")))
    bytes_gone = (gone / "clients.parquet").read_bytes()
    version = current_version(settings)
    assert version is not None
    changed = version.folder / "manifest.json"
    text = changed.read_bytes()
    (settings.versions / "abc.changes.json").write_text('{"old": 1}')
    mirror(settings)
    shutil.rmtree(gone)
    changed.chmod(0o600)
    changed.write_text(json.dumps({**json.loads(text), "reissued": True}))
    (settings.versions / "abc.changes.json").write_text('{"new": 1}')
    (settings.versions / store.CURRENT).unlink()
    done = mirror(settings)
    assert done["sent"] == 1 and done["removed"] > 1
    left = bucket.everything()
    assert bytes_gone not in [content for _, content in left]
    assert text not in [content for _, content in left]
    assert b'{"old": 1}' not in [content for _, content in left]
    assert not [key for key, _ in left if "raw/rn" in key or key.endswith("/current")]
    assert damaged(settings) == {}
    assert mirror(settings) == {"sent": 0, "removed": 0}


def test_a_home_without_a_store_asks_nobody(published: Platform) -> None:
    assert pull_all(published.settings).folders == ()
    assert mirror(published.settings) == {"sent": 0, "removed": 0}
    assert opened(published.settings).deliveries()
