{%- set raters = ["client", "officer"] %}
{%- set scales = ["bond", "trust", "goals_restrictions", "reactance"] %}
with followup as (
    select
        client_id,
        outcome_id,
        days_at_risk,
        event,
        exit_reason,
        ineligible_reason,
        entry_days_at_risk,
        {{ days_between("index_start_on", "origin_on") }} as origin_day,
    from {{ ref("int_followup") }}
),

outcome as (
    select
        outcome_id,
        origin,
        entry,
    from {{ ref("outcome") }}
),

client as (
    select
        client_id,
        organisation,
        sex,
        birth_year,
        ethnicity,
        index_offence_group,
        -- the middle of the quarter in which supervision started, in years: an exact age would give the date away
        cast(left(start_quarter, 4) as integer) + (cast(right(start_quarter, 1) as integer) - 0.5) / 4 as started_in,
    from {{ ref("client") }}
)

-- one to one by client × outcome (follow-up, criminal history) and by client × origin × entry (all that is known at the
-- entry)
select
    followup.client_id,
    followup.outcome_id,
    client.organisation,
    officer.officer_id,
    followup.ineligible_reason is null as is_eligible,
    followup.ineligible_reason,
    cast(coalesce(followup.entry_days_at_risk, 0) as double) as entry_days,
    cast(followup.entry_days_at_risk + followup.days_at_risk as double) as duration_days,
    followup.event,
    followup.exit_reason,
    {%- for rater in raters %}
    {%- for scale in scales %}
    {%- for wave in ["t1", "t2"] %}
    score.{{ rater }}_{{ scale }}_{{ wave }},
    {%- endfor %}
    score.{{ rater }}_{{ scale }}_t2 - score.{{ rater }}_{{ scale }}_t1 as {{ rater }}_{{ scale }}_state,
    {%- endfor %}
    {%- endfor %}
    cast(client.started_in + followup.origin_day / 365.25 - (client.birth_year + 0.5) as double) as age_at_origin,
    client.sex = 'male' as is_male,
    client.ethnicity = 'non_western' as is_non_western,
    cast(history.prior_cases as integer) as prior_cases,
    cast(history.prior_serious_cases as integer) as prior_serious_cases,
    cast(history.prior_custodial_cases as integer) as prior_custodial_cases,
    cast(history.prior_cases_5_years as integer) as prior_cases_5_years,
    cast(year(history.first_offence_on) - client.birth_year as double) as age_at_first_case,
    covariate.employment,
    covariate.partner,
    covariate.addiction,
    covariate.motivation,
    covariate.risc_total,
    covariate.risc_level,
    officer.rule_orientation as officer_rule_orientation,
    officer.experience_years as officer_experience_years,
    officer.officer_changed_before_origin,
    covariate.supervision_level,
    client.index_offence_group,
from followup
inner join outcome on followup.outcome_id = outcome.outcome_id
inner join client on followup.client_id = client.client_id
inner join {{ ref("int_criminal_history") }} as history
    on followup.client_id = history.client_id and followup.outcome_id = history.outcome_id
inner join {{ ref("int_score_at_origin") }} as score
    on followup.client_id = score.client_id and outcome.origin = score.origin and outcome.entry = score.entry
inner join {{ ref("int_covariate_at_origin") }} as covariate
    on
        followup.client_id = covariate.client_id
        and outcome.origin = covariate.origin
        and outcome.entry = covariate.entry
inner join {{ ref("int_officer_at_origin") }} as officer
    on followup.client_id = officer.client_id and outcome.origin = officer.origin and outcome.entry = officer.entry
