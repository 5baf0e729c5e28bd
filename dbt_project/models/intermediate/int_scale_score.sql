-- Items to scores, by the rules of the instrument version that was used; without enough valid items there is no score.
with wave as (
    select
        supervision_id,
        client_id,
        wave,
        rater,
        measured_on,
        dyad_id,
        rated_officer_id,
        instrument_version,
    from {{ ref("int_wave") }}
    where status = 'done'
),

scale as (
    select distinct
        rater,
        scale,
    from {{ ref("instrument_scale") }}
),

-- `form` names the set of items: versions that ask the same items are one form
form as (
    select
        version,
        rater,
        scale,
        cast(count(*) as integer) as n_items,
        string_agg(item, ' ' order by item) as form,
        min(response_min) as response_min,
        max(response_max) as response_max,
    from {{ ref("instrument_item") }}
    group by all
),

scoring as (
    -- one to one
    select
        form.version,
        form.rater,
        form.scale,
        form.n_items,
        form.form,
        form.response_min,
        form.response_max,
        instrument_scale.scoring_rule,
        instrument_scale.min_valid_items,
        instrument_scale.is_high_bad,
    from form
    inner join {{ ref("instrument_scale") }} as instrument_scale
        on
            form.version = instrument_scale.version
            and form.rater = instrument_scale.rater
            and form.scale = instrument_scale.scale
),

answered as (
    select
        supervision_id,
        wave,
        rater,
        scale,
        cast(count(*) as integer) as n_valid_items,
        cast(sum(value) as bigint) as total,
        list(value order by item asc) as item_values,
    from {{ ref("int_item_score") }}
    group by all
),

scored as (
    -- one wave to the scales of its rater; one to one with the answers
    select
        wave.supervision_id,
        wave.client_id,
        wave.wave,
        wave.rater,
        scale.scale,
        wave.measured_on,
        wave.dyad_id,
        wave.rated_officer_id,
        wave.instrument_version,
        scoring.form,
        scoring.n_items,
        scoring.scoring_rule,
        scoring.response_min,
        scoring.response_max,
        scoring.is_high_bad,
        coalesce(answered.n_valid_items, 0) as n_valid_items,
        answered.total,
        answered.item_values,
        case
            when answered.n_valid_items < scoring.min_valid_items then null
            when scoring.scoring_rule = 'mean' then cast(answered.total as double) / answered.n_valid_items
            when scoring.scoring_rule = 'sum'
                then cast(answered.total * scoring.n_items as double) / answered.n_valid_items
        end as score,
    from wave
    inner join scale on wave.rater = scale.rater
    left join scoring
        on
            wave.instrument_version = scoring.version
            and scale.rater = scoring.rater
            and scale.scale = scoring.scale
    left join answered
        on
            wave.supervision_id = answered.supervision_id
            and wave.wave = answered.wave
            and wave.rater = answered.rater
            and scale.scale = answered.scale
)

select
    supervision_id,
    client_id,
    wave,
    rater,
    scale,
    measured_on,
    dyad_id,
    rated_officer_id,
    instrument_version,
    form,
    n_items,
    n_valid_items,
    total,
    -- complete answers, in the order of the names of their items
    case when n_valid_items = n_items then item_values end as item_values,
    score,
    -- a high score is a good alliance on every scale: reactance is turned
    case
        when not is_high_bad then score
        when scoring_rule = 'mean' then response_min + response_max - score
        when scoring_rule = 'sum' then n_items * (response_min + response_max) - score
    end as harmonised_score,
from scored
