-- The whole observation, cut at every event: it does not end at the first, as followup does. A spell in detention holds
-- the days from its start up to, not including, the day of release.
with followed as (
    -- one to one
    select
        followup.client_id,
        followup.outcome_id,
        followup.detention,
        followup.index_start_on,
        followup.entry_on,
        follow_up_window.until_on,
    from {{ ref("int_followup") }} as followup
    inner join {{ ref("int_follow_up_window") }} as follow_up_window
        on
            followup.client_id = follow_up_window.client_id
            and followup.outcome_id = follow_up_window.outcome_id
    where followup.exit_on is not null
),

ended as (
    select
        client_id,
        outcome_id,
        event_on as stop_on,
        true as event,
    from {{ ref("int_event") }}
    union all
    -- one to one, where no event is on the last day
    select
        followed.client_id,
        followed.outcome_id,
        followed.until_on as stop_on,
        false as event,
    from followed
    left join {{ ref("int_event") }} as event_on_the_last_day
        on
            followed.client_id = event_on_the_last_day.client_id
            and followed.outcome_id = event_on_the_last_day.outcome_id
            and followed.until_on = event_on_the_last_day.event_on
    where event_on_the_last_day.client_id is null
),

stretch as (
    -- many to one
    select
        followed.client_id,
        followed.outcome_id,
        followed.detention,
        followed.index_start_on,
        coalesce(lag(ended.stop_on) over observed, followed.entry_on) as start_on,
        ended.stop_on,
        ended.event,
        cast(row_number() over observed as integer) as number,
    from ended
    inner join followed
        on ended.client_id = followed.client_id and ended.outcome_id = followed.outcome_id
    window observed as (
        partition by ended.client_id, ended.outcome_id
        order by ended.stop_on asc
    )
),

detained as (
    -- one stretch to several spells, which do not overlap each other
    select
        stretch.client_id,
        stretch.outcome_id,
        stretch.number,
        cast(sum(
            least(coalesce(spell.end_on, {{ open_end() }}), stretch.stop_on)
            - greatest(spell.start_on, stretch.start_on)
        ) as integer) as detention_days,
    from stretch
    inner join {{ ref("int_detention") }} as spell
        on
            stretch.client_id = spell.client_id
            and stretch.stop_on > spell.start_on
            and stretch.start_on < coalesce(spell.end_on, {{ open_end() }})
    where stretch.detention <> 'ignored'
    group by all
)

-- one to one
select
    stretch.client_id,
    stretch.outcome_id,
    stretch.number,
    {{ days_between("stretch.index_start_on", "stretch.start_on") }} as start_day,
    {{ days_between("stretch.index_start_on", "stretch.stop_on") }} as stop_day,
    stretch.event,
    {{ days_between("stretch.start_on", "stretch.stop_on") }} - coalesce(detained.detention_days, 0) as days_at_risk,
from stretch
left join detained
    on
        stretch.client_id = detained.client_id
        and stretch.outcome_id = detained.outcome_id
        and stretch.number = detained.number
