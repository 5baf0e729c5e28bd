"""Chained equations for values that are missing. Which columns, by which method, how often, is said by `models.yml`, not here.

Each incomplete column is drawn from its regression on all others, in turn, from proper posterior draws (van Buuren 2018,
chapters 3 and 4). The event indicator and the Nelson-Aalen estimate stand among the predictors, as White & Royston (2009)
showed that they must: without them the imputed values know nothing of the outcome and every coefficient shrinks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Method = Literal["normal", "logistic", "pmm"]
Streams = list[np.random.Generator]

EVENT, CUMULATIVE_HAZARD = "event", "nelson_aalen"
_RIDGE = 1e-5  # of the diagonal of X'X, as in mice: enough for collinear scales, too little to bias
_MIN_SPARE_ROWS = 10  # observed rows beyond the predictors, below which only the closest predictors are used


class ImputationError(ValueError):
    """A column that cannot be imputed; names the column and the counts, never a value."""


@dataclass(frozen=True)
class Imputer:
    """How to impute: `methods` for the columns that may be missing, `m` data sets, `iterations` rounds, `donors` for pmm."""

    methods: Mapping[str, Method]
    m: int = 20
    iterations: int = 10
    donors: int = 5


@dataclass(frozen=True)
class Hint:
    """Something known that tells of one column for some of the rows that lack it: the answers that they did give.

    `rows` are the rows concerned. `values` (n,) is known for them and for others who have the column, NaN elsewhere; it is
    one more predictor for those rows alone. It may be all but the column itself, so it never stands in other regressions.
    """

    rows: NDArray[np.intp]
    values: Array


def nelson_aalen(stop: ArrayLike, event: ArrayLike, start: ArrayLike | None = None) -> Array:
    """(n,) cumulative hazard of everybody at each row's own stop (Nelson 1972; Aalen 1978); ties as d / at risk."""
    stop_, died = np.asarray(stop, dtype=np.float64), np.asarray(event, dtype=np.float64)
    entry = np.zeros_like(stop_) if start is None else np.asarray(start, dtype=np.float64)
    times, deaths = np.unique(stop_[died == 1], return_counts=True)
    at_risk = np.searchsorted(np.sort(entry), times, side="left") - np.searchsorted(np.sort(stop_), times, side="left")
    hazard = np.concatenate([[0.0], np.cumsum(deaths / np.maximum(at_risk, 1))])
    return hazard[np.searchsorted(times, stop_, side="right")]


def impute(
    frame: pd.DataFrame,
    imputer: Imputer,
    seed: int | np.random.SeedSequence,
    hints: Mapping[str, Sequence[Hint]] | None = None,
    record: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Impute the missing values of `frame` (n rows; numeric or boolean columns only) m times.

    Returns m * n rows: column `imputation` 1..m, then the columns of `frame`, in its row order, index 0..n-1 repeated.
    Every imputation has its own random stream, spawned from `seed`, so that the third data set is the same whatever m is.
    `hints`: for columns imputed by `normal`, what is known beside the columns. `record` is called once with the trace:
    column, imputation, iteration, mean and sd of the imputed values after each round. A column with one missing value is not
    in it: its mean would be a person's.
    Raises `ImputationError` when a column that is missing has no method, or has no observed value.
    """
    hints = hints or {}
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(values)
    _refuse(frame, missing, imputer)
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    streams = [np.random.default_rng(child) for child in root.spawn(imputer.m)]
    targets = [int(j) for j in np.argsort(missing.sum(axis=0), kind="stable") if missing[:, j].any()]
    centre, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    varies = scale > 0
    scale = np.where(varies, scale, 1.0)

    # All imputations are drawn side by side: (m, n, q + 1) standardised values, the last column being the intercept.
    state = np.ones((imputer.m, len(frame), values.shape[1] + 1))
    state[:, :, :-1] = np.where(missing, 0.0, (values - centre) / scale)
    for j in targets:
        gap = missing[:, j]
        observed = state[0, ~gap, j]
        state[:, gap, j] = [rng.choice(observed, size=int(gap.sum())) for rng in streams]
    means = np.empty((imputer.iterations, len(targets), imputer.m))
    spreads = np.full_like(means, np.nan)
    for iteration in range(imputer.iterations):
        for j in targets:
            if varies[j]:
                method = imputer.methods[frame.columns[j]]
                _redraw(state, missing[:, j], j, method, varies, imputer.donors, streams)
                for hint in hints.get(frame.columns[j], ()) if method == "normal" else ():
                    _redraw_hinted(state, missing[:, j], j, hint, varies, streams)
        for number, j in enumerate(targets):
            drawn = state[:, missing[:, j], j]
            means[iteration, number] = drawn.mean(axis=1) * scale[j] + centre[j]
            if drawn.shape[1] > 1:
                spreads[iteration, number] = drawn.std(axis=1, ddof=1) * scale[j]
    if record is not None:
        several = [number for number, j in enumerate(targets) if missing[:, j].sum() > 1]
        names = [str(frame.columns[targets[number]]) for number in several]
        record(_trace(names, means[:, several], spreads[:, several]))
    filled = np.where(missing, state[:, :, :-1] * scale + centre, values)
    for j in targets:
        if imputer.methods[frame.columns[j]] != "normal":  # an observed value again, not one nearly so
            known = np.unique(values[~missing[:, j], j])
            filled[:, missing[:, j], j] = known[np.abs(filled[:, missing[:, j], j, None] - known).argmin(axis=-1)]
    stacked = pd.DataFrame(
        filled.reshape(-1, values.shape[1]), columns=frame.columns, index=np.tile(np.arange(len(frame)), imputer.m)
    )
    stacked.insert(0, "imputation", np.repeat(np.arange(1, imputer.m + 1), len(frame)))
    return stacked


def _trace(columns: list[str], means: Array, spreads: Array) -> pd.DataFrame:
    iterations, count, m = means.shape
    return pd.DataFrame(
        {
            "column": np.repeat(np.array(columns, dtype=object), iterations * m),
            "imputation": np.tile(np.arange(1, m + 1), iterations * count),
            "iteration": np.tile(np.repeat(np.arange(1, iterations + 1), m), count),
            "mean": means.transpose(1, 0, 2).ravel(),
            "sd": spreads.transpose(1, 0, 2).ravel(),
        }
    )


def _refuse(frame: pd.DataFrame, missing: NDArray[np.bool_], imputer: Imputer) -> None:
    for j, column in enumerate(frame.columns):
        count = int(missing[:, j].sum())
        if count and column not in imputer.methods:
            raise ImputationError(
                f"{column}: {count} of {len(frame)} values are missing and models.yml names no method for it"
            )
        if count == len(frame):
            raise ImputationError(f"{column}: all {count} values are missing, so that nothing can be learned from")
        if count and imputer.methods[column] == "logistic":
            others = int(
                (~np.isin(frame[column].to_numpy(dtype=np.float64, na_value=np.nan)[~missing[:, j]], (0.0, 1.0))).sum()
            )
            if others:
                raise ImputationError(
                    f"{column}: {others} observed values are neither 0 nor 1, but its method is logistic"
                )


def _redraw(
    state: Array,
    gap: NDArray[np.bool_],
    j: int,
    method: Method,
    varies: NDArray[np.bool_],
    donors: int,
    streams: Streams,
) -> None:
    """Draw column j where it is missing, for all imputations, in place, in standardised units."""
    columns = _predictors(state, gap, j, varies)
    seen, unseen = state[:, ~gap], state[:, gap][:, :, columns]
    y = seen[:, :, j]
    x = seen[:, :, columns]
    if method == "logistic":
        low, high = y.min(), y.max()  # the two standardised answers
        chance = _logistic_draw(x, (y > low).astype(np.float64), unseen, streams)
        drawn_one = np.stack([rng.uniform(size=chance.shape[1]) for rng in streams]) < chance
        state[:, gap, j] = np.where(drawn_one, high, low)
        return
    fitted, drawn, sigma = _normal_draw(x, y, streams)
    predicted = _times(unseen, drawn)
    if method == "normal":
        noise = np.stack([rng.standard_normal(predicted.shape[1]) for rng in streams])
        state[:, gap, j] = predicted + sigma[:, None] * noise
    else:
        state[:, gap, j] = _matched(_times(x, fitted), predicted, y, donors, streams)


def _redraw_hinted(
    state: Array, gap: NDArray[np.bool_], j: int, hint: Hint, varies: NDArray[np.bool_], streams: Streams
) -> None:
    """Draw column j again for the rows of a hint, by the regression of those who have both, with the hint as a predictor.

    With too few of those, or a hint that does not vary among them, the ordinary draw stays.
    """
    both = ~gap & ~np.isnan(hint.values)
    known = hint.values[both]
    if int(both.sum()) < 2 * _MIN_SPARE_ROWS or not known.std() > 0:
        return
    columns = _predictors(state, ~both, j, varies)
    told = (hint.values - known.mean()) / known.std()
    m = state.shape[0]
    x, unseen = (
        np.concatenate(
            [np.broadcast_to(told[rows][None, :, None], (m, len(told[rows]), 1)), state[:, rows][:, :, columns]], axis=2
        )
        for rows in (both, hint.rows)
    )
    _, drawn, sigma = _normal_draw(x, state[:, both, j], streams)
    noise = np.stack([rng.standard_normal(len(hint.rows)) for rng in streams])
    state[:, hint.rows, j] = _times(unseen, drawn) + sigma[:, None] * noise


def _predictors(state: Array, gap: NDArray[np.bool_], j: int, varies: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Every other column and the intercept; where too few rows are observed for that, those that correlate most with j in
    the first round's fillings of the first imputation, which is the same whatever m is."""
    use = np.append(varies, False)
    use[j] = False
    columns, intercept = np.flatnonzero(use), state.shape[2] - 1
    observed = int((~gap).sum())
    if observed < len(columns) + 1 + _MIN_SPARE_ROWS:
        seen = state[0, ~gap]
        spread = seen.std(axis=0)
        covariance = (seen[:, j] - seen[:, j].mean()) @ (seen - seen.mean(axis=0))
        closeness = np.abs(covariance / np.where(spread > 0, spread, np.inf))[columns]
        columns = np.sort(columns[np.argsort(-closeness, kind="stable")[: max(1, observed // 5)]])
    return np.append(columns, intercept)


def _times(x: Array, beta: Array) -> Array:
    """(m, n, p) by (m, p) -> (m, n)."""
    return (x @ beta[:, :, None])[:, :, 0]


def _from_normal(mean: Array, information: Array, sigma: Array, streams: Streams) -> Array:
    """Draw coefficients (m, p) from N(mean, sigma^2 information^-1)."""
    noise = np.stack([rng.standard_normal(mean.shape[1]) for rng in streams])
    upper = np.swapaxes(np.linalg.cholesky(information), 1, 2)
    return mean + sigma[:, None] * np.linalg.solve(upper, noise[:, :, None])[:, :, 0]


def _normal_draw(x: Array, y: Array, streams: Streams) -> tuple[Array, Array, Array]:
    """Least-squares coefficients, a posterior draw of them, and one of sigma (van Buuren 2018, algorithm 3.1)."""
    transposed = np.swapaxes(x, 1, 2)
    gram = _ridged(transposed @ x)
    fitted = np.linalg.solve(gram, transposed @ y[:, :, None])[:, :, 0].astype(np.float64, copy=False)
    residual = y - _times(x, fitted)
    df = max(x.shape[1] - x.shape[2], 1)
    sigma = np.sqrt((residual**2).sum(axis=1) / np.array([rng.chisquare(df) for rng in streams]))
    return fitted, _from_normal(fitted, gram, sigma, streams), sigma


def _ridged(gram: Array) -> Array:
    diagonal = np.arange(gram.shape[-1])
    gram[:, diagonal, diagonal] *= 1 + _RIDGE
    return gram


def _matched(observed: Array, wanted: Array, y: Array, donors: int, streams: Streams) -> Array:
    """Predictive mean matching, type 1: an observed value of one of the nearest donors (van Buuren 2018, algorithm 3.3)."""
    k = min(donors, y.shape[1])
    distance = np.abs(wanted[:, :, None] - observed[:, None, :])
    nearest = np.argpartition(distance, k - 1, axis=2)[:, :, :k]
    pick = np.stack([rng.integers(0, k, size=wanted.shape[1]) for rng in streams])
    donor = np.take_along_axis(nearest, pick[:, :, None], axis=2)[:, :, 0]
    return np.take_along_axis(y, donor, axis=1)


def _logistic_draw(x: Array, y: Array, unseen: Array, streams: Streams) -> Array:
    """Chances of 1 for `unseen` from a posterior draw of the logistic coefficients (van Buuren 2018, algorithm 3.4).

    A few light pseudo-rows, one standard deviation to either side of each predictor with both answers, keep the fit finite
    under separation (White, Daniel & Royston 2010).
    """
    m, n, width = x.shape
    p = width - 1
    extra = np.zeros((4 * p, width))
    extra[:, -1] = 1.0
    extra[np.arange(4 * p), np.arange(4 * p) // 4] = np.tile([-1.0, -1.0, 1.0, 1.0], p)
    rows = np.concatenate([x, np.broadcast_to(extra, (m, *extra.shape))], axis=1)
    answer = np.concatenate([y, np.broadcast_to(np.tile([0.0, 1.0], 2 * p), (m, 4 * p))], axis=1)
    weight = np.concatenate([np.ones(n), np.full(4 * p, width / max(4 * p, 1))])
    transposed = np.swapaxes(rows, 1, 2)
    beta = np.zeros((m, width))
    is_moving = np.ones(m, dtype=bool)
    for _ in range(25):
        information, chance = _logistic_information(rows, transposed, weight, beta)
        step = np.linalg.solve(information, transposed @ (weight * (answer - chance))[:, :, None])[:, :, 0]
        size = np.abs(step).max(axis=1)
        beta = beta + np.where(is_moving, np.minimum(1.0, 5.0 / np.maximum(size, 1e-12)), 0.0)[:, None] * step
        is_moving &= size > 1e-4  # each imputation stops by itself, so that none depends on its neighbours
        if not is_moving.any():
            break
    information, _ = _logistic_information(rows, transposed, weight, beta)
    drawn = _from_normal(beta, information, np.ones(m), streams)
    return 1 / (1 + np.exp(-np.clip(_times(unseen, drawn), -30, 30)))


def _logistic_information(rows: Array, transposed: Array, weight: Array, beta: Array) -> tuple[Array, Array]:
    chance = 1 / (1 + np.exp(-np.clip(_times(rows, beta), -30, 30)))
    return _ridged(transposed @ ((weight * chance * (1 - chance))[:, :, None] * rows)), chance


DIAGNOSTIC_COLUMNS = (
    "column", "method", "observed", "missing", "hinted", "observed_mean", "observed_sd", "imputed_mean", "imputed_sd",
    "standardised_difference", "largest_distance", "rhat_mean", "rhat_sd", "note",
)  # fmt: skip
TRACE_COLUMNS = ("column", "imputation", "iteration", "mean", "sd")


def item_hints(alliance_item: pd.DataFrame, client: NDArray[np.object_], scores: pd.DataFrame) -> dict[str, list[Hint]]:
    """Hints for scores that lack too many answers: columns of `scores` (n rows, `<rater>_<scale>_<wave>`), rows as `client` (n,).

    Who answered some items of a scale, but fewer than a score needs, is told by the mean of those items, as is everybody
    who answered all of them: one hint for each set of answered items (the answered part as auxiliary information: Eekhout et
    al. 2015; other scales by their scores: Plumpton et al. 2016). Used only where another scale of the same rating is known
    in the row: all scales of a rating have one day, and a rating after the origin is not known at it.
    """
    hints: dict[str, list[Hint]] = {}
    if not len(alliance_item):
        return hints
    by_scale = dict(list(alliance_item.groupby(["rater", "scale", "wave"], sort=True)))
    for column in scores.columns:
        rater, *middle, wave = str(column).split("_")
        same_rating = [name for name in scores.columns if name.startswith(f"{rater}_") and name.endswith(f"_{wave}")]
        answers = by_scale.get((rater, "_".join(middle), wave.upper()))
        is_partial = scores[column].isna() & scores[same_rating].notna().any(axis=1)
        if answers is None or not is_partial.any():
            continue
        wide = answers.pivot(index="client_id", columns="item", values="value").reindex(client)
        given = wide.to_numpy(dtype=np.float64, na_value=np.nan)
        is_given = ~np.isnan(given)
        partial = np.flatnonzero(is_partial.to_numpy() & is_given.any(axis=1))
        has_score = scores[column].notna().to_numpy()
        found = []
        for asked in np.unique(is_given[partial], axis=0):
            rows = partial[(is_given[partial] == asked).all(axis=1)]
            values = np.where(has_score, given[:, asked].mean(axis=1), np.nan)
            values[rows] = given[rows][:, asked].mean(axis=1)
            found.append(Hint(rows, values))
        if found:
            hints[str(column)] = found
    return hints


def imputation_diagnostics(
    frame: pd.DataFrame,
    imputed: pd.DataFrame,
    trace: pd.DataFrame,
    imputer: Imputer,
    largest_rhat: float,
    hints: Mapping[str, Sequence[Hint]] | None = None,
) -> pd.DataFrame:
    """One row (`DIAGNOSTIC_COLUMNS`) for each column of `frame` with missing values: are the chains together, and what was drawn?

    observed, missing, hinted: counts. imputed_mean and imputed_sd: over all imputations, the SD within one on average;
    standardised_difference: of the means, in observed SDs; largest_distance: between the distributions of observed and of
    all imputed values (Kolmogorov's D; no p-value, since m drawings are not m samples). Observed and imputed may differ: under
    missing at random the missing are other people. rhat_mean, rhat_sd: potential scale reduction (Gelman & Rubin 1992,
    eq. 20 without its df factor) of the mean and the SD over the second half of the rounds, chains being the imputations; NaN with
    fewer than two rounds or chains. A note says where one is above `largest_rhat`. Of a single missing value there are counts only.
    """
    hints = hints or {}
    rows: list[dict[str, object]] = []
    for column in frame.columns:
        gap = frame[column].isna().to_numpy()
        if not gap.any():
            continue
        observed = frame.loc[~gap, column].to_numpy(dtype=np.float64)
        drawn = imputed[column].to_numpy(dtype=np.float64).reshape(-1, len(frame))[:, gap]
        chain = trace[trace["column"] == column].sort_values(["imputation", "iteration"], kind="stable")
        rhats = {
            name: potential_scale_reduction(chain[name].to_numpy().reshape(len(drawn), -1)) for name in ("mean", "sd")
        }
        spread = observed.std(ddof=1) if len(observed) > 1 else np.nan
        if drawn.shape[1] < 2:
            drawn = np.full((len(drawn), 2), np.nan)
        is_apart = any(value > largest_rhat for value in rhats.values())
        rows.append(
            {
                "column": column, "method": imputer.methods.get(str(column)), "observed": len(observed), "missing": int(gap.sum()),
                "hinted": sum(len(hint.rows) for hint in hints.get(str(column), ())), "observed_mean": observed.mean(),
                "observed_sd": spread, "imputed_mean": drawn.mean(),
                "imputed_sd": drawn.std(axis=1, ddof=1).mean(),
                "standardised_difference": (drawn.mean() - observed.mean()) / spread if spread > 0 else np.nan,
                "largest_distance": _largest_distance(observed, drawn.ravel()) if np.isfinite(drawn).all() else np.nan,
                "rhat_mean": rhats["mean"], "rhat_sd": rhats["sd"],
                "note": f"chains differ: potential scale reduction above {largest_rhat:g}" if is_apart else None,
            }
        )  # fmt: skip
    result = pd.DataFrame(rows, columns=list(DIAGNOSTIC_COLUMNS))
    return result.astype(dict.fromkeys(DIAGNOSTIC_COLUMNS[5:13], float)).astype({"note": object})


def potential_scale_reduction(chains: Array) -> float:
    """R-hat of (chains, rounds) values, the first half of the rounds left out; 1 where nothing varies, NaN where it cannot be told."""
    kept = chains[:, chains.shape[1] // 2 :]
    if kept.shape[0] < 2 or kept.shape[1] < 2 or not np.isfinite(kept).all():
        return float("nan")
    rounds = kept.shape[1]
    within, between = kept.var(axis=1, ddof=1).mean(), kept.mean(axis=1).var(ddof=1)
    if within <= 0:
        return 1.0 if between <= 0 else float("inf")
    return float(np.sqrt((rounds - 1) / rounds + between / within))


def _largest_distance(one: Array, other: Array) -> float:
    """Largest distance between two empirical distribution functions."""
    at = np.unique(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
