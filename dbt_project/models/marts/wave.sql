with wave as (
    select
        supervision_id,
        client_id,
        wave,
        rater,
        status,
        measured_on,
        dyad_id,
        named_officer_id,
        instrument_version,
    from {{ ref("int_wave") }}
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    wave.supervision_id,
    wave.client_id,
    wave.wave,
    wave.rater,
    wave.status,
    {{ days_between("index_supervision.start_on", "wave.measured_on") }} as measured_day,
    wave.dyad_id,
    wave.named_officer_id as officer_id,
    wave.instrument_version,
from wave
inner join index_supervision on wave.supervision_id = index_supervision.supervision_id
