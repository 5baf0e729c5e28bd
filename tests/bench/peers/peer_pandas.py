"""Reoffending after the landmark by the alliance at T2, as a research group scripts it with pandas and lifelines.

`python peer_pandas.py DELIVERIES OUT [IMPUTATIONS]` writes table1.csv, estimates.csv and cohort.sav. It imports nothing of the platform.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
from lifelines import CoxPHFitter, NelsonAalenFitter
from scipy import stats
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

DELIVERIES, OUT = Path(sys.argv[1]), Path(sys.argv[2])
ENROLLED_FROM, ENROLLED_UNTIL = pd.Timestamp("2022-01-01"), pd.Timestamp("2022-12-31")
CUTOFF = pd.Timestamp("2025-12-31")
IMPUTATIONS, ITERATIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 20, 20


def months(number):
    return pd.Timedelta(days=round(number * 30.4375))


# Reading: the columns of each organisation under one name --------------------------------------------------------------
LAYOUT = {
    "clients": {
        "rn": {
            "Clientnummer": "client", "BSN": "bsn", "Geboortedatum": "born", "Geslacht": "sex", "Geboorteland": "country",
            "Geboorteland moeder": "mother", "Geboorteland vader": "father",
        },
        "svg": {
            "CLT_NR": "client", "BSN_NR": "bsn", "GEB_DAT": "born", "GESL": "sex", "GEB_LAND": "country",
            "GEB_LAND_M": "mother", "GEB_LAND_V": "father",
        },
        "ljr": {
            "clnr": "client", "bsn": "bsn", "gebdat": "born", "gesl": "sex", "geblnd": "country", "geblndm": "mother",
            "geblndv": "father",
        },
    },
    "supervisions": {
        "rn": {"Toezichtnummer": "supervision", "Clientnummer": "client", "Begindatum": "start"},
        "svg": {"TZT_NR": "supervision", "CLT_NR": "client", "BEG_DAT": "start"},
        "ljr": {"tznr": "supervision", "clnr": "client", "begdat": "start"},
    },
    "assignments": {
        "rn": {"Toezichtnummer": "supervision", "Werkernummer": "officer", "Begindatum": "since", "Einddatum": "until"},
        "svg": {"TZT_NR": "supervision", "MDW_NR": "officer", "BEG_DAT": "since", "EIND_DAT": "until"},
        "ljr": {"tznr": "supervision", "rwnr": "officer", "begdat": "since", "einddat": "until"},
    },
    "officers": {
        "rn": {"Werkernummer": "officer", "Regelgerichtheid": "orientation"},
        "svg": {"MDW_NR": "officer", "REGEL_SC": "orientation"},
        "ljr": {"rwnr": "officer", "regelor": "orientation"},
    },
    "waves": {
        "rn": {
            "Toezichtnummer": "supervision", "Meting": "wave", "Beoordelaar": "rater", "Status": "status",
            "Meetdatum": "measured",
        },
        "svg": {"TZT_NR": "supervision", "METING": "wave", "BEOORD": "rater", "STATUS": "status", "MEET_DAT": "measured"},
        "ljr": {"tznr": "supervision", "meting": "wave", "beoord": "rater", "status": "status", "meetdat": "measured"},
    },
    "item_responses": {
        "rn": {
            "Toezichtnummer": "supervision", "Meting": "wave", "Beoordelaar": "rater", "Item": "item", "Antwoord": "response",
        },
        "svg": {"TZT_NR": "supervision", "METING": "wave", "BEOORD": "rater", "ITEM": "item", "SCORE": "response"},
        "ljr": {"tznr": "supervision", "meting": "wave", "beoord": "rater", "item": "item", "antw": "response"},
    },
    "covariates": {
        "rn": {"Clientnummer": "client", "Kenmerk": "name", "Waarde": "value", "Bron": "source", "Meetdatum": "measured"},
        "svg": {"CLT_NR": "client", "KENM": "name", "WRD": "value", "BRON": "source", "MEET_DAT": "measured"},
        "ljr": {"clnr": "client", "kenmerk": "name", "waarde": "value", "bron": "source", "meetdat": "measured"},
    },
    "risc": {
        "rn": {
            "Clientnummer": "client", "Datum afname": "measured", "Schaal 8": "drugs", "Schaal 9": "alcohol",
            "Totaalscore": "total",
        },
        "svg": {"CLT_NR": "client", "AFN_DAT": "measured", "SCH_08": "drugs", "SCH_09": "alcohol", "RISC_TOT": "total"},
        "ljr": {"clnr": "client", "afndat": "measured", "sch8": "drugs", "sch9": "alcohol", "risctot": "total"},
    },
}  # fmt: skip
RATER = {"cliënt": "client", "werker": "officer", "1": "client", "2": "officer"}
NAME = {"werk": "employment", "1": "employment", "partner": "partner", "2": "partner", "verslaving": "addiction",
        "3": "addiction", "motivatie": "motivation", "4": "motivation"}  # fmt: skip
SOURCE = {"RISc": "risc", "1": "risc", "werker": "officer", "2": "officer", "cliënt": "self_report", "3": "self_report",
          "administratie": "administration", "4": "administration"}  # fmt: skip
COUNTRY = {"Nederland": "nl", "1": "nl", "EU overig": "western", "6": "western", "onbekend": np.nan, "99": np.nan}


def newest(organisation, table):
    return max(DELIVERIES.glob(f"{organisation}/*/*/{table}.csv"))


def partners(table, dates=()):
    frames = []
    for organisation, names in LAYOUT[table].items():
        encoding = "cp1252" if organisation == "rn" else "utf-8"
        frame = pd.read_csv(newest(organisation, table), sep=";", encoding=encoding, dtype=str, usecols=list(names))
        frames.append(frame.rename(columns=names).assign(organisation=organisation))
    frame = pd.concat(frames, ignore_index=True)
    for column in dates:
        frame[column] = pd.to_datetime(frame[column], format="%d-%m-%Y")
    return frame


def registry(table, dates=()):
    return pd.read_csv(newest("registry", table), dtype={"bsn": str}, parse_dates=list(dates))


clients = partners("clients", ["born"])
clients["is_male"] = clients["sex"].isin(["M", "1"]).astype(float)
for column in ("country", "mother", "father"):
    clients[column] = clients[column].map(lambda code: COUNTRY.get(code, "non_western"), na_action="ignore")
supervisions = partners("supervisions", ["start"])
assignments = partners("assignments", ["since", "until"])
assignments["until"] = assignments["until"].fillna(pd.Timestamp.max)
officers = partners("officers")
officers["orientation"] = officers["orientation"].str.replace(",", ".").astype(float)
waves = partners("waves", ["measured"])
waves["is_done"] = waves["status"].isin(["afgenomen", "1"])
answers = partners("item_responses")
answers["response"] = answers["response"].astype(float).replace(9, np.nan)
for frame in (waves, answers):
    frame["wave"] = "t" + frame["wave"].str[-1]
    frame["rater"] = frame["rater"].map(RATER)
covariates = partners("covariates", ["measured"])
covariates = covariates.assign(
    name=covariates["name"].map(NAME),
    source=covariates["source"].map(SOURCE),
    value=covariates["value"].astype(float).replace(9, np.nan),
)
risc = partners("risc", ["measured"])
risc["total"] = risc["total"].astype(float)
for column in ("drugs", "alcohol"):
    risc[column] = risc[column].astype(float).replace(99, np.nan)

# Who is in the study: the first supervision of 2022 that was rated at T1 ------------------------------------------------
rated = waves.loc[(waves["wave"] == "t1") & waves["is_done"], "supervision"]
index = supervisions[
    supervisions["start"].between(ENROLLED_FROM, ENROLLED_UNTIL) & supervisions["supervision"].isin(rated)
]
index = index.merge(clients, on=["organisation", "client"]).sort_values(["start", "supervision"])
index = index.drop_duplicates("bsn")
index["landmark"] = index["start"] + months(9)

# Follow-up ------------------------------------------------------------------------------------------------------------
offences = registry("cases", ["inschrijfdatum"])
offences = offences[offences["inschrijfdatum"] <= CUTOFF]
offences = offences.merge(registry("offences", ["pleegdatum"]), on="zaaknummer", how="left")
offences = offences.merge(registry("disposals"), on="zaaknummer", how="left")
offences = offences[offences["afdoening"].fillna("OPEN").isin(["VER", "STB", "OPEN"])]
offences["committed"] = offences["pleegdatum"].fillna(offences["inschrijfdatum"])
offences = offences.merge(index[["bsn", "landmark"]], on="bsn")

linkage = registry("linkage")
cohort = index[index["bsn"].isin(linkage.loc[linkage["koppelstatus"] == "J", "bsn"])].copy()
departed = registry("departures", ["datum"]).groupby("bsn")["datum"].min()
ends = pd.DataFrame(
    {"horizon": cohort["landmark"] + months(48), "departed": pd.to_datetime(cohort["bsn"].map(departed))}
)
cohort["until"] = ends.assign(cutoff=CUTOFF - months(6)).min(axis=1)
cohort = cohort[cohort["until"] > cohort["landmark"]]
offended = offences[offences["committed"] > offences["landmark"]].groupby("bsn")["committed"].min()
cohort["offended"] = cohort["bsn"].map(offended)
cohort["event"] = cohort["offended"] <= cohort["until"]
cohort["exit"] = cohort["offended"].where(cohort["event"], cohort["until"])

spells = registry("detentions", ["begindatum", "einddatum"]).merge(cohort[["bsn", "landmark", "exit"]], on="bsn")
spells["einddatum"] = spells["einddatum"].fillna(CUTOFF)
spells["night"] = [
    list(pd.date_range(begin, end, inclusive="left"))
    for begin, end in zip(spells["begindatum"], spells["einddatum"], strict=True)
]
nights = spells.explode("night").dropna(subset="night").drop_duplicates(["bsn", "night"])
nights = nights[(nights["night"] >= nights["landmark"]) & (nights["night"] < nights["exit"])]
detained = cohort["bsn"].map(nights.groupby("bsn").size()).fillna(0)
cohort["days"] = (cohort["exit"] - cohort["landmark"]).dt.days - detained
cohort = cohort[cohort["days"] > 0].copy()

# Alliance: the mean of the valid items, if it was measured by the landmark ----------------------------------------------
SCALE = {"b": "bond", "1": "bond", "v": "trust", "t": "trust", "2": "trust", "r": "goals", "g": "goals", "3": "goals",
         "s": "reactance", "4": "reactance"}  # fmt: skip
NEEDED = {"bond": 4, "trust": 5, "goals": 6, "reactance": 4}
answers["scale"] = answers["item"].str[0].str.lower().map(SCALE)
answers.loc[answers["item"].str.match("R[0-9]"), "scale"] = "reactance"  # SVG writes R01, RN richting_kaders_01
number = answers["item"].str[-2:].astype(int)
is_reversed = ((answers["scale"] == "bond") & (number == 5)) | ((answers["scale"] == "trust") & (number == 3))
answers["response"] = answers["response"].where(~is_reversed, 6 - answers["response"])
scores = answers.groupby(["supervision", "wave", "rater", "scale"])["response"].agg(["count", "mean"]).reset_index()
scores = scores[(scores["count"] >= scores["scale"].map(NEEDED)) & scores["wave"].isin(["t1", "t2"])]
scores = scores.merge(waves[waves["is_done"]], on=["supervision", "wave", "rater"])
scores = scores.merge(index[["supervision", "landmark"]], on="supervision")
scores = scores[scores["measured"] <= scores["landmark"]]
scores["name"] = scores["rater"] + "_" + scores["scale"] + "_" + scores["wave"]
cohort = cohort.merge(scores.pivot(index="supervision", columns="name", values="mean"), on="supervision", how="left")
SCORES = [f"{rater}_{scale}_{wave}" for rater in ("client", "officer") for scale in NEEDED for wave in ("t1", "t2")]

# What is known of the client at the landmark ----------------------------------------------------------------------------
people = clients[["organisation", "client", "bsn"]].merge(cohort[["bsn", "landmark"]], on="bsn")
known = covariates.merge(people, on=["organisation", "client"]).dropna(subset=["name", "value"])
known = known[known["measured"] <= known["landmark"]].sort_values(["measured", "source"])
latest = known.groupby(["bsn", "name"])["value"].last().unstack()
assessed = risc.merge(people, on=["organisation", "client"])
assessed = assessed[assessed["measured"] <= assessed["landmark"]].sort_values("measured").groupby("bsn").last()
told = known[known["name"] == "addiction"].groupby(["bsn", "source"])["value"].last().groupby("bsn").max()
scored = assessed[["drugs", "alcohol"]].max(axis=1).dropna().ge(4).astype(float)
for name in ("employment", "partner", "motivation"):
    cohort[name] = cohort["bsn"].map(latest[name])
cohort["addiction"] = cohort["bsn"].map(pd.concat([told, scored]).groupby("bsn").max())
cohort["risc_total"] = cohort["bsn"].map(assessed["total"])

prior = offences[offences["committed"] <= offences["landmark"]].groupby("bsn")
cohort["prior_cases"] = cohort["bsn"].map(prior["zaaknummer"].nunique()).fillna(0)
cohort["log_prior_cases"] = np.log1p(cohort["prior_cases"])
cohort["has_prior_custody"] = cohort["bsn"].map(prior["onvoorwaardelijk_dagen"].max()).gt(0).astype(float)
cohort["age_decades"] = (cohort["landmark"] - cohort["born"]).dt.days / 3652.5
abroad = cohort["mother"].where(cohort["mother"].notna() & (cohort["mother"] != "nl"))
abroad = abroad.fillna(cohort["father"].where(cohort["father"] != "nl"))
parents = abroad.mask((cohort["mother"] == "nl") & (cohort["father"] == "nl"), "nl")
origin = parents.where((parents == "nl") | (cohort["country"] == "nl"), cohort["country"])
cohort["is_non_western"] = (origin == "non_western").astype(float).where(origin.notna())
cohort["is_svg"] = (cohort["organisation"] == "svg").astype(float)
cohort["is_ljr"] = (cohort["organisation"] == "ljr").astype(float)

dyads = assignments.merge(cohort[["supervision", "landmark"]], on="supervision")
dyads["has_begun"] = dyads["since"] <= dyads["landmark"]
dyads["is_valid"] = dyads["has_begun"] & (dyads["until"] >= dyads["landmark"])
dyads["away"] = (dyads["landmark"] - dyads["since"]).abs()
dyads = dyads.sort_values(["is_valid", "has_begun", "away"], ascending=[False, False, True])
cohort["officer"] = cohort["supervision"].map(dyads.groupby("supervision")["officer"].first()).fillna(cohort["bsn"])
so_far = dyads[dyads["has_begun"]].groupby("supervision")["officer"].nunique()
cohort["officer_changed"] = cohort["supervision"].map(so_far).gt(1).astype(float)
cohort["orientation"] = cohort["officer"].map(officers.drop_duplicates("officer").set_index("officer")["orientation"])
assert cohort["bsn"].is_unique

# Table 1 ----------------------------------------------------------------------------------------------------------------
DESCRIBED = ["age_decades", "is_male", "is_non_western", "prior_cases", "has_prior_custody", "employment", "partner",
             "addiction", "motivation", "risc_total", *SCORES]  # fmt: skip
table1 = cohort[DESCRIBED].agg(["count", "mean", "std"]).T.assign(missing=cohort[DESCRIBED].isna().sum())
for value, name in ((False, "mean_without_event"), (True, "mean_with_event")):
    table1[name] = cohort.loc[cohort["event"] == value, DESCRIBED].mean()
table1.rename_axis("variable").to_csv(OUT / "table1.csv")

# Imputation -------------------------------------------------------------------------------------------------------------
nelson_aalen = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(cohort["days"], cohort["event"])
cohort["hazard"] = nelson_aalen.predict(cohort["days"]).to_numpy()
PREDICTORS = [
    *SCORES, "is_male", "is_non_western", "employment", "partner", "addiction", "officer_changed", "age_decades",
    "log_prior_cases", "has_prior_custody", "motivation", "risc_total", "orientation", "is_svg", "is_ljr", "event", "hazard",
]  # fmt: skip
incomplete = cohort[PREDICTORS].astype(float)
data_sets = []
for number in range(IMPUTATIONS):
    imputer = IterativeImputer(sample_posterior=True, max_iter=ITERATIONS, random_state=20260101 + number)
    data_sets.append(pd.DataFrame(imputer.fit_transform(incomplete), columns=PREDICTORS))

# Cox models: errors clustered by officer, pooled by Rubin's rules with the degrees of freedom of Barnard and Rubin ---------
HISTORY = ["log_prior_cases", "has_prior_custody"]
FULL = [*HISTORY, "age_decades", "is_male", "is_non_western", "employment", "partner", "addiction", "motivation"]
MODELS = {"unadjusted": [], "criminal_history": HISTORY, "full": FULL}


def pooled(terms):
    columns = ["client_trust_t2", *terms]
    coefficients, variances = [], []
    for data in data_sets:
        frame = data[columns].assign(
            days=cohort["days"].to_numpy(), event=cohort["event"].to_numpy(), officer=cohort["officer"].to_numpy()
        )
        fitted = CoxPHFitter().fit(frame, "days", "event", cluster_col="officer")
        coefficients.append(fitted.params_[columns])
        variances.append(fitted.standard_errors_[columns] ** 2)
    estimate, within = np.mean(coefficients, axis=0), np.mean(variances, axis=0)
    between = np.var(coefficients, axis=0, ddof=1) * (1 + 1 / IMPUTATIONS)
    total = within + between
    share = between / total
    complete = cohort["event"].sum() - len(columns)
    observed = (complete + 1) / (complete + 3) * complete * (1 - share)
    degrees = 1 / (share**2 / (IMPUTATIONS - 1) + 1 / observed)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(total)
    return pd.DataFrame(
        {
            "term": ["trust", *terms], "n": len(cohort), "events": cohort["event"].sum(), "hazard_ratio": np.exp(estimate),
            "conf_low": np.exp(estimate - half), "conf_high": np.exp(estimate + half),
        }
    )  # fmt: skip


estimates = pd.concat([pooled(terms).assign(model=model) for model, terms in MODELS.items()])
estimates.to_csv(OUT / "estimates.csv", index=False)
pyreadstat.write_sav(cohort[["organisation", *PREDICTORS, "days"]], str(OUT / "cohort.sav"))
