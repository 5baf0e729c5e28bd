with dyad as (
    select
        dyad_id,
        client_id,
        officer_id,
        supervision_id,
        sequence,
        start_on,
        end_on,
        end_reason,
        overlaps_earlier,
        gap_days,
        is_outside_supervision,
    from {{ ref("int_dyad") }}
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    dyad.dyad_id,
    dyad.client_id,
    dyad.officer_id,
    dyad.supervision_id,
    dyad.sequence,
    {{ days_between("index_supervision.start_on", "dyad.start_on") }} as start_day,
    {{ days_between("index_supervision.start_on", "dyad.end_on") }} as end_day,
    dyad.end_reason,
    dyad.overlaps_earlier,
    dyad.gap_days,
    dyad.is_outside_supervision,
from dyad
inner join index_supervision on dyad.supervision_id = index_supervision.supervision_id
