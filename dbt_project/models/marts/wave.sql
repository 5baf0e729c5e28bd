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
        rated_officer_id,
        instrument_version,
    from {{ ref("int_wave") }}
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
),

-- the two ratings of a wave side by side
rated_wave as (
    select
        supervision_id,
        wave,
        case
            when count(*) filter (where status = 'done' and rated_officer_id is not null) = 2
                then count(distinct rated_officer_id) filter (where status = 'done') = 1
        end as raters_share_officer,
    from wave
    group by all
)

-- many to one; many to one
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
    rated_wave.raters_share_officer,
from wave
inner join index_supervision on wave.supervision_id = index_supervision.supervision_id
inner join rated_wave on wave.supervision_id = rated_wave.supervision_id and wave.wave = rated_wave.wave
