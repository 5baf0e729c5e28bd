-- What was known of the scales from each day on which one was measured: the latest score of each. Those that the client
-- rated carry the name of the scale, those of the officer the rater before it.
with score as (
    select
        client_id,
        measured_on,
        wave,
        case when rater = 'client' then scale else rater || '_' || scale end as name,
        score,
    from {{ ref("int_scale_score") }}
    where score is not null and measured_on is not null
),

by_day as (
    select
        client_id,
        measured_on,
        arg_max(score, wave) filter (where name = 'bond') as bond,
        arg_max(score, wave) filter (where name = 'trust') as trust,
        arg_max(score, wave) filter (where name = 'goals_restrictions') as goals_restrictions,
        arg_max(score, wave) filter (where name = 'reactance') as reactance,
        arg_max(score, wave) filter (where name = 'officer_bond') as officer_bond,
        arg_max(score, wave) filter (where name = 'officer_trust') as officer_trust,
        arg_max(score, wave) filter (where name = 'officer_goals_restrictions') as officer_goals_restrictions,
        arg_max(score, wave) filter (where name = 'officer_reactance') as officer_reactance,
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
    last_value(officer_bond ignore nulls) over until_then as officer_bond,
    last_value(officer_trust ignore nulls) over until_then as officer_trust,
    last_value(officer_goals_restrictions ignore nulls) over until_then as officer_goals_restrictions,
    last_value(officer_reactance ignore nulls) over until_then as officer_reactance,
from by_day
window until_then as (
    partition by client_id
    order by measured_on asc
    rows between unbounded preceding and current row
)
