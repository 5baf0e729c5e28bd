"""The shelf on which releases stand: the list of those that anybody may know of, the page above them all, a page in the place of each that no
longer counts, and what each role may take down. Written anew whenever a release is approved.
"""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

from orchestration.releases import approval
from orchestration.releases.approval import KEPT, LEFT, PUBLIC, SUPERSEDED, ZONE
from orchestration.releases.portal.content import Download, Edition
from orchestration.releases.portal.site import write_portal_index, write_tombstone

if TYPE_CHECKING:
    from orchestration.readings import Readings
    from orchestration.settings import Settings

PORTAL, TWIN, TOMBSTONES = "portal", "twin", "tombstones"  # folders: of what leaves, and beside the releases

DOWNLOADS = (
    Download("public", "README", {"nl": "wat er is, en wat het is", "en": "what there is, and what it is"}, "../README.md"),
    Download("public", "tables/", {"nl": "de getoetste tabellen, als CSV", "en": "the judged tables, as CSV"}, "../datapackage.json"),
    Download("public", "codebook.csv", {"nl": "elke kolom van de microdata", "en": "every column of the microdata"}, "../codebook.csv"),
    Download("public", "CHANGELOG", {"nl": "wat er veranderd is", "en": "what has changed"}, "../CHANGELOG.md"),
    Download("public", "twin/", {"nl": "SYNTHETISCHE microdata van niemand, in de vorm van de echte", "en": "SYNTHETIC microdata of nobody, in the form of the real ones"}, "../twin/README.md"),
    Download("public", "SHA256SUMS", {"nl": "controlegetallen", "en": "checksums"}, "../SHA256SUMS.txt"),
    Download("researcher", f"{ZONE}/", {"nl": "microdata in verschillende formaten, na overhandiging volgens een toestemming", "en": "microdata in several formats, handed over by a permission"}),
    Download("output_checker", "disclosure.json", {"nl": "het oordeel over elke tabel", "en": "the verdict on every table"}, "../disclosure.json"),
    Download("output_checker", f"{KEPT}/scan.json", {"nl": "het oordeel over elk bestand", "en": "the verdict on every file"}),
    Download("output_checker", f"{KEPT}/anonymity.json", {"nl": "k-anonimiteit van de microdata", "en": "k-anonymity of the microdata"}),
)  # fmt: skip


def editions(settings: Settings, ledger: Readings) -> tuple[Edition, ...]:
    """Every release that was ever approved, newest first, with what took its place."""
    known = [release for release in approval.releases(ledger) if release.state in LEFT]
    successor = {release.after: release.tag for release in known if release.after}
    found = [
        Edition(
            release.tag, date.fromisoformat(str(_manifest(settings, release)["released_on"])), release.state,  # type: ignore[arg-type]
            f"{TOMBSTONES}/{release.tag}" if release.state == SUPERSEDED else f"{release.tag}/{PUBLIC}/{PORTAL}", successor.get(release.tag),
        )
        for release in reversed(known)
    ]  # fmt: skip
    return tuple(found)


def write_shelf(settings: Settings, ledger: Readings) -> None:
    """Write the page above all releases, and one in the place of each that was superseded; the releases themselves stay as they are."""
    from orchestration.releases.public import study_in_public

    study, known = study_in_public(), editions(settings, ledger)
    current = approval.current_release(ledger)
    is_simulated = bool(current and _manifest(settings, current)["simulated"])
    for edition in known:
        if edition.state == SUPERSEDED:
            write_tombstone(settings.releases / edition.portal, edition, study, is_simulated, "../..")
    write_portal_index(settings.releases, known, study, is_simulated)


def _manifest(settings: Settings, release: approval.Released) -> dict[str, object]:
    return dict(json.loads((release.folder(settings) / approval.MANIFEST).read_text(encoding="utf-8")))
