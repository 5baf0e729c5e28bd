-- What was known of the client-rated scales from each day on which one was measured: the latest score of each.
with score as (
    select
        client_id,
        measured_on,
        wave,
        scale,
        score,
    from {{ ref("int_scale_score") }}
    where rater = 'client' and score is not null and measured_on is not null
),

by_day as (
    select
        client_id,
        measured_on,
        arg_max(score, wave) filter (where scale = 'bond') as bond,
        arg_max(score, wave) filter (where scale = 'trust') as trust,
        arg_max(score, wave) filter (where scale = 'goals_restrictions') as goals_restrictions,
        arg_max(score, wave) filter (where scale = 'reactance') as reactance,
    from score
    group by all
)

select
    client_id,
    measured_on as known_from_on,
    last_value(bond ignore nulls) over until_then as bond,
    last_value(trust ignore nulls) over until_then as trust,
    last_value(goals_restrictions ignore nulls) over until_then as goals_restrictions,
    last_value(reactance ignore nulls) over until_then as reactance,
from by_day
window until_then as (
    partition by client_id
    order by measured_on asc
    rows between unbounded preceding and current row
)
