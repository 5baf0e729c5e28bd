select
    outcome_id,
    version,
    role,
    level,
    origin,
    horizon_months,
    lag_months,
    pending_counts,
    policy_dismissal_counts,
    date_basis,
    detention,
from {{ ref("outcome") }}
