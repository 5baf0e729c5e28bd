-- Answers to items, reversed ones turned, of ratings that were done.
with wave as (
    select
        supervision_id,
        wave,
        rater,
        instrument_version,
    from {{ ref("int_wave") }}
    where status = 'done'
),

response as (
    select
        supervision_number as supervision_id,
        wave,
        rater,
        item,
        response,
    from {{ ref("stg_partner__item_responses") }}
    where response is not null
),

instrument_item as (
    select
        version,
        rater,
        scale,
        item,
        is_reversed,
        response_min,
        response_max,
    from {{ ref("instrument_item") }}
)

-- many answers to one wave; many answers to one item of the version that was used
select
    response.supervision_id,
    response.wave,
    response.rater,
    instrument_item.scale,
    response.item,
    case
        when instrument_item.is_reversed
            then instrument_item.response_min + instrument_item.response_max - response.response
        else response.response
    end as value,
    response.response,
from response
inner join wave
    on
        response.supervision_id = wave.supervision_id
        and response.wave = wave.wave
        and response.rater = wave.rater
inner join instrument_item
    on
        wave.instrument_version = instrument_item.version
        and response.rater = instrument_item.rater
        and response.item = instrument_item.item
