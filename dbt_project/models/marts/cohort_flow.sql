with supervised as (
    select
        supervision.client_id,
        bool_or(supervision.start_on between build.enrolment_from and build.enrolment_to) as is_in_window,
    from {{ ref("int_supervision") }} as supervision
    -- one row
    cross join {{ ref("stg_platform__build") }} as build
    group by all
),

cohort as (
    select
        client_id,
        outcome_id,
        ineligible_reason,
    from {{ ref("analysis_cohort") }}
),

-- a reason that stands here is the step at which a client is lost
step as (
    select
        unnest(range(3, 10)) as step,
        unnest([
            'linked',
            'origin_reached',
            'present_at_entry',
            'followed_up',
            'not_excluded',
            'not_yet_reoffended',
            'at_risk',
        ]) as step_name,
        unnest([
            'not_linked',
            'supervision_not_ended',
            'departed_before_entry',
            'no_followup',
            'offended_before_origin',
            'offended_before_entry',
            'detained_until_exit',
        ]) as reason,
),

outcome as (
    select outcome_id,
    from {{ ref("outcome") }}
),

person as (
    -- one person to several client numbers; one to one with what they are in the study with
    select
        count(distinct client.national_number) as n_known,
        count(distinct client.national_number) filter (where supervised.is_in_window) as n_in_window,
        count(distinct index_supervision.client_id) as n_included,
    from {{ ref("stg_partner__clients") }} as client
    left join supervised on client.national_number = supervised.client_id
    left join {{ ref("int_index_supervision") }} as index_supervision
        on client.national_number = index_supervision.client_id
),

lost as (
    -- every outcome × step; one row of totals
    select
        outcome.outcome_id,
        1 as step,
        'supervised_in_enrolment_window' as step_name,
        person.n_known - person.n_in_window as n_out,
    from outcome
    cross join person
    union all
    select
        outcome.outcome_id,
        2 as step,
        'rated_at_t1' as step_name,
        person.n_in_window - person.n_included as n_out,
    from outcome
    cross join person
    union all
    select
        outcome.outcome_id,
        step.step,
        step.step_name,
        count(cohort.client_id) as n_out,
    from outcome
    cross join step
    left join cohort
        on outcome.outcome_id = cohort.outcome_id and step.reason = cohort.ineligible_reason
    group by all
),

counted as (
    -- one row of totals
    select
        lost.outcome_id,
        lost.step,
        lost.step_name,
        lost.n_out,
        person.n_known - sum(lost.n_out) over (
            partition by lost.outcome_id
            order by lost.step asc
            rows between unbounded preceding and current row
        ) as n_remaining,
    from lost
    cross join person
)

select
    outcome_id,
    cast(step as integer) as step,
    step_name,
    cast(n_remaining + n_out as integer) as n_in,
    cast(n_out as integer) as n_out,
    cast(n_remaining as integer) as n_remaining,
from counted
