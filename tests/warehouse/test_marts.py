"""The whole way through the dbt project, on a handful of clients; each rule by itself is a unit test beside its model."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.warehouse import sources
from tests.warehouse.marts_world import CHECKOUT, CONTRACTS, PROJECT, Built, World, build_world, only, pseudonym

START = date(2022, 3, 1)
LANDMARK = START + timedelta(days=274)
MARTS = {
    "alliance_change", "alliance_item", "alliance_pattern_agreement", "alliance_score", "analysis_cohort", "benchmark_recid",
    "client", "cohort_flow", "covariate", "detention", "dyad", "followup", "followup_event", "followup_interval", "landmark_missing",
    "officer", "officer_change", "outcome_definition", "scale_reliability", "supervision", "supervision_spell", "wave",
}  # fmt: skip
# as the columns of the seed
OUTCOMES = [
    "general_start,1,sensitivity,general,supervision_start,origin,24,6,true,false,offence,subtracted,kept",
    "no_lag,1,sensitivity,general,landmark,origin,48,0,true,false,offence,ignored,kept",
    "no_pending,1,sensitivity,general,landmark,origin,48,6,false,true,registration,state,kept",
]


def a_world() -> World:
    world = World()
    for name in ("stays_clear", "reoffends", "old_offence", "acquitted", "awaits_trial", "detained", "changes_officer"):
        world.client("rn", name, START, end_on=date(2023, 6, 1))
        world.rate("rn", name, "T1", START + timedelta(days=10), 3)
    world.client("ljr", "dies", START)
    world.client("svg", "unlinked", START, linkage="not_found")
    world.client("svg", "never_rated", START)
    world.client("svg", "too_early", date(2021, 12, 31))
    world.client("svg", "at_svg", date(2022, 2, 1), person="at_two")
    world.client("rn", "at_rn", START, person="at_two")
    world.rate("ljr", "dies", "T1", START, 4)
    world.rate("svg", "unlinked", "T1", START, 4)
    world.rate("svg", "too_early", "T1", date(2021, 12, 31), 4)
    world.rate("rn", "at_rn", "T1", START, 2, rater="officer")
    world.rate("rn", "reoffends", "T2", LANDMARK, 2, trust=1, reactance=5)
    world.rate("rn", "stays_clear", "T2", LANDMARK + timedelta(days=1), 5)
    world.assign("rn", "changes_officer", "bram", date(2022, 8, 1))
    world.rate("rn", "changes_officer", "T2", LANDMARK, 3)

    world.stopped["changes_officer"] = date(2025, 12, 31)
    world.offence("reoffends", date(2020, 1, 1), date(2020, 2, 1), custodial_days=60, article="Sr 302")
    world.offence("reoffends", LANDMARK + timedelta(days=100), LANDMARK + timedelta(days=300), article="WVW 9")
    world.offence("reoffends", LANDMARK + timedelta(days=200), LANDMARK + timedelta(days=250))
    world.offence("old_offence", LANDMARK - timedelta(days=1), LANDMARK + timedelta(days=90))
    world.offence("acquitted", LANDMARK + timedelta(days=50), LANDMARK + timedelta(days=90), disposal="acquittal")
    world.offence("awaits_trial", LANDMARK + timedelta(days=50), LANDMARK + timedelta(days=90), disposal="pending")
    world.offence("unlinked", LANDMARK + timedelta(days=50), LANDMARK + timedelta(days=90))
    world.add("registry", "departures", national_number="dies", kind="death", departed_on=LANDMARK + timedelta(days=40))
    for number, start, days in (("d1", -10, 40), ("d2", 20, 20), ("d3", 100, 10)):
        begins = LANDMARK + timedelta(days=start)
        world.add(
            "registry", "detentions", detention_number=number, national_number="detained", start_on=begins,
            end_on=begins + timedelta(days=days), kind="sentence",
        )  # fmt: skip
    world.add(
        "rn", "covariates", client_number="reoffends", name="motivation", source="officer", measured_on=START, value=2
    )
    world.add(
        "rn",
        "covariates",
        client_number="reoffends",
        name="motivation",
        source="officer",
        measured_on=LANDMARK,
        value=4,
    )
    world.add(
        "rn", "covariates", client_number="stays_clear", name="motivation", source="officer", measured_on=START, value=9
    )
    world.add(
        "rn", "covariates", client_number="reoffends", name="motivation", source="officer",
        measured_on=LANDMARK + timedelta(days=1), value=1,
    )  # fmt: skip
    world.add(
        "north_carolina", "recid", **{column.name: 1 for column in CONTRACTS["north_carolina"].table("recid").kept}
    )
    return world


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_world(a_world(), tmp_path_factory.mktemp("marts"), OUTCOMES)


def test_every_promised_table_is_published_with_a_description_of_the_table_and_of_each_column(built: Built) -> None:
    manifest = json.loads((built.target / "manifest.json").read_text())
    nodes = {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["original_file_path"].startswith("models/marts/")
    }
    assert set(nodes) == set(built.marts) == MARTS
    for name, node in nodes.items():
        assert node["contract"]["enforced"], name
        assert node["description"].startswith("One row per "), name
        assert list(node["columns"]) == list(built.marts[name].columns)
        assert all(column["description"] for column in node["columns"].values()), name


def test_an_offence_after_the_landmark_is_an_event_and_the_first_one_counts(built: Built) -> None:
    followup = built.row("followup", "reoffends", outcome_id="general_landmark")
    assert (followup["origin_day"], followup["exit_day"], followup["days"]) == (274, 374, 100)
    assert followup["event"] and followup["exit_reason"] == "event" and followup["maturity"] == "final"


def test_the_offences_after_the_first_are_there_too(built: Built) -> None:
    """On day 100 and day 200 since the landmark; pending or not, they count once each."""
    stretches = built.rows("followup_event", "reoffends", outcome_id="general_landmark").sort_values("number")
    assert (stretches["stop_day"] - 274).tolist()[:2] == [100, 200]
    assert stretches["event"].tolist() == [True, True, False]
    assert stretches["start_day"].tolist()[1:] == stretches["stop_day"].tolist()[:-1]


@pytest.mark.parametrize(
    ("outcome", "days", "event"),
    [
        ("general_start", 374, True),
        ("serious_landmark", 200, True),
        ("specific_landmark", 200, True),
        ("custodial_landmark", 1309, False),
        ("no_pending", 250, True),
    ],
)
def test_a_row_of_the_seed_is_an_outcome_with_no_other_sql(built: Built, outcome: str, days: int, event: bool) -> None:
    followup = built.row("followup", "reoffends", outcome_id=outcome)
    assert (followup["days"], bool(followup["event"])) == (days, event)


def test_somebody_whose_data_stopped_is_followed_to_the_cut_off_that_counted_then(built: Built) -> None:
    followup = built.row("followup", "changes_officer", outcome_id="general_landmark")
    assert followup["days"] == (date(2025, 12, 31) - timedelta(days=183) - LANDMARK).days
    assert followup["exit_reason"] == "cutoff" and followup["maturity"] == "provisional"


@pytest.mark.parametrize("client", ["stays_clear", "old_offence", "acquitted"])
def test_without_an_offence_that_counts_follow_up_runs_to_the_cut_off_less_the_lag(built: Built, client: str) -> None:
    followup = built.row("followup", client, outcome_id="general_landmark")
    last_seen_on = date(2026, 12, 31) - timedelta(days=183)
    assert followup["days"] == (last_seen_on - LANDMARK).days
    assert not followup["event"] and followup["exit_reason"] == "cutoff" and followup["maturity"] == "provisional"


def test_an_offence_before_the_origin_is_history_even_when_it_is_registered_later(built: Built) -> None:
    assert built.row("analysis_cohort", "old_offence", outcome_id="general_landmark")["prior_cases"] == 1
    assert built.row("analysis_cohort", "old_offence", outcome_id="general_start")["prior_cases"] == 0
    assert built.row("followup", "old_offence", outcome_id="general_start")["event"]


def test_a_pending_case_counts_where_the_outcome_says_so(built: Built) -> None:
    assert built.row("followup", "awaits_trial", outcome_id="general_landmark")["event"]
    assert not built.row("followup", "awaits_trial", outcome_id="no_pending")["event"]


def test_death_ends_follow_up(built: Built) -> None:
    followup = built.row("followup", "dies", outcome_id="general_landmark")
    assert (followup["days"], followup["exit_reason"], followup["maturity"]) == (40, "death", "final")
    assert not followup["event"]


def test_somebody_who_was_not_found_is_nobody_without_recidivism(built: Built) -> None:
    followup = built.row("followup", "unlinked", outcome_id="general_landmark")
    cohort = built.row("analysis_cohort", "unlinked", outcome_id="general_landmark")
    assert pd.isna(followup["event"]) and followup["exit_reason"] == "not_linked"
    assert pd.isna(cohort["event"]) and pd.isna(cohort["prior_cases"]) and pd.isna(cohort["duration_days"])
    assert (cohort["is_eligible"], cohort["ineligible_reason"]) == (False, "not_linked")


def test_who_is_detained_at_the_origin_enters_on_release(built: Built) -> None:
    followup = built.row("followup", "detained", outcome_id="general_landmark")
    assert followup["detention_days"] == 40 + 10
    assert followup["days"] == followup["days_at_risk"] + 50
    ignoring = built.row("followup", "detained", outcome_id="no_lag")
    assert (ignoring["detention_days"], ignoring["days_at_risk"]) == (0, ignoring["days"])
    intervals = built.rows("followup_interval", "detained", outcome_id="general_landmark").sort_values("interval")
    assert intervals["state"].tolist() == ["detained", "at_risk", "detained", "at_risk"]
    assert intervals["start_day"].tolist() == [0, 40, 100, 110]
    assert built.rows("detention", "detained")[["start_day", "end_day"]].values.tolist() == [[264, 314], [374, 384]]


def test_supervision_that_has_not_ended_has_no_origin_at_its_end(built: Built) -> None:
    cohort = built.row("analysis_cohort", "dies", outcome_id="general_supervision_end")
    assert cohort["ineligible_reason"] == "supervision_not_ended"
    assert pd.isna(built.row("followup", "dies", outcome_id="general_supervision_end")["origin_day"])


def test_only_what_was_known_at_the_origin_is_in_the_cohort(built: Built) -> None:
    reoffends = built.row("analysis_cohort", "reoffends", outcome_id="general_landmark")
    assert (reoffends["client_trust_t1"], reoffends["client_trust_t2"], reoffends["motivation"]) == (3, 1, 4)
    assert (reoffends["prior_cases"], reoffends["prior_serious_cases"], reoffends["prior_custodial_cases"]) == (1, 1, 1)
    assert pd.isna(built.row("analysis_cohort", "stays_clear", outcome_id="general_landmark")["client_trust_t2"])
    assert built.row("analysis_cohort", "stays_clear", outcome_id="general_supervision_end")["client_trust_t2"] == 5
    assert pd.isna(built.row("analysis_cohort", "reoffends", outcome_id="general_start")["client_trust_t1"])


def test_a_code_for_not_recorded_is_no_value(built: Built) -> None:
    assert pd.isna(built.row("covariate", "stays_clear", name="motivation")["value"])


def test_a_change_of_officer_makes_another_dyad_and_flags_the_pair_of_scores(built: Built) -> None:
    assert built.rows("dyad", "changes_officer")["sequence"].tolist() == [1, 2]
    changes = built.rows("alliance_change", "changes_officer", span="T1-T2", rater="client")
    assert changes["officer_changed"].all()
    score = built.row("alliance_score", "changes_officer", wave="T2", scale="trust")
    assert not score["same_officer_as_baseline"]
    assert built.row("analysis_cohort", "changes_officer", outcome_id="general_landmark")[
        "officer_changed_before_origin"
    ]


def test_more_reactance_and_less_trust_are_both_deteriorating(built: Built) -> None:
    changes = built.rows("alliance_change", "reoffends", span="T1-T2", rater="client", rule="half_sd").set_index(
        "scale"
    )
    assert changes.loc["trust", "difference"] == -2 and changes.loc["reactance", "difference"] == 2
    assert changes.loc["trust", "pattern"] == changes.loc["reactance", "pattern"] == "deteriorating"


def test_a_person_at_two_organisations_is_one_client_with_the_supervision_that_was_rated(built: Built) -> None:
    assert built.row("client", "at_two")["organisation"] == "rn"
    supervisions = built.rows("supervision", "at_two")
    assert len(supervisions) == 2
    assert only(supervisions[~supervisions["is_index"]])["start_day"] == -28


def test_the_flow_accounts_for_everybody_who_was_delivered(built: Built) -> None:
    flow = built.marts["cohort_flow"].query("outcome_id == 'general_landmark'").sort_values("step")
    assert flow["n_in"].iloc[0] == 12
    assert flow.set_index("step_name")["n_out"].to_dict() == {
        "supervised_in_enrolment_window": 1, "rated_at_t1": 1, "linked": 1, "origin_reached": 0, "present_at_entry": 0, "not_excluded": 0, "not_yet_reoffended": 0,
        "followed_up": 0, "at_risk": 0,
    }  # fmt: skip
    eligible = built.marts["analysis_cohort"].query("outcome_id == 'general_landmark'")["is_eligible"].sum()
    assert flow["n_remaining"].iloc[-1] == eligible == 9


def test_no_published_column_is_a_date(built: Built) -> None:
    kinds = {str(dtype) for mart in built.marts.values() for dtype in mart.dtypes}
    assert not any("date" in kind or "time" in kind for kind in kinds)


def test_no_value_of_a_person_is_in_what_dbt_writes_beside_the_warehouse(built: Built) -> None:
    written = [path for folder in (built.target, built.log) for path in folder.rglob("*") if path.is_file()]
    assert (built.log / "dbt.log") in written
    canaries = [pseudonym(name).encode() for name in ("reoffends", "unlinked", "rn anna")]
    assert not [path.name for path in written if any(canary in path.read_bytes() for canary in canaries)]
    assert not any(canary.decode() in built.output for canary in canaries)


def test_an_unknown_code_stops_the_build_and_is_not_repeated(built: Built, tmp_path: Path) -> None:
    compiled = next((built.target / "run").rglob("stg_partner__officers.sql")).read_text()
    query = compiled[compiled.index("select") : compiled.rindex(")")]
    name = "rn__officers.parquet"
    officers = pq.read_table(built.build / "sources" / name)
    column = next(column for column in CONTRACTS["rn"].table("officers").columns if column.name == "sex")
    index = officers.schema.get_field_index(column.raw_name)
    secret = pa.array(["nobody knows"] * len(officers))
    pq.write_table(officers.set_column(index, column.raw_name, secret), tmp_path / name)
    with contextlib.chdir(built.build):
        assert duckdb.sql(query).fetchall()
        with pytest.raises(duckdb.Error) as refused:
            duckdb.sql(query.replace(f"sources/{name}", str(tmp_path / name))).fetchall()
    assert "rn.officers.sex holds a code that its contract does not list" in str(refused.value)
    assert "nobody knows" not in str(refused.value)


def test_the_generated_sources_are_what_the_contracts_say() -> None:
    assert sources.outdated_sources(CONTRACTS, PROJECT) == []
    assert sources.main(["--check"]) == 0


def test_a_changed_contract_makes_the_check_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources.write_sources(CONTRACTS, tmp_path)
    given = ["--check", "--project", str(tmp_path), "--expectations", str(CHECKOUT / "expectations")]
    assert sources.main(given) == 0
    path = tmp_path / sources.SOURCES
    path.write_text(path.read_text().replace("male", "man"))
    assert sources.main(given) == 1
    assert "sources.yml is out of date" in capsys.readouterr().err


def test_another_partner_is_another_source_and_no_other_sql() -> None:
    more = {**CONTRACTS, "fourth": replace(CONTRACTS["rn"], name="fourth")}
    assert '"clients": ["ljr", "rn", "svg", "fourth"]' in sources.render_deliveries(more)
    assert "- name: fourth" in sources.render_sources(more)


def test_a_column_that_never_leaves_landing_is_no_source_column() -> None:
    rendered = sources.render_sources(CONTRACTS)
    kept = {column.source for table in CONTRACTS["rn"].tables for column in table.columns if column.keep}
    dropped = {column.source for table in CONTRACTS["rn"].tables for column in table.columns if not column.keep} - kept
    assert dropped
    assert not any(f"- name: {name}\n" in rendered for name in dropped)
