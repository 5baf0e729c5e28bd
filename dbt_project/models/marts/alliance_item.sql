with item_score as (
    select
        supervision_id,
        wave,
        rater,
        scale,
        item,
        response,
        value,
    from {{ ref("int_item_score") }}
),

wave as (
    select
        supervision_id,
        client_id,
        wave,
        rater,
        dyad_id,
        instrument_version,
    from {{ ref("int_wave") }}
)

-- many to one
select
    wave.client_id,
    wave.supervision_id,
    wave.wave,
    wave.rater,
    wave.dyad_id,
    wave.instrument_version,
    item_score.scale,
    item_score.item,
    cast(item_score.response as integer) as response,
    cast(item_score.value as integer) as value,
from item_score
inner join wave
    on
        item_score.supervision_id = wave.supervision_id
        and item_score.wave = wave.wave
        and item_score.rater = wave.rater
