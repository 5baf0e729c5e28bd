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

-- definitions that share an origin, and what counts, share a history
asked as (
    select distinct
        client_id,
        origin_on,
        pending_counts,
        policy_dismissal_counts,
    from outcome_origin
    where is_known
),

-- a case is counted once: at its first offence, its first serious one, or, among the last five years, its last one
offence as (
    select
        client_id,
        offence_on,
        counts,
        counted_when,
        is_custodial,
        row_number() over of_case = 1 as is_first_of_case,
        is_serious and row_number() over (
            partition by case_number, is_serious
            order by offence_on asc, offence_number asc
        ) = 1 as is_first_serious_of_case,
        lead(offence_on) over of_case as next_of_case_on,
    from {{ ref("int_offence") }}
    window of_case as (
        partition by case_number
        order by offence_on asc, offence_number asc
    )
),

earlier as (
    -- one origin to the offences of the client up to it
    select
        asked.client_id,
        asked.origin_on,
        asked.pending_counts,
        asked.policy_dismissal_counts,
        count(*) filter (where offence.is_first_of_case) as prior_cases,
        count(*) filter (where offence.is_first_serious_of_case) as prior_serious_cases,
        count(*) filter (where offence.is_first_of_case and offence.is_custodial) as prior_custodial_cases,
        count(*) filter (
            where
            asked.origin_on - {{ months_to_days("60") }} < offence.offence_on
            and (offence.next_of_case_on is null or asked.origin_on < offence.next_of_case_on)
        ) as prior_cases_5_years,
        min(offence.offence_on) as first_offence_on,
    from asked
    inner join offence
        on
            asked.client_id = offence.client_id
            and asked.origin_on >= offence.offence_on
    where {{ case_counts("offence", "asked") }}
    group by all
)

-- one to one with the outcome, many to one history; nobody who was not found has a history of zero cases
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
        and outcome_origin.origin_on = earlier.origin_on
        and outcome_origin.pending_counts = earlier.pending_counts
        and outcome_origin.policy_dismissal_counts = earlier.policy_dismissal_counts
