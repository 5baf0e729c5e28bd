"""`python -m tests.releases.twin [HOME]`: how near a synthetic twin comes to what its release makes public. Makes the twin of the current
version and fit of a home, or of 200 simulated clients, and prints released and synthetic numbers side by side, rows of the twin that
are real rows (0), and what the scan of the folder says.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from orchestration.analysis.baseline import baseline
from orchestration.analysis.development import wave_means
from orchestration.analysis.fit import read_fit, run_fit
from orchestration.analysis.group_curves import survival_curves
from orchestration.analysis.grouping import ALL, everybody
from orchestration.analysis.inputs import read_inputs
from orchestration.analysis.raters import rated_pairs, rater_agreement
from orchestration.analysis.recidivism import outcome_cohort
from orchestration.analysis.specification import Specification, read_specification
from orchestration.releases.disclosure import ReleaseRules, judge_fit
from orchestration.releases.disclosure_scan import Allowed, Secrets, may_leave, scan_folder
from orchestration.releases.tables import ReleasedTable, imputed_sets, published, wide
from orchestration.releases.twin import TwinOf, same_rows, synthetic_files, write_twin
from orchestration.releases.twin_aims import MONTHS, main_outcome
from orchestration.releases.writing import Inventory
from orchestration.settings import Settings
from orchestration.warehouse.versions import Version, current_version
from tests.releases.making import DAY, catalogue


def fidelity(judged: Mapping[str, pd.DataFrame], twin: Path, outcome: str, spec: Specification) -> pd.DataFrame:
    """One row per number that left, `kind` and `what`, as it left (`released`) and computed in the same way from the twin's rows."""
    frames = {path.stem: pd.read_parquet(path) for path in (twin / "parquet").glob("*.parquet")}
    cohort = outcome_cohort(frames["analysis_cohort"], outcome, spec)
    means = wave_means(frames["alliance_score"], frames["dyad"], spec.confidence)
    pairs = rater_agreement(rated_pairs(frames["alliance_score"], frames["wave"], frames["dyad"]), spec.confidence)
    curve = survival_curves(cohort, [everybody(cohort)])
    described = baseline(cohort, [], spec)
    rows = [("people", "followed up", _most(judged, outcome), float(cohort.n))]
    for row in judged["wave_means"].itertuples(index=False):
        own = means[(means["rater"] == row.rater) & (means["scale"] == row.scale) & (means["wave"] == row.wave)].iloc[0]
        what = f"{row.rater} {row.scale} {row.wave}"
        rows += [
            ("mean", what, row.mean, own["mean"]),
            ("SD", what, row.sd, own["sd"]),
            ("people", what, row.n, own["n"]),
        ]
    released = judged["survival_curves"]
    for months in MONTHS:
        there = _at(released[(released["outcome_id"] == outcome) & (released["group"] == ALL)], months)
        if there is not None:
            rows.append(("survival", f"{months} months", there, _at(curve, months)))
    for row in judged["rater_agreement"].query("pairs == 'all'").itertuples(index=False):
        own = pairs[(pairs["scale"] == row.scale) & (pairs["wave"] == row.wave) & (pairs["pairs"] == "all")]
        rows.append(("correlation of raters", f"{row.scale} {row.wave}", row.pearson, own["pearson"].iloc[0]))
    if "baseline" in judged:
        of_all = judged["baseline"].query("outcome_id == @outcome and group == @ALL")
        for row in of_all[of_all["term"].isin(described["term"])].itertuples(index=False):
            own = described[described["term"] == row.term].iloc[0]
            kind, value = ("share", row.share) if pd.notna(row.share) else ("Table 1 mean", row.mean)
            rows.append((kind, row.term, value, own["share"] if kind == "share" else own["mean"]))
    return pd.DataFrame(rows, columns=["kind", "what", "released", "synthetic"]).astype(
        {"released": float, "synthetic": float}
    )


def _most(judged: Mapping[str, pd.DataFrame], outcome: str) -> float:
    curve = judged["survival_curves"]
    return float(curve.loc[(curve["outcome_id"] == outcome) & (curve["group"] == ALL), "n"].max())


def _at(curve: pd.DataFrame, months: int) -> float | None:
    """Survival at the last point before; None where the curve ends earlier."""
    before = curve[curve["month"] <= months].sort_values("month")
    return float(before["survival"].iloc[-1]) if len(before) and curve["month"].max() >= months else None


def written_tables(folder: Path, like: Sequence[ReleasedTable]) -> list[ReleasedTable]:
    """The tables of a written folder, described as those of the release."""
    return [
        ReleasedTable(table.described, pq.read_table(folder / "parquet" / f"{table.name}.parquet").replace_schema_metadata(None))
        for table in like
    ]  # fmt: skip


def real_tables(version: Version, imputed: pd.DataFrame, spec: Specification) -> list[ReleasedTable]:
    """The tables of a release of a version."""
    marts = published(version, catalogue())
    by_name = {table.name: table for table in marts}
    sets = imputed_sets(by_name["analysis_cohort"].rows.to_pandas(), imputed, spec, catalogue())
    return [*marts, wide(by_name, catalogue()), *sets]


def verdict(folder: Path, inventory: Inventory, secrets: Secrets) -> pd.DataFrame:
    """What the scan says of `folder`, in which the twin lies as `twin/`."""
    cutoff = date(2025, 12, 31)
    dates = frozenset({DAY.isoformat(), cutoff.isoformat()})
    return scan_folder(folder, Allowed(dates=dates, synthetic=synthetic_files(inventory)), secrets)


def _of_home(home: Path) -> tuple[Version, Mapping[str, pd.DataFrame], Specification]:
    settings = Settings(home=home)
    version = current_version(settings)
    assert version is not None, "nothing is published in this home"
    return version, read_fit((settings.fits / "current").resolve())[0], read_specification()


def _simulated(folder: Path) -> tuple[Version, Mapping[str, pd.DataFrame], Specification]:
    from orchestration.deliveries.ingest import ingest
    from orchestration.home import initialise, opened
    from orchestration.simulation import simulate
    from tests.conftest import settings_in
    from tests.releases.conftest import small_specification
    from tests.releases.making import small_version

    settings = settings_in(folder)
    simulate(settings.inbox_path, clients=200, seed=20260101, periods="last")
    initialise(settings)
    for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
        ingest(manifest.parent, settings, opened(settings))
    version, spec = small_version(settings), replace(small_specification(), few_imputations=1)
    return version, run_fit(read_inputs(version), spec).tables, spec


def main(home: str | None = None) -> int:
    """Print fidelity, rows that are real, and the verdict; 1 where a row is real or a file may not leave."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version, fit, spec = _of_home(Path(home)) if home else _simulated(folder / "real")
        judged = judge_fit(fit, ReleaseRules(), "2026.1.0").frames
        cutoff = date.fromisoformat(str(version.manifest["registry_cutoff_on"]))
        began = time.monotonic()
        twin = folder / "public" / "twin"
        inventory = write_twin(
            twin, TwinOf("2026.1.0", DAY, cutoff, bool(version.manifest["simulated"])), judged, Settings(), catalogue(), spec
        )  # fmt: skip
        took = time.monotonic() - began
        found = fidelity(judged, twin, main_outcome(Settings().dbt_project / "seeds"), spec)
        real = real_tables(version, fit["imputed"], spec)
        same = same_rows(written_tables(twin, real), real)
        verdicts = verdict(folder / "public", inventory, Secrets.of(fit["imputed"]))
        size = sum(path.stat().st_size for path in twin.rglob("*") if path.is_file())
    say = sys.stdout.write
    for kind, rows in found.groupby("kind", sort=False):
        apart = (rows["synthetic"] - rows["released"]).abs()
        say(f"{kind:22} {len(rows):3} numbers, apart by {apart.mean():.3f} on average, {apart.max():.3f} at most\n")
    for row in found[found["kind"].isin(["survival"]) | (found["what"] == "followed up")].itertuples(index=False):
        say(f"  {row.kind} {row.what}: released {row.released:.3f}, synthetic {row.synthetic:.3f}\n")
    say(f"real rows in {len(same)} tables wide enough to tell ({', '.join(same)}): {sum(same.values())}\n")
    refused = int((verdicts["verdict"] != "pass").sum())
    say(f"{len(verdicts)} files scanned, {refused} refused; written in {took:.0f} s, {size / 1e6:.1f} MB\n")
    return int(any(same.values()) or not may_leave(verdicts))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
