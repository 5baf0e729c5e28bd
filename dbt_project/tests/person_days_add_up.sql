-- At risk, detained and censored together are the calendar from entry to horizon; at risk and detained are those of the
-- follow-up, in one row and over its intervals, which leave no gap.
with interval_sum as (
    select
        client_id,
        outcome_id,
        min(start_day) as first_day,
        max(stop_day) as last_day,
        sum(stop_day - start_day) as days,
        coalesce(sum(stop_day - start_day) filter (where state = 'at_risk'), 0) as days_at_risk,
        count(*) filter (where event) as events,
        bool_or(stop_day <= start_day) as is_empty,
    from {{ ref("followup_interval") }}
    group by all
)

select
    followup.client_id,
    followup.outcome_id,
from {{ ref("followup") }} as followup
inner join {{ ref("outcome") }} as outcome on followup.outcome_id = outcome.outcome_id
left join interval_sum
    on followup.client_id = interval_sum.client_id and followup.outcome_id = interval_sum.outcome_id
where
    followup.days <> followup.exit_day - followup.entry_day
    or followup.origin_day + {{ months_to_days("outcome.horizon_months") }} - followup.entry_day
    <> followup.days_at_risk + followup.detention_days + followup.censored_days
    or followup.censored_days < 0
    or followup.days <> followup.days_at_risk + followup.detention_days
    or followup.days < 1
    or followup.days_at_risk < 0
    or followup.detention_days < 0
    or (followup.days is null) <> (interval_sum.days is null)
    or (followup.days is null) <> (followup.event is null)
    or interval_sum.is_empty
    or interval_sum.first_day <> followup.entry_day - followup.origin_day
    or interval_sum.last_day <> followup.exit_day - followup.origin_day
    or interval_sum.days <> followup.days
    or interval_sum.days_at_risk <> followup.days_at_risk
    or interval_sum.events <> cast(followup.event as integer)
