-- A change of officer ends a dyad and starts another.
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
    from {{ ref("int_index_supervision") }}
)

-- many assignments to one supervision
select
    assignment.assignment_number as dyad_id,
    index_supervision.client_id,
    assignment.officer_number as officer_id,
    index_supervision.supervision_id,
    cast(row_number() over (
        partition by index_supervision.supervision_id
        order by assignment.start_on asc, assignment.assignment_number asc
    ) as integer) as sequence,
    assignment.start_on,
    assignment.end_on,
    assignment.end_reason,
from assignment
inner join index_supervision on assignment.supervision_number = index_supervision.supervision_id
