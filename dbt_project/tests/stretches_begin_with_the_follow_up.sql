-- The first stretch of the observation is the follow-up; the others leave no gap and come after an event.
with stretch as (
    select
        client_id,
        outcome_id,
        number,
        start_day,
        stop_day,
        event,
        days_at_risk,
        lag(stop_day) over observed as stop_day_before,
        lag(event) over observed as event_before,
    from {{ ref("followup_event") }}
    window observed as (
        partition by client_id, outcome_id
        order by number asc
    )
)

select
    followup.client_id,
    followup.outcome_id,
    stretch.number,
from {{ ref("followup") }} as followup
left join stretch on followup.client_id = stretch.client_id and followup.outcome_id = stretch.outcome_id
where
    (followup.days is null) <> (stretch.number is null)
    or stretch.stop_day <= stretch.start_day
    or stretch.days_at_risk not between 0 and stretch.stop_day - stretch.start_day
    or (
        stretch.number = 1
        and (
            stretch.start_day <> followup.entry_day
            or stretch.stop_day <> followup.exit_day
            or stretch.event <> followup.event
            or (stretch.days_at_risk <> followup.days_at_risk)
        )
    )
    or (stretch.number > 1 and (stretch.start_day <> stretch.stop_day_before or not stretch.event_before))
