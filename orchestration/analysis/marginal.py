"""Average marginal effects of a multinomial logit and their gradient. Where coefficients and covariance come from is not known here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def probabilities(beta: Array, x: Array) -> Array:
    """(n, C) chances of the classes, the reference first, for `beta` (C - 1, p + 1; constant first) and `x` (n, p)."""
    linear = np.column_stack([np.zeros(len(x)), beta[:, 0] + x @ beta[:, 1:].T])
    linear -= linear.max(axis=1, keepdims=True)
    raised = np.exp(linear)
    return raised / raised.sum(axis=1, keepdims=True)


def average_marginal_effects(beta: Array, x: Array) -> tuple[Array, Array]:
    """Effects (C * p,), class by class from the reference on, and their gradient (C * p, (C - 1) * (p + 1)) in `beta` as raveled.

    A term that is only 0 and 1: the mean over the n rows of P(class | 1) - P(class | 0), everything else as observed. Any
    other: the mean of dP(class)/dx = P_c (b_c - sum_j P_j b_j), with b of the reference 0. The effects of a term sum to
    zero over the classes. Delta method: variance = gradient . covariance . gradient' (Greene 2018, section 18.2.5; the
    rows are taken as fixed).
    """
    classes, terms = beta.shape[0] + 1, x.shape[1]
    effects = np.zeros((classes, terms))
    gradient = np.zeros((classes, terms, classes - 1, terms + 1))
    chance = probabilities(beta, x)
    design = np.column_stack([np.ones(len(x)), x])
    slopes = np.vstack([np.zeros(terms), beta[:, 1:]])
    for k in range(terms):
        if np.isin(x[:, k], (0.0, 1.0)).all():
            for value, sign in ((1.0, 1.0), (0.0, -1.0)):
                other = x.copy()
                other[:, k] = value
                then = probabilities(beta, other)
                effects[:, k] += sign * then.mean(axis=0)
                gradient[:, k] += sign * _mean_gradient(then, np.column_stack([np.ones(len(x)), other]))
            continue
        weighted = chance @ slopes[:, k]
        apart = slopes[:, k] - weighted[:, None]
        effects[:, k] = (chance * apart).mean(axis=0)
        for d in range(1, classes):
            is_d = np.zeros(classes)
            is_d[d] = 1.0
            moved = chance * (is_d - chance[:, [d]])
            inner = moved * apart - chance * (chance[:, d] * apart[:, d])[:, None]
            gradient[:, k, d - 1] = inner.T @ design / len(x)
            gradient[:, k, d - 1, 1 + k] += moved.mean(axis=0)
    return effects.ravel(), gradient.reshape(classes * terms, -1)


def _mean_gradient(chance: Array, design: Array) -> Array:
    """(C, C - 1, p + 1): the gradient of the mean chance of each class."""
    classes = chance.shape[1]
    result = np.zeros((classes, classes - 1, design.shape[1]))
    for d in range(1, classes):
        is_d = np.zeros(classes)
        is_d[d] = 1.0
        result[:, d - 1] = (chance * (is_d - chance[:, [d]])).T @ design / len(design)
    return result
