# %% [markdown]
# # Reoffending after the landmark by the alliance at T2
# Run after `dbt build`, in the folder of `peer.duckdb`; writes table1.csv, estimates.csv and cohort.sav there.

# %%
import sys

import duckdb
import numpy as np
import pandas as pd
import pyreadstat
from lifelines import CoxPHFitter, NelsonAalenFitter
from scipy import stats
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

IMPUTATIONS, ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 20, 20
with duckdb.connect("peer.duckdb", read_only=True) as connection:
    cohort = connection.sql("select * from cohort").df()
scores = [name for name in cohort.columns if name.startswith(("client_", "officer_")) and name[-2:] in ("t1", "t2")]
history = ["log_prior_cases", "has_prior_custody"]
full = [*history, "age_decades", "is_male", "is_non_western", "employment", "partner", "addiction", "motivation"]
predictors = [*scores, *full, "risc_total", "officer_changed", "orientation", "is_svg", "is_ljr", "event"]

# %% [markdown]
# ## Table 1

# %%
described = [*full, "risc_total", *scores]
table1 = cohort[described].agg(["count", "mean", "std"]).T.assign(missing=cohort[described].isna().sum())
table1["mean_without_event"] = cohort.loc[cohort["event"] == 0, described].mean()
table1["mean_with_event"] = cohort.loc[cohort["event"] == 1, described].mean()
table1.rename_axis("variable").to_csv("table1.csv")

# %% [markdown]
# ## Imputation by chained equations, with the event and the Nelson-Aalen estimate among the predictors

# %%
aalen = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(cohort["days"], cohort["event"])
cohort["hazard"] = aalen.predict(cohort["days"]).to_numpy()
incomplete = cohort[[*predictors, "hazard"]].astype(float)
data_sets = []
for number in range(IMPUTATIONS):
    imputer = IterativeImputer(sample_posterior=True, max_iter=ITERATIONS, random_state=20260101 + number)
    data_sets.append(pd.DataFrame(imputer.fit_transform(incomplete), columns=incomplete.columns))


# %% [markdown]
# ## Cox models, errors clustered by officer; Rubin's rules with the degrees of freedom of Barnard and Rubin


# %%
def pooled(model, terms):
    columns = ["client_trust_t2", *terms]
    fits = [
        CoxPHFitter().fit(
            data[columns].assign(days=cohort["days"], event=cohort["event"], officer=cohort["officer"]),
            "days", "event", cluster_col="officer",
        )
        for data in data_sets
    ]  # fmt: skip
    coefficients = np.array([fit.params_[columns] for fit in fits])
    variances = np.array([fit.standard_errors_[columns] ** 2 for fit in fits])
    between = coefficients.var(axis=0, ddof=1) * (1 + 1 / IMPUTATIONS)
    total = variances.mean(axis=0) + between
    share = between / total
    complete = cohort["event"].sum() - len(columns)
    observed = (complete + 1) / (complete + 3) * complete * (1 - share)
    half = stats.t.ppf(0.975, 1 / (share**2 / (IMPUTATIONS - 1) + 1 / observed)) * np.sqrt(total)
    estimate = coefficients.mean(axis=0)
    return pd.DataFrame(
        {
            "model": model, "term": ["trust", *terms], "n": len(cohort), "events": cohort["event"].sum(),
            "hazard_ratio": np.exp(estimate), "conf_low": np.exp(estimate - half), "conf_high": np.exp(estimate + half),
        }
    )  # fmt: skip


models = {"unadjusted": [], "criminal_history": history, "full": full}
estimates = pd.concat([pooled(model, terms) for model, terms in models.items()])
estimates.to_csv("estimates.csv", index=False)
pyreadstat.write_sav(cohort.drop(columns="officer"), "cohort.sav")
estimates[estimates["term"] == "trust"]
