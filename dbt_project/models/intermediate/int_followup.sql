-- How follow-up ended, and how many of its days were spent at risk. A spell in detention holds the days from its start
-- up to, not including, the day of release.
with follow_up as (
    -- one to one
    select
        follow_up_window.client_id,
        follow_up_window.outcome_id,
        follow_up_window.detention,
        follow_up_window.index_start_on,
        follow_up_window.origin_on,
        follow_up_window.until_reason,
        follow_up_window.not_followed_reason,
        first_event.event_on,
        case
            when follow_up_window.not_followed_reason is null
                then coalesce(first_event.event_on, follow_up_window.until_on)
        end as exit_on,
    from {{ ref("int_follow_up_window") }} as follow_up_window
    left join {{ ref("int_first_event") }} as first_event
        on
            follow_up_window.client_id = first_event.client_id
            and follow_up_window.outcome_id = first_event.outcome_id
),

detained as (
    -- one follow-up to several spells, which do not overlap each other
    select
        follow_up.client_id,
        follow_up.outcome_id,
        cast(sum(
            least(coalesce(spell.end_on, {{ open_end() }}), follow_up.exit_on)
            - greatest(spell.start_on, follow_up.origin_on)
        ) as integer) as detention_days,
    from follow_up
    inner join {{ ref("int_detention") }} as spell
        on
            follow_up.client_id = spell.client_id
            and follow_up.exit_on > spell.start_on
            and follow_up.origin_on < coalesce(spell.end_on, {{ open_end() }})
    where follow_up.detention <> 'ignored'
    group by all
),

counted as (
    -- one to one
    select
        follow_up.client_id,
        follow_up.outcome_id,
        follow_up.detention,
        follow_up.index_start_on,
        follow_up.origin_on,
        follow_up.exit_on,
        follow_up.event_on,
        follow_up.until_reason,
        follow_up.not_followed_reason,
        {{ days_between("follow_up.origin_on", "follow_up.exit_on") }} as days,
        case when follow_up.exit_on is not null then coalesce(detained.detention_days, 0) end as detention_days,
    from follow_up
    left join detained
        on follow_up.client_id = detained.client_id and follow_up.outcome_id = detained.outcome_id
)

select
    client_id,
    outcome_id,
    detention,
    index_start_on,
    origin_on,
    exit_on,
    days,
    detention_days,
    days - detention_days as days_at_risk,
    case when not_followed_reason is null then event_on is not null end as event,
    case
        when not_followed_reason = 'not_linked' then 'not_linked'
        when not_followed_reason is not null then null
        when event_on is not null then 'event'
        else until_reason
    end as exit_reason,
    case
        when not_followed_reason is null and (event_on is not null or until_reason <> 'cutoff') then 'final'
        else 'provisional'
    end as maturity,
    case
        when not_followed_reason is not null then not_followed_reason
        when days = detention_days then 'detained_until_exit'
    end as ineligible_reason,
from counted
