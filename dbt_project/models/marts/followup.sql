select
    client_id,
    outcome_id,
    {{ days_between("index_start_on", "origin_on") }} as origin_day,
    {{ days_between("index_start_on", "entry_on") }} as entry_day,
    {{ days_between("index_start_on", "exit_on") }} as exit_day,
    days,
    days_at_risk,
    event,
    exit_reason,
    detention_days,
    censored_days,
    maturity,
from {{ ref("int_followup") }}
