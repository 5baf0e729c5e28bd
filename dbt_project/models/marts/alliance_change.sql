-- Reliable change: Jacobson & Truax (1991); the band is 1.96 standard errors of a difference, in points of the scale.
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
        officer_changed,
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
        baseline_sd,
    from {{ ref("int_scale_reliability") }}
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
    select unnest(['rci', 'half_sd']) as rule,
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
        reliability.alpha as reliability,
        case rule.rule
            when 'rci' then 1.96 * reliability.baseline_sd * sqrt(2 * (1 - reliability.alpha))
            when 'half_sd' then 0.5 * reliability.baseline_sd
        end as band,
        case when direction.is_high_bad then -score_span.difference else score_span.difference end as gain,
        score_span.officer_changed,
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
)

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
    reliability,
    band,
    case
        when gain > band then 'improving'
        when gain < -band then 'deteriorating'
        when gain is not null and band is not null then 'stable'
    end as pattern,
    officer_changed,
    person_mean,
    person_deviation,
from banded
