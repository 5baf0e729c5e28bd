-- Each step takes what the one before left, and the last leaves those who are analysed.
with eligible as (
    select
        outcome_id,
        count(*) as n_eligible,
    from {{ ref("analysis_cohort") }}
    where is_eligible
    group by all
),

flow as (
    select
        outcome_id,
        n_in,
        n_out,
        n_remaining,
        lag(n_remaining) over (partition by outcome_id order by step) as n_before,
        lead(n_remaining) over (partition by outcome_id order by step) is null as is_last,
    from {{ ref("cohort_flow") }}
)

select
    flow.outcome_id,
    flow.n_in,
from flow
left join eligible on flow.outcome_id = eligible.outcome_id
where
    flow.n_in <> flow.n_before
    or flow.n_in - flow.n_out <> flow.n_remaining
    or (flow.is_last and flow.n_remaining <> coalesce(eligible.n_eligible, 0))
