-- Nobody is followed past the day up to which the registry can be trusted, past the horizon, or past a departure.
select
    followup.client_id,
    followup.outcome_id,
from {{ ref("int_followup") }} as followup
inner join {{ ref("outcome") }} as outcome on followup.outcome_id = outcome.outcome_id
cross join {{ ref("stg_platform__build") }} as build
left join {{ ref("stg_registry__departures") }} as departure on followup.client_id = departure.national_number
where
    followup.exit_on > build.registry_cutoff_on - {{ months_to_days("outcome.lag_months") }}
    or followup.days > {{ months_to_days("outcome.horizon_months") }}
    or followup.exit_on > departure.departed_on
