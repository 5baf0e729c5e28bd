"""A fit as a whole: the same for the same inputs, written so that it can be checked, and compared with the one before."""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest

from orchestration.analysis.comparison import compare_fits
from orchestration.analysis.fit import FitResult, fit_id, read_fit, run_fit, write_fit
from orchestration.analysis.inputs import MODEL_TABLES, InputError, Inputs, read_inputs
from orchestration.analysis.specification import Specification
from orchestration.hashing import sha256_file
from orchestration.warehouse import versions
from orchestration.warehouse.versions import Version, VersionDamaged
from tests.analysis.synthetic import without_outcome
from tests.conftest import brief


def quick(spec: Specification) -> Specification:
    """One rater, scale, exposure and adjustment, two imputations of two rounds, no growth models, no Q2."""
    small = replace(
        spec.recidivism,
        raters=("client",),
        scales=("trust",),
        exposures={"score": {"score": "t2"}},
        adjustments={"unadjusted": ()},
    )
    no_q2 = replace(spec.determinants, scales=(), rules=())
    no_growth = replace(spec.development, structures={})
    return replace(
        spec,
        recidivism=small,
        development=no_growth,
        determinants=no_q2,
        imputer=replace(spec.imputer, m=2, iterations=2),
    )


@pytest.fixture(scope="module")
def quickly(inputs: Inputs, spec: Specification) -> tuple[FitResult, list[tuple[str, int, int]]]:
    """One quick fit, and what it said of its progress."""
    calls: list[tuple[str, int, int]] = []
    return run_fit(inputs, quick(spec), progress=lambda *step: calls.append(step)), calls


@pytest.fixture(scope="module")
def alone(inputs: Inputs, spec: Specification) -> FitResult:
    """The quick fit of the outcomes since the landmark only."""
    return run_fit(without_outcome(inputs, "general_supervision_end"), quick(spec))


def test_the_same_inputs_give_the_same_bytes(inputs: Inputs, spec: Specification, tmp_path: Path) -> None:
    shuffled = replace(inputs, **{name: frame.sample(frac=1, random_state=3) for name, frame in inputs.tables.items()})
    made = {"fit_id": "f00d", "version_id": "cafe", "fingerprint": "beef", "simulated": True}
    one, again = (
        write_fit(run_fit(rows, brief(spec)), tmp_path / name, made)["tables"]
        for name, rows in (("one", inputs), ("again", shuffled))
    )
    assert {name: entry["sha256"] for name, entry in one.items()} == {
        name: entry["sha256"] for name, entry in again.items()
    }
    assert one["estimates"]["rows"] >= 50 and one["imputed"]["rows"] > 0


def test_another_seed_moves_only_what_is_imputed(
    inputs: Inputs, spec: Specification, quickly: tuple[FitResult, object]
) -> None:
    one, other = quickly[0], run_fit(inputs, quick(spec), seed=2)
    assert not one.estimates.equals(other.estimates)
    assert one.survival_curves.equals(other.survival_curves)


def test_an_outcome_does_not_depend_on_which_others_there_are(
    alone: FitResult, quickly: tuple[FitResult, object]
) -> None:
    both = quickly[0].estimates
    landmark = both[both["outcome_id"] == "general_landmark"].reset_index(drop=True)
    pd.testing.assert_frame_equal(landmark, alone.estimates)


def test_the_order_of_outcomes_and_the_threads_of_the_libraries_change_no_bit_that_is_promised(
    inputs: Inputs, spec: Specification
) -> None:
    """Outcomes in another order: the same bits. One thread or two below numpy: within 1e-12."""
    pools = pytest.importorskip(
        "threadpoolctl", reason="threadpoolctl comes with scikit-survival, a development dependency"
    )
    with_scores = replace(quick(spec), recidivism=replace(quick(spec).recidivism, adjustments={"full": spec.recidivism.adjustments["full"]}))  # fmt: skip
    with pools.threadpool_limits(1, user_api="blas"):
        assert {one["num_threads"] for one in pools.threadpool_info() if one["user_api"] == "blas"} == {1}
        one = run_fit(inputs, with_scores)
        definitions = inputs.outcome_definition.iloc[::-1].assign(role="primary")
        turned = run_fit(replace(inputs, outcome_definition=definitions), with_scores)
    with pools.threadpool_limits(2, user_api="blas"):
        two = run_fit(inputs, with_scores)
    assert one.estimates["estimate"].notna().sum() > 10
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, turned.tables[name])
        pd.testing.assert_frame_equal(table, two.tables[name], rtol=1e-12, atol=1e-12)


def test_a_process_of_a_pool_gives_the_same_bits(inputs: Inputs, spec: Specification, alone: FitResult) -> None:
    """What a worker fits, in a process that begins anew and so with another hash of names, is what is fitted here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(run_fit, without_outcome(inputs, "general_supervision_end"), quick(spec)).result()
    for name, table in alone.tables.items():
        pd.testing.assert_frame_equal(table, there.tables[name], check_exact=True)


def test_the_manifest_says_what_the_fit_was_made_of(result: FitResult, fit_folder: Path) -> None:
    tables, manifest = read_fit(fit_folder)
    assert set(tables) == set(result.tables)
    assert (manifest["seed"], manifest["imputations"], manifest["fingerprint"]) == (result.seed, 4, "beef")
    assert manifest["engines_agree"] and manifest["benchmark_agrees"]
    assert {"numpy", "lifelines", "python"} <= set(manifest["packages"]) and len(manifest["code_hash"]) == 64
    for name, entry in manifest["tables"].items():
        assert entry["sha256"] == sha256_file(fit_folder / f"{name}.parquet")
        assert entry["rows"] == len(tables[name])
    assert [name for name, entry in manifest["tables"].items() if entry["zone_only"]] == ["imputed"]


def test_only_the_imputed_data_hold_persons(result: FitResult) -> None:
    persons = set(result.imputed["client_id"]) | set(result.imputed["cluster"])
    for name, frame in result.tables.items():
        if name != "imputed":
            texts = frame.select_dtypes("object")
            assert not any(texts[column].isin(persons).any() for column in texts), name
            assert "client_id" not in frame.columns


def test_the_imputed_data_reproduce_an_estimate(result: FitResult) -> None:
    """What is kept is enough to do a model again elsewhere."""
    from orchestration.analysis import cox

    kept = result.imputed[result.imputed["outcome_id"] == "general_landmark"]
    found = [
        cox.fit_cox(one[["client_trust_t2"]].to_numpy(), one["duration_days"], one["event"]).coefficients[0]
        for _, one in kept.groupby("imputation")
    ]
    row = result.estimates.set_index(["model_id", "term"]).loc[("general_landmark.client.trust.unadjusted", "trust")]
    assert row["estimate"] == pytest.approx(sum(found) / len(found), rel=1e-12)


def test_the_first_five_imputations_are_pooled_beside_all(inputs: Inputs, spec: Specification) -> None:
    """What the papers had: the same numbers as if there had never been more."""
    one = without_outcome(inputs, "general_supervision_end")
    seven, five = (run_fit(one, quick(spec).with_imputations(m)) for m in (7, 5))
    pd.testing.assert_frame_equal(seven.estimates_few, five.estimates)
    assert set(seven.estimates["imputations"]) == {7} and not len(five.estimates_few)


def test_a_fit_says_what_was_imputed_and_how_the_chains_went(result: FitResult, inputs: Inputs) -> None:
    seen = result.imputation_diagnostics.set_index(["outcome_id", "column"])
    cohort = inputs.analysis_cohort
    landmark = cohort[(cohort["outcome_id"] == "general_landmark") & cohort["is_eligible"].astype(bool)]
    row = seen.loc[("general_landmark", "client_trust_t2")]
    assert row["missing"] == landmark["client_trust_t2"].isna().sum() and row["hinted"] == 0
    traced = result.imputation_trace
    assert (
        len(traced) == len(seen) * 4 * 20
        and not traced.duplicated(["outcome_id", "column", "imputation", "iteration"]).any()
    )


def test_who_answered_too_few_items_is_told_by_them(inputs: Inputs, spec: Specification) -> None:
    """Twelve clients whose Trust at T2 is taken out with their last three answers, the rest of the rating being known."""
    item, cohort = inputs.alliance_item, inputs.analysis_cohort
    twelve = cohort.loc[cohort["client_trust_t2"].notna() & cohort["is_eligible"].astype(bool), "client_id"].unique()[
        :12
    ]
    is_trust = (item["rater"] == "client") & (item["scale"] == "trust") & (item["wave"] == "T2")
    is_late = item["item"].isin(["trust_03", "trust_04", "trust_05"])
    fewer = replace(
        inputs,
        alliance_item=item[~(is_trust & is_late & item["client_id"].isin(twelve))],
        analysis_cohort=cohort.assign(client_trust_t2=cohort["client_trust_t2"].mask(cohort["client_id"].isin(twelve))),
    )
    seen = run_fit(fewer, quick(spec)).imputation_diagnostics.set_index(["outcome_id", "column"])
    assert seen.loc[("general_landmark", "client_trust_t2"), "hinted"] == 12


def test_progress_counts_up_to_its_total(quickly: tuple[FitResult, list[tuple[str, int, int]]]) -> None:
    _, calls = quickly
    assert [done for _, done, _ in calls] == list(range(1, calls[-1][2] + 1))


def test_nothing_delivered_yet_gives_an_empty_fit_that_can_be_written(
    inputs: Inputs, spec: Specification, tmp_path: Path
) -> None:
    empty = replace(inputs, **{name: frame.iloc[:0] for name, frame in inputs.tables.items()})
    empty = replace(empty, outcome_definition=inputs.outcome_definition)
    manifest = write_fit(
        run_fit(empty, spec), tmp_path / "empty", {"fit_id": "0", "version_id": "0", "simulated": True}
    )
    assert manifest["tables"]["estimates"]["rows"] == 0


def test_inputs_are_read_by_name_from_a_version_and_a_missing_or_damaged_table_is_said(
    inputs: Inputs, tmp_path: Path
) -> None:
    for name, frame in inputs.tables.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
    tables = {name: {"sha256": sha256_file(tmp_path / f"{name}.parquet")} for name in inputs.tables}
    version = Version("cafe", tmp_path, {"tables": tables})
    assert len(read_inputs(version).analysis_cohort) == len(inputs.analysis_cohort)
    inputs.officer.iloc[1:].to_parquet(tmp_path / "officer.parquet")
    with pytest.raises(VersionDamaged, match="officer differ from the manifest"):
        read_inputs(version)
    (tmp_path / "officer.parquet").unlink()
    with pytest.raises(InputError, match=f"lacks officer; expected {len(MODEL_TABLES)} tables"):
        read_inputs(version)


def test_rows_come_to_models_from_a_published_version_alone_and_a_candidate_is_none() -> None:
    """Nothing in the house makes a `Version` but what reads a published folder, and `read_inputs` takes nothing else."""
    assert get_type_hints(read_inputs) == {"version": Version, "return": Inputs}
    room = Path(versions.__file__).parents[1]
    makers = {
        path.name for path in room.rglob("*.py") if re.search(r"(?<![\w.])Version\(", path.read_text(encoding="utf-8"))
    }
    assert makers == {"versions.py"}


def test_the_name_of_a_fit_changes_with_rows_seed_and_m(spec: Specification) -> None:
    names = {fit_id("a", spec), fit_id("b", spec), fit_id("a", spec, seed=1), fit_id("a", spec.with_imputations(5))}
    assert len(names) == 4 and fit_id("a", spec) == fit_id("a", spec, seed=spec.seed)


def test_a_comparison_counts_people_and_events_and_shows_every_move(
    inputs: Inputs, spec: Specification, quickly: tuple[FitResult, object], tmp_path: Path
) -> None:
    """Two clients fewer and one event fewer in the older fit."""
    cohort = inputs.analysis_cohort
    landmark = cohort[(cohort["outcome_id"] == "general_landmark") & cohort["is_eligible"].astype(bool)]
    gone = landmark.loc[~landmark["event"].astype(bool), "client_id"].iloc[:2]
    later = landmark.loc[landmark["event"].astype(bool), "client_id"].iloc[0]
    older = cohort[~cohort["client_id"].isin(gone)].copy()
    older.loc[older["client_id"] == later, "event"] = False
    write_fit(
        run_fit(replace(inputs, analysis_cohort=older), quick(spec)),
        tmp_path / "old",
        {"fit_id": "old", "version_id": "1"},
    )
    write_fit(quickly[0], tmp_path / "new", {"fit_id": "new", "version_id": "2"})
    compared = compare_fits(tmp_path / "old", tmp_path / "new")
    row = compared.cohorts.set_index("outcome_id").loc["general_landmark"]
    assert row[["clients_added", "clients_gone", "events_added", "events_gone"]].tolist() == [2, 0, 1, 0]
    assert compared.moves["move"].abs().max() > 0
    assert compared.summary()["largest_move_in_std_errors"] == compared.largest_move > 0
    assert list(compared.causes) == ["version_id"]
    assert not any(client in json.dumps(compared.summary()) for client in [*gone, later])


def test_the_first_fit_compares_with_nothing(fit_folder: Path, result: FitResult) -> None:
    compared = compare_fits(None, fit_folder)
    assert compared.old_fit is None and compared.causes == {}
    assert compared.cohorts["clients_added"].tolist() == compared.cohorts["clients"].tolist()
    assert compared.largest_move == 0
    same = compare_fits(fit_folder, fit_folder)
    assert same.largest_move == 0 and same.cohorts["clients_added"].sum() == 0
