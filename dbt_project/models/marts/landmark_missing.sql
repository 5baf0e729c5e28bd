-- Attrition at the landmark beside what became of people: of those who are analysed, who was rated at T2 by the time
-- they came under observation, and why the others were not.
with cohort as (
    select
        cohort.client_id,
        cohort.outcome_id,
        cohort.event,
        followup.entry_on,
    from {{ ref("analysis_cohort") }} as cohort
    -- one to one
    inner join {{ ref("int_followup") }} as followup
        on cohort.client_id = followup.client_id and cohort.outcome_id = followup.outcome_id
    where cohort.is_eligible
),

rater as (
    select unnest(['client', 'officer']) as rater,
),

wave as (
    select
        client_id,
        rater,
        status,
        measured_on,
    from {{ ref("int_wave") }}
    where wave = 'T2'
)

-- every client × rater; one to one
select
    cohort.outcome_id,
    rater.rater,
    case
        when wave.status = 'done' and wave.measured_on <= cohort.entry_on then 'rated'
        when wave.status = 'done' then 'rated_later'
        else coalesce(wave.status, 'not_recorded')
    end as rating_at_t2,
    cohort.event,
    cast(count(*) as integer) as n,
from cohort
cross join rater
left join wave on cohort.client_id = wave.client_id and rater.rater = wave.rater
group by all
