"""Writes the site of a release, the tombstone of one that no longer counts, and the page above all releases: whole or not at all.

What stands on a page is made by the page's module; here it becomes files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestration.files import folder_by_rename, write_atomically
from orchestration.hashing import sha256_file
from orchestration.pages import rendered
from orchestration.releases.catalogue import LANGUAGES
from orchestration.releases.disclosure_scan import Allowed
from orchestration.releases.metadata import Study
from orchestration.releases.portal.alliance import alliance_page, change_page
from orchestration.releases.portal.content import Edition, PortalContent
from orchestration.releases.portal.diagnostics import diagnostics_page
from orchestration.releases.portal.overview import overview_page
from orchestration.releases.portal.parts import Figure, Page, Writer
from orchestration.releases.portal.people import cohort_page
from orchestration.releases.portal.recidivism import multiverse_page, recidivism_page
from orchestration.releases.portal.reference import (  # fmt: skip
    changes_page,
    cite_page,
    codebook_page,
    disclosure_page,
    downloads_page,
    quality_page,
    table_pages,
)
from orchestration.releases.portal.words import Words, read_words

TEMPLATES, STATIC = Path(__file__).parent / "templates", Path(__file__).parent / "static"
ASSETS = ("portal.css", "portal.js")
IN_ORDER = (
    "index", "cohort", "alliance", "change", "recidivism", "multiverse", "diagnostics", "changes", "codebook", "tables", "quality",
    "disclosure", "downloads", "cite",
)  # fmt: skip


def pages_of(content: PortalContent, language: str) -> list[Page]:
    """Every page of a site in one language."""
    writer = Writer(content, read_words(language))
    makers = (
        overview_page, cohort_page, alliance_page, change_page, recidivism_page, multiverse_page, diagnostics_page, changes_page, codebook_page,
        quality_page, disclosure_page, downloads_page, cite_page,
    )  # fmt: skip
    return [*(make(writer) for make in makers), *table_pages(writer)]


def write_portal(folder: Path, content: PortalContent) -> None:
    """Write the site of a release to `folder`: `nl/`, `en/`, `assets/`, and a first page that asks for the language.

    What was in `folder` is replaced once the new site is whole. The folder's own files are named in `vouched`, which
    `disclosure_scan` asks for.
    """
    with _site(folder) as aside:
        for language in LANGUAGES:
            words = read_words(language)
            pages = pages_of(content, language)
            for page in pages:
                _write(aside / language / f"{page.path}.html", _html(page, content, words))
                for figure in figures_of(page):
                    write_atomically(aside / language / "figures" / f"{figure.name}.png", figure.png)
        _write(aside / "index.html", _choice(content.about.study, content.about.tag, content.about.is_simulated))


def write_tombstone(folder: Path, edition: Edition, study: Study, is_simulated: bool, home: str | None = None) -> None:
    """Write, in the place of the site of a release that was superseded or withdrawn, a page that says so; nothing else stays.

    `home`: the folder of all releases, relative to `folder`. Raises ValueError for a release that still counts.
    """
    if edition.state not in ("superseded", "withdrawn"):
        raise ValueError(f"release {edition.tag} is {edition.state}: only one that no longer counts gets a tombstone")
    with _site(folder) as aside:
        for language in LANGUAGES:
            words = read_words(language)
            text = rendered(TEMPLATES / "tombstone.html.j2", words=words, edition=edition, study=study, is_simulated=is_simulated,
                            home=home, up="../", path="index")  # fmt: skip
            _write(aside / language / "index.html", text)
        _write(aside / "index.html", _choice(study, edition.tag, is_simulated))


def write_portal_index(releases: Path, editions: Sequence[Edition], study: Study, is_simulated: bool) -> None:
    """Write the page above all releases into `releases`, beside what is there: `index.html`, `nl/`, `en/` and `assets/`.

    `editions`: every release that anybody may know of, newest first.
    """
    _copy_assets(releases)
    for language in LANGUAGES:
        words = read_words(language)
        text = rendered(TEMPLATES / "releases.html.j2", words=words, editions=editions, study=study, is_simulated=is_simulated, up="../", path="index")  # fmt: skip
        _write(releases / language / "index.html", text)
    _write(releases / "index.html", _choice(study, "", is_simulated))


def figures_of(page: Page) -> Iterator[Figure]:
    """The pictures of a page."""
    for section in page.sections:
        for block in section.blocks:
            yield from (part for part in block.parts if isinstance(part, Figure))


def vouched(content: PortalContent, at: str = "portal") -> Allowed:
    """What whoever releases vouches for of a site that lies at `at` in the public folder: its two assets, by their content, and the
    days on which releases came out, which are of no person."""
    assets = {f"{at}/assets/{name}": sha256_file(STATIC / name) for name in ASSETS}
    days = {content.about.released_on, *(one.released_on for one in content.editions)}
    return Allowed(content.rules.threshold, dates=frozenset(day.isoformat() for day in days), assets=assets)


@contextmanager
def _site(folder: Path) -> Iterator[Path]:
    """A folder to fill, with the assets in it, that takes the place of `folder` once it is whole."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    with folder_by_rename(new) as aside:
        _copy_assets(aside)
        yield aside
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _copy_assets(folder: Path) -> None:
    for name in ASSETS:
        write_atomically(folder / "assets" / name, (STATIC / name).read_bytes())


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode("utf-8"))


def _html(page: Page, content: PortalContent, words: Words) -> str:
    about = content.about
    values: dict[str, Any] = {
        "page": page, "words": words, "about": about, "study": about.study, "is_simulated": about.is_simulated, "content": content,
        "menu": [(path, words(f"menu.{path}")) for path in IN_ORDER], "up": page.up, "path": page.path,
        "current": page.extra.get("parent", page.path), "home": content.home,
    }  # fmt: skip
    extra: Mapping[str, object] = page.extra
    return rendered(
        TEMPLATES / f"{page.template}.html.j2", **values, **{name: extra[name] for name in extra if name != "parent"}
    )


def _choice(study: Study, tag: str, is_simulated: bool) -> str:
    """The page that asks for the language, in both."""
    both = [read_words(language) for language in LANGUAGES]
    return rendered(TEMPLATES / "choice.html.j2", both=both, study=study, tag=tag, is_simulated=is_simulated)
