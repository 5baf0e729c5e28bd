"""What the simulated clients consented to, as the study's own administration would hand it over: with national numbers, apart from
the deliveries. Whoever a partner delivers as having withdrawn their consent has withdrawn it here too, and lets what was collected
until then be used.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from orchestration.deliveries.consent_file import COLUMNS, KEPT
from orchestration.simulation.cohort import Cohort

CONSENTS = "consents.csv"
ASKED = ("participation", "registry")  # what simulated clients were asked to consent to


def consents_of(cohort: Cohort) -> pd.DataFrame:
    """A row per client and consent, in `COLUMNS`: given on the day on which supervision started."""
    waves = cohort.partners["waves"]
    place = ["organisation", "supervision_number"]
    withdrew = waves[waves["status"] == "withdrawn"].astype({"organisation": "string"})
    ended = withdrew.groupby(place, as_index=False)["known_on"].min()
    clients = cohort.truth[[*place, "national_number", "start_on"]].astype({"organisation": "string"})
    known = clients.merge(ended, "left", place, validate="one_to_one")
    entries = pd.DataFrame(
        {
            "national_number": known["national_number"].map("{:09d}".format),
            "given_on": known["start_on"].dt.strftime("%Y-%m-%d"),
            "withdrawn_on": known["known_on"].dt.strftime("%Y-%m-%d").fillna(""),
            "earlier_data": known["known_on"].notna().map({True: KEPT, False: ""}),
        }
    )
    each = [entries.assign(consent=consent) for consent in ASKED]
    return pd.concat(each, ignore_index=True)[list(COLUMNS)]


def write_consents(cohort: Cohort, out: Path) -> Path:
    """Write `consents.csv` into a folder."""
    path = out / CONSENTS
    consents_of(cohort).to_csv(path, sep=";", index=False, lineterminator="\n", encoding="utf-8")
    return path
