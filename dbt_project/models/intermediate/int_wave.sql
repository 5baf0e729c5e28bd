-- Each rating of the index supervision with the dyad that was valid on its day: begun by then and not ended before it.
-- On the day of a handover, or where spells overlap, the officer whom the rating names decides, then the later spell.
with index_supervision as (
    select
        supervision_id,
        client_id,
    from {{ ref("int_index_supervision") }}
),

wave as (
    select
        stg_wave.supervision_number as supervision_id,
        index_supervision.client_id,
        stg_wave.wave,
        stg_wave.rater,
        stg_wave.status,
        stg_wave.measured_on,
        stg_wave.officer_number as named_officer_id,
        stg_wave.instrument_version,
    from {{ ref("stg_partner__waves") }} as stg_wave
    -- many waves to one supervision
    inner join index_supervision on stg_wave.supervision_number = index_supervision.supervision_id
),

dyad as (
    select
        dyad_id,
        supervision_id,
        officer_id,
        start_on,
        end_on,
    from {{ ref("int_dyad") }}
)

-- one wave to none, one or several dyads, of which one is kept
select
    wave.supervision_id,
    wave.client_id,
    wave.wave,
    wave.rater,
    wave.status,
    wave.measured_on,
    wave.named_officer_id,
    wave.instrument_version,
    dyad.dyad_id,
    coalesce(wave.named_officer_id, dyad.officer_id) as rated_officer_id,
from wave
left join dyad
    on
        wave.supervision_id = dyad.supervision_id
        and wave.measured_on >= dyad.start_on
        and wave.measured_on <= coalesce(dyad.end_on, {{ open_end() }})
qualify
    row_number() over (
        partition by wave.supervision_id, wave.wave, wave.rater
        order by
            coalesce(dyad.officer_id = wave.named_officer_id, false) desc,
            dyad.start_on desc nulls last,
            dyad.dyad_id desc
    ) = 1
