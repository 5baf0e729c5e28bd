"""What a manifest must say, and that the files are what it says: everything else is refused without being repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Judgement, Refused
from orchestration.deliveries.letter import finding
from orchestration.deliveries.manifest import NotADelivery, manifest_hash, read_manifest, verify
from tests.deliveries.making import change_manifest, deliver, delivery_in, manifest_of, write_manifest

CANARY = "Zwaluwstaart"


@pytest.fixture
def delivery(simulated: Path, tmp_path: Path) -> Path:
    """A good delivery of rn."""
    return deliver(delivery_in(simulated, "rn"), tmp_path / "inbox")


def refused(delivery: Path, organisation: Organisation) -> list[Judgement]:
    """What a delivery is refused for; none of it may repeat what the partner wrote."""
    with pytest.raises(Refused) as caught:
        verify(delivery, read_manifest(delivery), organisation)
    assert CANARY not in str(caught.value)
    for judgement in caught.value.judgements:
        assert CANARY not in repr(judgement) + finding(judgement, "nl") + finding(judgement, "en")
    return list(caught.value.judgements)


def rules(delivery: Path, organisation: Organisation) -> set[str]:
    return {judgement.rule for judgement in refused(delivery, organisation)}


def _with_file(delivery: Path, **changes: Any) -> None:
    content = manifest_of(delivery)
    old = content["files"][0]["name"]
    content["files"][0] |= changes
    for entry in content["tables"]:
        if entry["file"] == old:
            entry["file"] = content["files"][0]["name"]
    write_manifest(delivery, content)


def test_a_simulated_manifest_is_in_order(simulated: Path, contracts: dict[str, Organisation]) -> None:
    for name, organisation in contracts.items():
        delivery = delivery_in(simulated, name)
        verify(delivery, read_manifest(delivery), organisation)


@pytest.mark.parametrize(
    "name",
    [
        f"../{CANARY}.csv",
        f"/etc/{CANARY}",
        "../../../../etc/passwd",
        "clients.csv/../clients.csv",
        "./clients.csv",
        "..",
        ".",
        "",
        f"C:\\{CANARY}.csv",
        f"\\\\host\\{CANARY}",
        f"{CANARY}.csv",
        f"clients.csv\x00{CANARY}",
        f"\ud800{CANARY}.csv",
        "clients.csv\u202e",
        "manifest.json",
        ".clients.csv",
        "clients.txt",
        "CLIENTS.CSV",
    ],
)
def test_only_agreed_file_names_inside_the_folder_are_read(
    delivery: Path, contracts: dict[str, Organisation], name: str
) -> None:
    _with_file(delivery, name=name)
    assert "file.name" in rules(delivery, contracts["rn"])


def test_a_symbolic_link_is_refused_even_when_it_leads_to_the_right_bytes(
    delivery: Path, contracts: dict[str, Organisation], tmp_path: Path
) -> None:
    target = delivery / "clients.csv"
    target.rename(tmp_path / "clients.csv")
    target.symlink_to(tmp_path / "clients.csv")
    assert rules(delivery, contracts["rn"]) == {"file.name"}


def test_a_file_that_is_named_twice_is_refused(delivery: Path, contracts: dict[str, Organisation]) -> None:
    content = manifest_of(delivery)
    change_manifest(delivery, files=[*content["files"], content["files"][0]])
    assert rules(delivery, contracts["rn"]) == {"file.name"}


@pytest.mark.parametrize("kind", ["file", "hidden file", "folder", "link"])
def test_what_the_manifest_does_not_name_is_refused_and_counted(
    delivery: Path, contracts: dict[str, Organisation], kind: str
) -> None:
    extra = delivery / (f".{CANARY}" if kind == "hidden file" else f"{CANARY}.csv")
    if kind == "folder":
        extra.mkdir()
    elif kind == "link":
        extra.symlink_to("clients.csv")
    else:
        extra.write_text("x")
    (found,) = refused(delivery, contracts["rn"])
    assert (found.rule, found.failed) == ("file.undeclared", 1)


def _missing(delivery: Path) -> None:
    (delivery / "clients.csv").unlink()


def _longer(delivery: Path) -> None:
    with (delivery / "clients.csv").open("ab") as stream:
        stream.write(b"\n")


def _one_bit(delivery: Path) -> None:
    data = bytearray((delivery / "clients.csv").read_bytes())
    data[-3] ^= 1
    (delivery / "clients.csv").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "rule"), [(_missing, "file.missing"), (_longer, "file.size"), (_one_bit, "file.hash")]
)
def test_a_file_that_is_not_what_the_manifest_says_is_named(
    delivery: Path, contracts: dict[str, Organisation], spoil: Callable[[Path], None], rule: str
) -> None:
    spoil(delivery)
    (found,) = refused(delivery, contracts["rn"])
    assert (found.rule, found.place) == (rule, "clients.csv")


@pytest.mark.parametrize(
    "terms",
    [{"encoding": "utf-8"}, {"delimiter": ","}, {"decimal": "."}, {"date_format": "%m-%d-%Y"}, {"encoding": None}],
    ids=lambda terms: "-".join(map(str, *terms.items())),
)
def test_a_form_that_was_not_agreed_is_refused(
    delivery: Path, contracts: dict[str, Organisation], terms: dict[str, str | None]
) -> None:
    _with_file(delivery, **terms)
    assert rules(delivery, contracts["rn"]) == {"manifest.form"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"organisation": "svg"}, "manifest.place"),
        ({"period": "2025"}, "manifest.place"),
        ({"period": "2025-Q5"}, "manifest.place"),
        ({"period": "2025-Q4\n"}, "manifest.place"),
        ({"period": "２０２５-Q4"}, "manifest.place"),
        ({"schema_version": "2"}, "manifest.schema_version"),
        ({"cutoff_on": "2099-12-31"}, "manifest.cutoff"),
        ({"tables": []}, "manifest.tables"),
    ],
)
def test_a_promise_that_was_not_agreed_is_refused(
    delivery: Path, contracts: dict[str, Organisation], changes: dict[str, Any], rule: str
) -> None:
    change_manifest(delivery, **changes)
    assert rules(delivery, contracts["rn"]) == {rule}


def test_a_table_that_is_missing_twice_there_or_in_no_file_is_refused(
    delivery: Path, contracts: dict[str, Organisation]
) -> None:
    tables = manifest_of(delivery)["tables"]
    stray = {**tables[0], "file": f"{CANARY}.csv"}
    for changed in (tables[1:], [*tables, tables[0]], [stray, *tables[1:]]):
        change_manifest(delivery, tables=changed)
        assert rules(delivery, contracts["rn"]) == {"manifest.tables"}


@pytest.mark.parametrize("cutoff_on", [None, "2024-12-31"])
def test_a_registry_extract_without_its_cut_off_is_refused(
    simulated: Path, tmp_path: Path, contracts: dict[str, Organisation], cutoff_on: str | None
) -> None:
    delivery = deliver(delivery_in(simulated, "registry"), tmp_path)
    change_manifest(delivery, cutoff_on=cutoff_on)
    assert rules(delivery, contracts["registry"]) == {"manifest.cutoff"}


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({"table": CANARY, "keys": []}, 1),
        ({"table": "clients", "keys": [{CANARY: "1"}, {"Clientnummer": "1"}]}, 1),
        ({"table": "clients", "keys": [{}]}, 1),
        ({"table": "waves", "keys": [{"Toezichtnummer": "T1"}]}, 1),
        ({"table": "clients", "keys": [{"Clientnummer": "1", CANARY: "2"}]}, 1),
    ],
)
def test_a_deletion_names_an_agreed_table_and_its_whole_key(
    delivery: Path, contracts: dict[str, Organisation], entry: dict[str, Any], wrong: int
) -> None:
    change_manifest(delivery, deletions=[entry])
    (found,) = refused(delivery, contracts["rn"])
    assert (found.rule, found.failed) == ("manifest.deletions", wrong)


def _deep() -> str:
    return "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"organisation": "rn"}',
        f'{{"{CANARY}": 1}}'.encode(),
        b"\xff\xfe{}",
        b'{"sequence": ' + b"9" * 5000 + b"}",
        _deep().encode(),
        b"%YAML 1.2\n--- !!python/object/apply:os.system [id]",
    ],
    ids=["empty", "torn", "list", "null", "bare", "unknown", "bytes", "digits", "deep", "yaml"],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    delivery: Path, contracts: dict[str, Organisation], content: bytes
) -> None:
    (delivery / "manifest.json").write_bytes(content)
    assert rules(delivery, contracts["rn"]) == {"manifest.unreadable"}


def test_a_manifest_of_more_than_a_million_bytes_is_not_even_parsed(
    delivery: Path, contracts: dict[str, Organisation]
) -> None:
    path = delivery / "manifest.json"
    path.write_bytes(path.read_bytes().ljust(1_000_001))
    (found,) = refused(delivery, contracts["rn"])
    assert (found.rule, found.expected) == ("manifest.unreadable", "at most 1000000 bytes")


def _nested(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(delivery: Path) -> None:
        content = manifest_of(delivery)
        change(content)
        write_manifest(delivery, content)

    return apply


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.update({CANARY: 1}), "(unknown field)"),
        (lambda content: content["files"][0].update({CANARY: 1}), "files.0.(unknown field)"),
        (lambda content: content["files"][0].update(sha256=CANARY), "files.0.sha256"),
        (lambda content: content["files"][0].update(bytes=-1), "files.0.bytes"),
        (lambda content: content.update(sequence=10**30), "sequence"),
        (lambda content: content.update(delivery_id=f"../{CANARY}"), "delivery_id"),
        (lambda content: content.update(cutoff_on=CANARY), "cutoff_on"),
        (lambda content: content.pop("files"), "files"),
        (
            lambda content: content.update(deletions=[{"table": "clients", "keys": [{CANARY: 1}]}]),
            "deletions.0.keys.0.(unknown field)",
        ),
    ],
)
def test_a_manifest_with_a_wrong_field_names_our_field_and_not_its_content(
    delivery: Path, contracts: dict[str, Organisation], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    _nested(change)(delivery)
    (found,) = refused(delivery, contracts["rn"])
    assert (found.rule, found.expected) == ("manifest.unreadable", says)


def test_the_identity_of_a_delivery_is_its_manifest(delivery: Path, tmp_path: Path) -> None:
    first = manifest_hash(delivery)
    (delivery / "clients.csv").unlink()
    assert manifest_hash(delivery) == first
    change_manifest(delivery, sequence=2)
    assert manifest_hash(delivery) != first
    with pytest.raises(NotADelivery):
        manifest_hash(tmp_path)
    (tmp_path / "manifest.json").symlink_to(delivery / "manifest.json")
    with pytest.raises(NotADelivery):
        manifest_hash(tmp_path)


def test_manifests_survive_a_round_trip(delivery: Path) -> None:
    manifest = read_manifest(delivery)
    assert json.loads(manifest.model_dump_json()) == manifest_of(delivery)
    assert manifest.table("clients").file == manifest.file("clients.csv").name
