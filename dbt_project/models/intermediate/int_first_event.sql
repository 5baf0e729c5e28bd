-- The first new offence that counts, and whether there was one between index start and the origin. Committed by the
-- origin and registered after it is history, whatever the date basis.
with follow_up_window as (
    select
        client_id,
        outcome_id,
        level,
        pending_counts,
        policy_dismissal_counts,
        date_basis,
        index_offence_group,
        index_start_on,
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
        follow_up_window.origin_on,
        follow_up_window.until_on,
        offence.offence_on,
        {{ counts_on("offence", "follow_up_window") }} as event_on,
    from follow_up_window
    inner join offence on follow_up_window.client_id = offence.client_id
    where
        offence.offence_on > follow_up_window.index_start_on
        and {{ case_counts("offence", "follow_up_window") }}
        and {{ is_of_level("offence", "follow_up_window") }}
),

found as (
    select
        client_id,
        outcome_id,
        min(event_on) filter (where offence_on > origin_on and event_on > origin_on and event_on <= until_on)
            as event_on,
        bool_or(offence_on <= origin_on) as offended_before_origin,
    from dated
    group by all
)

select
    client_id,
    outcome_id,
    event_on,
    offended_before_origin,
from found
where event_on is not null or offended_before_origin
