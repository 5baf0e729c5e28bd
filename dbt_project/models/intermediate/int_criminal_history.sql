-- Counted cases with an offence on or before the origin, those since index start included; never self-reported.
with outcome_origin as (
    -- one origin to its outcome definitions
    select
        origin.client_id,
        origin.origin_on,
        outcome.outcome_id,
        outcome.pending_counts,
        outcome.policy_dismissal_counts,
        coalesce(linkage.status = 'found', false) and origin.origin_on is not null as is_known,
    from {{ ref("int_origin") }} as origin
    inner join {{ ref("outcome") }} as outcome on origin.origin = outcome.origin and origin.entry = outcome.entry
    -- many to one
    left join {{ ref("stg_registry__linkage") }} as linkage
        on origin.client_id = linkage.national_number
),

earlier as (
    -- one origin to the offences of the client up to it
    select
        outcome_origin.client_id,
        outcome_origin.outcome_id,
        count(distinct offence.case_number) as prior_cases,
        count(distinct offence.case_number) filter (where offence.is_serious) as prior_serious_cases,
        count(distinct offence.case_number) filter (where offence.is_custodial) as prior_custodial_cases,
        count(distinct offence.case_number) filter (
            where outcome_origin.origin_on - {{ months_to_days("60") }} < offence.offence_on
        ) as prior_cases_5_years,
        min(offence.offence_on) as first_offence_on,
    from outcome_origin
    inner join {{ ref("int_offence") }} as offence
        on
            outcome_origin.client_id = offence.client_id
            and outcome_origin.origin_on >= offence.offence_on
    where {{ case_counts("offence", "outcome_origin") }}
    group by all
)

-- one to one; nobody who was not found has a history of zero cases
select
    outcome_origin.client_id,
    outcome_origin.outcome_id,
    case when outcome_origin.is_known then coalesce(earlier.prior_cases, 0) end as prior_cases,
    case when outcome_origin.is_known then coalesce(earlier.prior_serious_cases, 0) end as prior_serious_cases,
    case when outcome_origin.is_known then coalesce(earlier.prior_custodial_cases, 0) end as prior_custodial_cases,
    case when outcome_origin.is_known then coalesce(earlier.prior_cases_5_years, 0) end as prior_cases_5_years,
    case when outcome_origin.is_known then earlier.first_offence_on end as first_offence_on,
from outcome_origin
left join earlier
    on
        outcome_origin.client_id = earlier.client_id
        and outcome_origin.outcome_id = earlier.outcome_id
