-- Every day of the observation on which an offence that counts was committed, or registered where the date basis says
-- so; several offences on a day are one event. The first is that of int_first_event.
with followed as (
    -- one to one
    select
        followup.client_id,
        followup.outcome_id,
        followup.origin_on,
        followup.entry_on,
        follow_up_window.level,
        follow_up_window.pending_counts,
        follow_up_window.policy_dismissal_counts,
        follow_up_window.date_basis,
        follow_up_window.index_offence_group,
        follow_up_window.until_on,
    from {{ ref("int_followup") }} as followup
    inner join {{ ref("int_follow_up_window") }} as follow_up_window
        on
            followup.client_id = follow_up_window.client_id
            and followup.outcome_id = follow_up_window.outcome_id
    where followup.exit_on is not null
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
    -- one follow-up to the offences of the client
    select
        followed.client_id,
        followed.outcome_id,
        followed.entry_on,
        followed.until_on,
        {{ counts_on("offence", "followed") }} as event_on,
    from followed
    inner join offence on followed.client_id = offence.client_id
    where
        offence.offence_on > followed.origin_on
        and {{ case_counts("offence", "followed") }}
        and {{ is_of_level("offence", "followed") }}
)

select distinct
    client_id,
    outcome_id,
    event_on,
from dated
where event_on > entry_on and event_on <= until_on
