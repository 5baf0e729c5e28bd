-- A change of officer ends a dyad and starts another. Spells that overlap an earlier one, leave days without an officer
-- before them or lie outside their supervision are counted, not mended: which officer was right is not ours to decide.
with assignment as (
    select
        assignment_number,
        supervision_number,
        officer_number,
        start_on,
        end_on,
        end_reason,
    from {{ ref("stg_partner__assignments") }}
),

index_supervision as (
    select
        supervision_id,
        client_id,
        start_on,
        end_on,
    from {{ ref("int_index_supervision") }}
),

spell as (
    -- many assignments to one supervision
    select
        assignment.assignment_number as dyad_id,
        index_supervision.client_id,
        assignment.officer_number as officer_id,
        index_supervision.supervision_id,
        index_supervision.start_on as supervision_start_on,
        coalesce(index_supervision.end_on, {{ open_end() }}) as supervision_end_on,
        cast(row_number() over in_order as integer) as sequence,
        assignment.start_on,
        assignment.end_on,
        coalesce(assignment.end_on, {{ open_end() }}) as until_on,
        assignment.end_reason,
        max(coalesce(assignment.end_on, {{ open_end() }})) over (
            in_order rows between unbounded preceding and 1 preceding
        ) as covered_until_on,
    from assignment
    inner join index_supervision on assignment.supervision_number = index_supervision.supervision_id
    window in_order as (
        partition by index_supervision.supervision_id
        order by assignment.start_on asc, assignment.assignment_number asc
    )
)

select
    dyad_id,
    client_id,
    officer_id,
    supervision_id,
    sequence,
    start_on,
    end_on,
    end_reason,
    -- on the day of a handover both officers are there
    coalesce(start_on < covered_until_on, false) as overlaps_earlier,
    cast(greatest(0, start_on - coalesce(covered_until_on, supervision_start_on - 1) - 1) as integer) as gap_days,
    start_on < supervision_start_on or start_on > supervision_end_on or (
        end_on is not null and until_on > supervision_end_on
    ) as is_outside_supervision,
from spell
