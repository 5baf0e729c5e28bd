-- How follow-up ended, and how many of its days were spent at risk. A spell in detention holds the days from its start
-- up to, not including, the day of release.
with looked_at as (
    -- one to one
    select
        follow_up_window.client_id,
        follow_up_window.outcome_id,
        follow_up_window.detention,
        follow_up_window.index_start_on,
        follow_up_window.origin_on,
        follow_up_window.entry_on,
        follow_up_window.horizon_on,
        follow_up_window.until_on,
        follow_up_window.until_reason,
        first_event.event_on,
        case
            when follow_up_window.not_followed_reason is not null then follow_up_window.not_followed_reason
            when follow_up_window.early_offenders = 'excluded' and first_event.offended_before_origin
                then 'offended_before_origin'
            when first_event.event_on <= follow_up_window.entry_on then 'offended_before_entry'
        end as not_followed_reason,
    from {{ ref("int_follow_up_window") }} as follow_up_window
    left join {{ ref("int_first_event") }} as first_event
        on
            follow_up_window.client_id = first_event.client_id
            and follow_up_window.outcome_id = first_event.outcome_id
),

follow_up as (
    select
        client_id,
        outcome_id,
        detention,
        index_start_on,
        origin_on,
        entry_on,
        horizon_on,
        until_reason,
        event_on,
        not_followed_reason,
        case when not_followed_reason is null then coalesce(event_on, until_on) end as exit_on,
    from looked_at
),

detained as (
    -- one follow-up to several spells, which do not overlap each other
    select
        follow_up.client_id,
        follow_up.outcome_id,
        cast(sum(
            greatest(
                0,
                least(coalesce(spell.end_on, {{ open_end() }}), follow_up.exit_on)
                - greatest(spell.start_on, follow_up.entry_on)
            )
        ) as integer) as detention_days,
        cast(sum(
            greatest(
                0,
                least(coalesce(spell.end_on, {{ open_end() }}), follow_up.entry_on)
                - greatest(spell.start_on, follow_up.origin_on)
            )
        ) as integer) as detention_days_before_entry,
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
        follow_up.entry_on,
        follow_up.exit_on,
        follow_up.event_on,
        follow_up.until_reason,
        follow_up.not_followed_reason,
        {{ days_between("follow_up.entry_on", "follow_up.exit_on") }} as days,
        case when follow_up.exit_on is not null then coalesce(detained.detention_days, 0) end as detention_days,
        case
            when follow_up.exit_on is not null
                then
                    {{ days_between("follow_up.origin_on", "follow_up.entry_on") }}
                    - coalesce(detained.detention_days_before_entry, 0)
        end as entry_days_at_risk,
        case
            when follow_up.exit_on is not null then {{ days_between("follow_up.exit_on", "follow_up.horizon_on") }}
        end as censored_days,
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
    entry_on,
    exit_on,
    days,
    detention_days,
    entry_days_at_risk,
    censored_days,
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
