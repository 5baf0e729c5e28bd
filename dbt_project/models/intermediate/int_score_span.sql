-- The pair of scores that a change is read from: T1 and T2, or T1 and the last wave that gave a score.
with wave_plan as (
    select
        wave,
        nominal_month,
    from {{ ref("wave_plan") }}
),

span as (
    select
        'T1-T2' as span,
        wave,
        nominal_month,
    from wave_plan
    where wave in ('T1', 'T2')
    union all
    select
        'T1-last' as span,
        wave,
        nominal_month,
    from wave_plan
),

spans as (
    select distinct span,
    from span
),

scale as (
    select distinct
        rater,
        scale,
    from {{ ref("instrument_scale") }}
),

score as (
    select
        supervision_id,
        client_id,
        wave,
        rater,
        scale,
        form,
        score,
        measured_on,
        rated_officer_id,
        {{ in_millionths("score") }} as score_millionths,
        cast(measured_on - date '2000-01-01' as bigint) as measured_at,
    from {{ ref("int_scale_score") }}
    where score is not null
),

grid as (
    -- every index supervision × rater × scale × span
    select
        index_supervision.supervision_id,
        index_supervision.client_id,
        scale.rater,
        scale.scale,
        spans.span,
    from {{ ref("int_index_supervision") }} as index_supervision
    cross join scale
    cross join spans
),

pair as (
    -- one score to the spans of its wave; what is not known of the last rating is not taken from the one before it
    select
        score.supervision_id,
        score.rater,
        score.scale,
        span.span,
        max(score.score) filter (where score.wave = 'T1') as baseline,
        max(score.form) filter (where score.wave = 'T1') as baseline_form,
        max(score.measured_on) filter (where score.wave = 'T1') as baseline_on,
        max(score.rated_officer_id) filter (where score.wave = 'T1') as baseline_officer_id,
        arg_max_null(score.form, span.nominal_month) filter (where score.wave <> 'T1') as last_form,
        arg_max(score.score, span.nominal_month) filter (where score.wave <> 'T1') as last,
        arg_max_null(score.measured_on, span.nominal_month) filter (where score.wave <> 'T1') as last_on,
        arg_max_null(score.rated_officer_id, span.nominal_month) filter (where score.wave <> 'T1') as last_officer_id,
        cast(sum(score.score_millionths) as double) / count(*) / 1000000 as person_mean,
        cast(count(score.measured_at) as hugeint) as n_dated,
        -- n × (sum of squares of time), n × (sum of products of time and score), in exact arithmetic
        {{ scaled_squares("score.measured_at") }} as time_squares,
        count(score.measured_at) * sum(cast(score.measured_at as hugeint) * score.score_millionths)
        - sum(score.measured_at) * sum(score.score_millionths) filter (where score.measured_at is not null)
            as time_score_products,
    from score
    inner join span on score.wave = span.wave
    group by all
),

-- officers who took over between the two ratings, also one who came and went; the first of them
takeover as (
    -- one pair to several dyads
    select
        pair.supervision_id,
        pair.rater,
        pair.scale,
        pair.span,
        min(dyad.start_on) as taken_over_on,
    from pair
    inner join {{ ref("int_dyad") }} as dyad
        on
            pair.supervision_id = dyad.supervision_id
            and pair.baseline_on < dyad.start_on
            and pair.last_on >= dyad.start_on
            and pair.baseline_officer_id <> dyad.officer_id
    group by all
),

officer_change as (
    select
        supervision_id,
        changed_on,
        arg_min_null(reason, sequence) as reason,
    from {{ ref("int_officer_change") }}
    group by all
)

-- one to one; many to one change of officer on that day, of several the first
select
    grid.supervision_id,
    grid.client_id,
    grid.rater,
    grid.scale,
    grid.span,
    pair.baseline,
    pair.baseline_form,
    pair.last,
    pair.last - pair.baseline as difference,
    case
        when pair.baseline is null or pair.last is null then null
        when takeover.supervision_id is not null then true
        else pair.baseline_officer_id <> pair.last_officer_id
    end as officer_changed,
    case when pair.baseline is not null and pair.last is not null then takeover.taken_over_on end
        as taken_over_on,
    case when pair.baseline is not null and pair.last is not null then officer_change.reason end as takeover_reason,
    case when pair.baseline is not null and pair.last is not null then pair.baseline_form <> pair.last_form end
        as instrument_changed,
    pair.person_mean,
    pair.last - pair.person_mean as person_deviation,
    case
        when pair.baseline is not null and pair.last is not null and pair.time_squares > 0
            then
                cast(pair.time_score_products as double)
                / cast(pair.time_squares as double)
                * {{ days_between("pair.baseline_on", "pair.last_on") }}
                / 1000000
    end as fitted_difference,
    -- the standard error of the fitted difference, in standard errors of measurement; of two ratings it is the root of
    -- 2
    case
        when pair.baseline is not null and pair.last is not null and pair.time_squares > 0
            then
                {{ days_between("pair.baseline_on", "pair.last_on") }}
                * sqrt(cast(pair.n_dated as double) / cast(pair.time_squares as double))
    end as fitted_difference_errors,
from grid
left join pair
    on
        grid.supervision_id = pair.supervision_id
        and grid.rater = pair.rater
        and grid.scale = pair.scale
        and grid.span = pair.span
left join takeover
    on
        grid.supervision_id = takeover.supervision_id
        and grid.rater = takeover.rater
        and grid.scale = takeover.scale
        and grid.span = takeover.span
left join officer_change
    on takeover.supervision_id = officer_change.supervision_id and takeover.taken_over_on = officer_change.changed_on
