"""Drafts a release: from a version and its fit to the folder of a tag, with what researchers in the zone get (`zone/`), what may leave
(`public/`) and what the next release has to know (`kept/`).

Each part is written by its own module; here they are put together, and the tag and what is compared with what are decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import write_atomically, write_json
from orchestration.progress import Progress, nobody
from orchestration.releases import approval, tags
from orchestration.releases.approval import KEPT, LEFT, PUBLIC, ZONE, FitUnfit, Released, Sources
from orchestration.releases.shelf import PORTAL, TWIN
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.analysis.inputs import Inputs
    from orchestration.analysis.specification import Specification
    from orchestration.ledger import Ledger
    from orchestration.releases.catalogue import Catalogue
    from orchestration.releases.disclosure import Judged, ReleaseRules
    from orchestration.releases.disclosure_counts import Band, Release
    from orchestration.releases.disclosure_scan import Allowed
    from orchestration.releases.portal.content import PortalContent
    from orchestration.releases.portal.moves import Moves
    from orchestration.releases.public import Leaving
    from orchestration.settings import Settings
    from orchestration.warehouse.diff import Difference
    from orchestration.warehouse.versions import Version

COUNTS, SCAN, ANONYMITY = "counts.json", "scan.json", "anonymity.json"
STEPS = 7


class NothingNew(Mendable):
    """Version and fit are those of the release before; says its tag."""


class WaitsForBatch(Mendable):
    """What changed is that few people left, and a release now would tell of them; says how many there have to be."""


@dataclass(frozen=True)
class Asked:
    """What a person asks for: a version and a fit by name, a tag or None for the one that the rule gives, in whose name, on which day."""

    by: str
    day: date
    version: str = "current"
    fit: str = "current"
    tag: str | None = None


@dataclass(frozen=True)
class Before:
    """The approved release that a draft is compared with, its version where that is still in the store, and the manifest of its folder."""

    release: Released
    folder: Path
    version: Version | None
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Drafting:
    """What one draft is written from."""

    settings: Settings
    ledger: Ledger
    chosen: Sources
    catalogue: Catalogue
    spec: Specification
    fit_manifest: Mapping[str, Any]
    tag: str
    step: tags.Step
    day: date
    before: Before | None
    difference: Difference | None
    earlier: tuple[Release, ...]
    rules: ReleaseRules
    progress: Progress


def draft_release(
    settings: Settings,
    ledger: Ledger,
    asked: Asked,
    catalogue: Catalogue,
    spec: Specification,
    progress: Progress = nobody,
) -> Released:
    """Draft a release of a version and a fit. `spec`: the models of this platform.

    Raises what `approval.sources` raises, FitUnfit where the fit was made by other models, NothingNew, WaitsForBatch, BadTag, ReleaseDamaged where an
    earlier release is not intact, MayNotLeave, and what the writers of its parts raise. Nothing is seen of a draft that fails.
    """
    from orchestration.analysis.reuse import models_hash
    from orchestration.releases.disclosure import release_rules
    from orchestration.releases.kept_counts import read_counts

    progress("release: what it is made of", 0, STEPS)
    chosen = approval.sources(settings, ledger, asked.version, asked.fit)
    manifest = json.loads((chosen.fit / approval.MANIFEST_OF_FIT).read_text(encoding="utf-8"))
    spec = spec.with_imputations(int(manifest["imputations"]))
    if manifest.get("models_hash") != models_hash(spec):
        raise FitUnfit(f"fit {chosen.fit_id} was made by other models than these; `delictvrij refresh` fits again")
    known = approval.releases(ledger)
    for release in known:
        if release.state in LEFT:
            approval.verify_release(settings, release)
    earlier = tuple(read_counts(release.folder(settings) / KEPT / COUNTS) for release in known if release.state in LEFT)
    before = _before(settings, ledger)
    difference = _difference(settings, ledger, before, chosen.version)
    step = _step(before, difference, chosen, manifest)
    if step == "none" and before is not None and asked.tag is None:
        raise NothingNew(
            f"version and fit are those of release {before.release.tag}; name a tag to release them again all the same"
        )
    _require_batch(settings, ledger, before, step)
    tag = _tag(before, step, chosen.version, asked.tag, {release.tag for release in known})
    drafting = Drafting(
        settings, ledger, chosen, catalogue, spec, manifest, str(tag), step, asked.day, before, difference, earlier,
        release_rules(settings), progress,
    )  # fmt: skip
    return approval.draft(settings, ledger, str(tag), chosen, asked.by, lambda folder: _write(folder, drafting))


def _before(settings: Settings, ledger: Ledger) -> Before | None:
    from orchestration.warehouse.versions import NoSuchVersion, named_version

    release = approval.current_release(ledger)
    if release is None:
        return None
    folder = release.folder(settings)
    manifest = json.loads((folder / approval.MANIFEST).read_text(encoding="utf-8"))
    try:
        version = named_version(settings, release.version_id)
    except NoSuchVersion:  # issued anew since, without a person
        version = None
    return Before(release, folder, version, manifest)


def _difference(settings: Settings, ledger: Ledger, before: Before | None, version: Version) -> Difference | None:
    from orchestration.warehouse.evidence import compared

    return compared(settings, ledger, before.version, version) if before and before.version else None


def _step(
    before: Before | None, difference: Difference | None, chosen: Sources, manifest: Mapping[str, Any]
) -> tags.Step:
    """How large a step is made; where the version before is gone, a minor one at least, since nobody can say what changed."""
    if before is None:
        return "year"
    now, was = (tags.follow_up_year(str(cutoff)) for cutoff in (chosen.version.manifest["registry_cutoff_on"], before.manifest["registry_cutoff_on"]))  # fmt: skip
    if difference is None:
        return "year" if now > was else "minor"
    is_modelled_otherwise = before.manifest["models_hash"] != manifest["models_hash"]
    return tags.step_of(difference, was, now, is_modelled_otherwise, before.release.fit_id != chosen.fit_id)


def _require_batch(settings: Settings, ledger: Ledger, before: Before | None, step: tags.Step) -> None:
    """That a release which brings no new year does not follow on the erasure of a few: the difference would tell of them."""
    from orchestration.releases.superseding import waiting_for_batch

    if before is None or step == "year":
        return
    waiting = waiting_for_batch(settings, ledger, before.release.decided_at)
    if not waiting.may_be_public:
        raise WaitsForBatch(
            f"people have been erased since release {before.release.tag}: {waiting.batch} are needed before one follows, or another "
            "year of follow-up"
        )


def _tag(before: Before | None, step: tags.Step, version: Version, asked: str | None, taken: set[str]) -> tags.Tag:
    last = tags.parsed(before.release.tag) if before else None
    year = tags.follow_up_year(str(version.manifest["registry_cutoff_on"]))
    return tags.accepted(asked, last, step, year, taken) if asked else tags.proposed(last, step, year, taken)


def _write(folder: Path, drafting: Drafting) -> dict[str, Any]:
    """Fill the folder of a draft; what its manifest says beside checksums."""
    from orchestration.analysis.fit import read_fit
    from orchestration.analysis.inputs import read_inputs
    from orchestration.analysis.showing.multiverse import kept_multiverse
    from orchestration.releases import metadata
    from orchestration.releases.kept_counts import write_counts
    from orchestration.releases.zone import write_release_tables

    version, manifest = drafting.chosen.version, drafting.fit_manifest
    drafting.progress("release: tables for the zone", 1, STEPS)
    write_release_tables(
        version, drafting.chosen.fit, folder / ZONE, drafting.catalogue, drafting.spec, tag=drafting.tag,
        released_on=drafting.day, makes_inert=True, difference=drafting.difference, small_cell=drafting.settings.small_cell,
    )  # fmt: skip
    drafting.progress("release: every definition of the outcome", 2, STEPS)
    inputs, fitted = read_inputs(version), read_fit(drafting.chosen.fit)[0]
    multiverse = kept_multiverse(
        drafting.settings, version, drafting.spec, int(manifest.get("seed", drafting.spec.seed))
    )
    drafting.progress("release: judged for disclosure", 3, STEPS)
    judged = _judged(drafting, inputs, {**fitted, "multiverse": multiverse})
    write_counts(judged.release, folder / KEPT / COUNTS)
    about = metadata.About(
        tag=drafting.tag, released_on=drafting.day, version_id=version.version_id, fit_id=drafting.chosen.fit_id,
        is_simulated=bool(version.manifest["simulated"]), registry_cutoff_on=str(version.manifest["registry_cutoff_on"]),
        study=metadata.read_study(), tables=drafting.catalogue.tables,
        rows={name: entry["rows"] for name, entry in version.manifest["tables"].items()},
    )  # fmt: skip
    _write_public(folder, drafting, about, judged, inputs, fitted)
    write_json(folder / KEPT / ANONYMITY, _anonymity(drafting, inputs))
    return {
        "simulated": about.is_simulated, "registry_cutoff_on": about.registry_cutoff_on, "released_on": drafting.day.isoformat(),
        "models_hash": manifest["models_hash"], "step": drafting.step,
    }  # fmt: skip


def _judged(drafting: Drafting, inputs: Inputs, fitted: Mapping[str, pd.DataFrame]) -> Judged:
    from orchestration.analysis.inputs import read_inputs
    from orchestration.releases.definitions import differing
    from orchestration.releases.disclosure import judge_fit, populations
    from orchestration.releases.zone_people import determinant_classes, movements

    entered: dict[str, Band] = {}
    left: dict[str, Band] = {}
    if drafting.before and drafting.before.version:
        old = read_inputs(drafting.before.version)
        entered, left = movements(old, inputs, populations(fitted), drafting.spec, drafting.rules.threshold)
    classes = determinant_classes(inputs, drafting.spec, fitted["determinants"]) if "determinants" in fitted else None
    definitions = differing(inputs.analysis_cohort, inputs.outcome_definition, drafting.spec)
    return judge_fit(fitted, drafting.rules, drafting.tag, drafting.earlier, entered, left, classes, definitions)


def _write_public(
    folder: Path, drafting: Drafting, about: Any, judged: Judged, inputs: Inputs, fitted: Mapping[str, pd.DataFrame]
) -> None:
    import pandas as pd

    from orchestration.analysis.fit import recovery_badge
    from orchestration.releases import public
    from orchestration.releases.changes import changes, headlines

    before, now = drafting.before, judged.frames.get("estimates", pd.DataFrame())
    changed = None
    if before is not None and drafting.difference is not None:
        path = before.folder / PUBLIC / public.TABLES / "estimates.csv"
        results = headlines(now, pd.read_csv(path) if path.is_file() else None, drafting.spec)
        changed = changes(drafting.difference, before.release.tag, drafting.step, results, drafting.rules.threshold)
    leaving = public.Leaving(about, drafting.catalogue, drafting.rules, judged, changed)
    place = folder / PUBLIC
    place.mkdir()
    drafting.progress("release: synthetic twin", 4, STEPS)
    also = _write_twin(place, drafting, leaving) | _write_cards(place, drafting, judged, inputs)
    vouched = _write_portal(place, drafting, leaving, inputs)
    vouched = replace(vouched, dates=vouched.dates | {str(recovery_badge().get("made_on", ""))} - {""})
    also[f"{PORTAL}/"] = "pages to read, in Dutch and English"
    public.write_tables(place, leaving, also)
    public.write_sums(place)
    drafting.progress("release: every file looked at", 6, STEPS)
    synthetic = {path.relative_to(place).as_posix() for path in (place / TWIN).rglob("*") if path.is_file()}
    found = public.scanned(place, leaving, _secrets(inputs, fitted["imputed"]), synthetic, vouched)
    write_json(folder / KEPT / SCAN, json.loads(found.to_json(orient="records")))


def _secrets(inputs: Inputs, imputed: pd.DataFrame) -> Any:
    """Every pseudonym of a version, and the durations of people in their order: what must be in no byte that leaves."""
    from orchestration.releases.disclosure_scan import Secrets

    of_fit = Secrets.of(imputed)
    named = {
        str(value)
        for frame in inputs.tables.values()
        for column in frame.columns
        if column in ("client_id", "officer_id", "supervision_id", "dyad_id")
        for value in frame[column].dropna().unique()
    }
    return replace(of_fit, ids=of_fit.ids | named)


def _anonymity(drafting: Drafting, inputs: Inputs) -> dict[str, Any]:
    """How many people of the microdata are unique by what somebody may know of them: for the approver, counts only."""
    from orchestration.releases.anonymity import anonymity_report, declared, distribution, known_of_people

    marts = drafting.settings.dbt_project / "models" / "marts"
    known = known_of_people(inputs.client, inputs.covariate, declared(marts))
    report, shares = anonymity_report(known, drafting.rules.threshold), distribution(known)
    return {
        name: json.loads(frame.to_json(orient="records"))
        for name, frame in (("combinations", report), ("all_together", shares))
    }


def _write_twin(public: Path, drafting: Drafting, leaving: Leaving) -> dict[str, str]:
    """The synthetic twin, made of what may leave only: `write_twin(out, TwinOf, judged frames, settings, catalogue, spec)`."""
    from orchestration.releases.twin import TwinOf, write_twin

    about = leaving.about
    of = TwinOf(about.tag, about.released_on, date.fromisoformat(about.registry_cutoff_on), about.is_simulated)
    write_twin(
        public / TWIN, of, leaving.judged.frames, drafting.settings, drafting.catalogue, drafting.spec, makes_inert=True
    )
    return {f"{TWIN}/": "SYNTHETIC microdata of nobody, in the form of the real ones"}


def _write_cards(public: Path, drafting: Drafting, judged: Judged, inputs: Inputs) -> dict[str, str]:
    """A card for each model and the checklists of TRIPOD+AI and STROBE, of judged numbers alone."""
    from orchestration.releases.cards import public_pages

    pages = public_pages(
        judged.frames, drafting.fit_manifest, drafting.chosen.version.manifest, inputs.outcome_definition, drafting.spec,
        drafting.settings.small_cell,
    )  # fmt: skip
    for name, content in pages.items():
        write_atomically(public / name, content)
    return dict.fromkeys(pages, "a card for each model, or what reporting guidelines ask for, as far as it leaves")


def _write_portal(public: Path, drafting: Drafting, leaving: Leaving, inputs: Inputs) -> Allowed:
    """The pages, and what of them is vouched for: `write_portal(folder, PortalContent)`, `vouched(content, folder's name)`."""
    from orchestration.releases.portal.site import vouched, write_portal

    drafting.progress("release: portal", 5, STEPS)
    content = portal_content(drafting, leaving, inputs)
    write_portal(public / PORTAL, content)
    return vouched(content, PORTAL)


def portal_content(drafting: Drafting, leaving: Leaving, inputs: Inputs) -> PortalContent:
    """What the portal shows of a draft: judged frames and what stands beside them; no version and no fit."""
    from orchestration.releases.portal.content import PortalContent
    from orchestration.releases.portal.quality import quality_of, quarters_between
    from orchestration.releases.public import about_in_public
    from orchestration.releases.shelf import DOWNLOADS, editions

    records = drafting.ledger.deliveries()
    return PortalContent(
        about=about_in_public(leaving.about), catalogue=drafting.catalogue, spec=drafting.spec, rules=drafting.rules, frames=leaving.judged.frames,
        verdicts=leaving.judged.verdicts, difference=drafting.difference, moves=_moves(drafting, leaving.judged),
        quality=quality_of(records, inputs.wave, inputs.client, drafting.rules, drafting.spec.recidivism.wave.upper()),
        quarters=quarters_between(drafting.settings.enrolment_from, drafting.settings.enrolment_to),
        editions=editions(drafting.settings, drafting.ledger), downloads=DOWNLOADS,
    )  # fmt: skip


def _moves(drafting: Drafting, judged: Judged) -> Moves | None:
    """How the estimates moved since the fit of the release before, and why, as far as it may leave; None where that cannot be known."""
    import pandas as pd

    from orchestration.analysis.explanation import explain
    from orchestration.analysis.sides import side_of
    from orchestration.releases.portal.moves import judged_moves
    from orchestration.releases.public import TABLES

    before = drafting.before
    if before is None or before.version is None or before.release.fit_id == drafting.chosen.fit_id:
        return None
    fit, left = drafting.settings.fits / before.release.fit_id, before.folder / PUBLIC / TABLES / "estimates.csv"
    old = side_of(drafting.settings.versions, fit) if (fit / approval.MANIFEST_OF_FIT).is_file() else None
    new = side_of(drafting.settings.versions, drafting.chosen.fit)
    if old is None or new is None or not left.is_file():
        return None
    record = explain(old, new, drafting.spec).as_record()
    return judged_moves(record, judged.frames.get("estimates", pd.DataFrame()), pd.read_csv(left), drafting.rules)
