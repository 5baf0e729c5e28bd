-- Between which days a client can be seen to reoffend, and why somebody is never followed.
with departure as (
    select
        national_number as client_id,
        min(departed_on) filter (where kind = 'death') as death_on,
        min(departed_on) filter (where kind = 'emigration') as emigrated_on,
    from {{ ref("stg_registry__departures") }}
    group by all
),

bounds as (
    -- many to one: outcome of its origin and entry, person searched for, departure of that person, who stopped; a build
    select
        origin.client_id,
        outcome.outcome_id,
        outcome.origin,
        outcome.level,
        outcome.pending_counts,
        outcome.policy_dismissal_counts,
        outcome.date_basis,
        case
            when outcome.detention in ('ignored', 'subtracted', 'state') then outcome.detention
            else error('an outcome definition has a treatment of detention that nobody computes')
        end as detention,
        case
            when outcome.early_offenders in ('kept', 'excluded') then outcome.early_offenders
            else error('an outcome definition has a treatment of early offenders that nobody computes')
        end as early_offenders,
        index_supervision.index_offence_group,
        origin.index_start_on,
        origin.origin_on,
        origin.entry_on,
        coalesce(linkage.status = 'found', false) as is_linked,
        origin.origin_on + {{ months_to_days("outcome.horizon_months") }} as horizon_on,
        least(
            build.registry_cutoff_on - {{ months_to_days("outcome.lag_months") }},
            stopped.known_until - {{ months_to_days("outcome.lag_months") }}
        ) as last_seen_on,
        departure.death_on,
        departure.emigrated_on,
    from {{ ref("int_origin") }} as origin
    inner join {{ ref("int_index_supervision") }} as index_supervision
        on origin.client_id = index_supervision.client_id
    inner join {{ ref("outcome") }} as outcome on origin.origin = outcome.origin and origin.entry = outcome.entry
    cross join {{ ref("stg_platform__build") }} as build
    left join {{ ref("stg_registry__linkage") }} as linkage
        on origin.client_id = linkage.national_number
    left join departure on origin.client_id = departure.client_id
    left join {{ ref("stg_platform__stopped") }} as stopped on origin.client_id = stopped.client_id
)

select
    client_id,
    outcome_id,
    origin,
    level,
    pending_counts,
    policy_dismissal_counts,
    date_basis,
    detention,
    early_offenders,
    index_offence_group,
    index_start_on,
    origin_on,
    entry_on,
    horizon_on,
    is_linked,
    case when origin_on is not null then least(death_on, emigrated_on, horizon_on, last_seen_on) end as until_on,
    case least(death_on, emigrated_on, horizon_on, last_seen_on)
        when death_on then 'death'
        when emigrated_on then 'emigration'
        when horizon_on then 'horizon'
        else 'cutoff'
    end as until_reason,
    case
        when not is_linked then 'not_linked'
        when origin_on is null then 'supervision_not_ended'
        when least(death_on, emigrated_on) <= entry_on then 'departed_before_entry'
        when least(horizon_on, last_seen_on) <= entry_on then 'no_followup'
    end as not_followed_reason,
from bounds
