-- The first new offence that counts. Committed before the origin but registered after it is not recidivism, whatever
-- the date basis.
with follow_up_window as (
    select
        client_id,
        outcome_id,
        level,
        pending_counts,
        policy_dismissal_counts,
        date_basis,
        index_offence_group,
        origin_on,
        until_on,
    from {{ ref("int_follow_up_window") }}
    where not_followed_reason is null
),

offence as (
    select
        client_id,
        offence_on,
        registered_on,
        counts,
        counted_when,
        offence_group,
        is_serious,
        is_very_serious,
        is_custodial,
    from {{ ref("int_offence") }}
),

dated as (
    -- one window to the offences of the client
    select
        follow_up_window.client_id,
        follow_up_window.outcome_id,
        follow_up_window.until_on,
        case follow_up_window.date_basis
            when 'offence' then offence.offence_on
            when 'registration' then offence.registered_on
            else error('an outcome definition has a date basis that nobody computes')
        end as event_on,
    from follow_up_window
    inner join offence on follow_up_window.client_id = offence.client_id
    where
        offence.offence_on > follow_up_window.origin_on
        and {{ case_counts("offence", "follow_up_window") }}
        and {{ is_of_level("offence", "follow_up_window") }}
)

select
    client_id,
    outcome_id,
    min(event_on) as event_on,
from dated
where event_on <= until_on
group by all
