with supervision as (
    select
        supervision_id,
        client_id,
        organisation,
        framework,
        start_on,
        planned_end_on,
        end_on,
        end_reason,
    from {{ ref("int_supervision") }}
),

index_supervision as (
    select
        client_id,
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    supervision.supervision_id,
    supervision.client_id,
    supervision.organisation,
    supervision.supervision_id = index_supervision.supervision_id as is_index,
    supervision.framework,
    {{ days_between("index_supervision.start_on", "supervision.start_on") }} as start_day,
    {{ days_between("index_supervision.start_on", "supervision.planned_end_on") }} as planned_end_day,
    {{ days_between("index_supervision.start_on", "supervision.end_on") }} as end_day,
    supervision.end_reason,
from supervision
inner join index_supervision on supervision.client_id = index_supervision.client_id
