"""What a portal weighs and how it does in a browser: `python -m tests.releases.portal [SITE]`; without a site, one of a small fit.

Prints pages, size, time to first view, requests to elsewhere, and what axe-core finds, by impact, on every page of either language,
light and dark.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from orchestration.analysis.fit import run_fit
from orchestration.releases.disclosure import judge_fit
from orchestration.releases.portal.site import write_portal
from tests.analysis.synthetic import synthetic_inputs
from tests.releases.browser import IMPACTS, first_view, looks
from tests.releases.conftest import small_specification
from tests.releases.making import catalogue
from tests.releases.sites import RULES, content_of


def small_site(folder: Path) -> Path:
    """The portal of the fit that the tests look at."""
    inputs = synthetic_inputs(200, seed=1)
    one = inputs.outcome_definition["outcome_id"].iloc[0]
    cohort = inputs.analysis_cohort[inputs.analysis_cohort["outcome_id"] == one]
    tables = run_fit(replace(inputs, analysis_cohort=cohort), small_specification()).tables
    write_portal(
        folder, content_of(judge_fit(tables, RULES, "2026.1.0"), tables, [one.name for one in catalogue().tables])
    )
    return folder


def report(site: Path) -> bool:
    """Print the figures of a site; whether nothing grave was found."""
    paths = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    seconds = first_view(site, "nl/index.html")
    seen, dark = looks(site, paths), looks(site, paths, scheme="dark")
    whole, in_dark = (sum((one.findings for one in pages), Counter[str]()) for pages in (seen, dark))
    print(f"pages: {len(paths)}")
    print(f"size: {size / 1e6:.1f} MB")
    print(f"time to first view: {seconds:.2f} s (median of 5)")
    print(f"requests to elsewhere: {sum(len(one.elsewhere) for one in seen)}")
    print(f"dialogs: {sum(one.dialogs for one in seen)}; errors in the console: {sum(len(one.errors) for one in seen)}")
    print("axe: " + ", ".join(f"{whole[impact]} {impact}" for impact in IMPACTS))
    print("axe in dark: " + ", ".join(f"{in_dark[impact]} {impact}" for impact in IMPACTS))
    for one in [*seen, *(one for one in dark if one.rules)]:
        print(f"  {one.path}: " + ", ".join(f"{one.findings[impact]} {impact}" for impact in IMPACTS) + (f" ({', '.join(one.rules)})" if one.rules else ""))  # fmt: skip
    return all(one.is_clean for one in [*seen, *dark])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        is_clean = report(Path(sys.argv[1]) if len(sys.argv) > 1 else small_site(Path(scratch) / "portal"))
    sys.exit(0 if is_clean else 1)
