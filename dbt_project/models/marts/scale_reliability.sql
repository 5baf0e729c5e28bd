select
    wave,
    rater,
    scale,
    form,
    n_complete,
    alpha,
    omega,
    n_scores,
    score_sd,
from {{ ref("int_scale_reliability") }}
