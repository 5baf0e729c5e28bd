-- Three rules. rci: reliable change (Jacobson & Truax 1991), the band is 1.96 standard errors of a difference. half_sd:
-- half a standard deviation at T1. slope: the change over the span by the least-squares line through every rating in
-- it, against 1.96 of its standard errors when all scatter is error of measurement; with two ratings it is the reliable
-- change.
with score_span as (
    select
        supervision_id,
        client_id,
        rater,
        scale,
        span,
        baseline,
        baseline_form,
        last,
        difference,
        fitted_difference,
        fitted_difference_errors,
        officer_changed,
        taken_over_on,
        takeover_reason,
        instrument_changed,
        person_mean,
        person_deviation,
    from {{ ref("int_score_span") }}
),

reliability as (
    select
        rater,
        scale,
        form,
        alpha,
        score_sd as baseline_sd,
    from {{ ref("int_scale_reliability") }}
    where wave = 'T1'
),

direction as (
    select
        rater,
        scale,
        bool_or(is_high_bad) as is_high_bad,
    from {{ ref("instrument_scale") }}
    group by all
),

rule as (
    select unnest(['rci', 'half_sd', 'slope']) as rule,
),

banded as (
    -- one pair of scores to the two rules; many to one reliability and direction
    select
        score_span.client_id,
        score_span.supervision_id,
        score_span.rater,
        score_span.scale,
        score_span.span,
        rule.rule,
        score_span.baseline,
        score_span.last,
        score_span.difference,
        case when rule.rule = 'slope' then score_span.fitted_difference else score_span.difference end as judged_change,
        reliability.alpha as reliability,
        case rule.rule
            when 'rci' then 1.96 * reliability.baseline_sd * sqrt(2 * (1 - reliability.alpha))
            when 'half_sd' then 0.5 * reliability.baseline_sd
            when 'slope'
                then
                    1.96
                    * reliability.baseline_sd
                    * sqrt(1 - reliability.alpha)
                    * score_span.fitted_difference_errors
        end as band,
        direction.is_high_bad,
        score_span.officer_changed,
        score_span.taken_over_on,
        score_span.takeover_reason,
        score_span.instrument_changed,
        score_span.person_mean,
        score_span.person_deviation,
    from score_span
    cross join rule
    inner join direction
        on score_span.rater = direction.rater and score_span.scale = direction.scale
    left join reliability
        on
            score_span.rater = reliability.rater
            and score_span.scale = reliability.scale
            and score_span.baseline_form = reliability.form
),

judged as (
    select
        client_id,
        supervision_id,
        rater,
        scale,
        span,
        rule,
        baseline,
        last,
        difference,
        judged_change,
        reliability,
        band,
        officer_changed,
        taken_over_on,
        takeover_reason,
        instrument_changed,
        person_mean,
        person_deviation,
        case when is_high_bad then -judged_change else judged_change end as gain,
    from banded
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    judged.client_id,
    judged.supervision_id,
    judged.rater,
    judged.scale,
    judged.span,
    judged.rule,
    judged.baseline,
    judged.last,
    judged.difference,
    judged.judged_change,
    judged.reliability,
    judged.band,
    case
        when judged.gain > judged.band then 'improving'
        when judged.gain < -judged.band then 'deteriorating'
        when judged.gain is not null and judged.band is not null then 'stable'
    end as pattern,
    judged.officer_changed,
    {{ days_between("index_supervision.start_on", "judged.taken_over_on") }} as officer_changed_day,
    judged.takeover_reason as officer_change_reason,
    judged.instrument_changed,
    judged.person_mean,
    judged.person_deviation,
from judged
inner join index_supervision on judged.supervision_id = index_supervision.supervision_id
