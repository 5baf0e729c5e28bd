with detention as (
    select
        client_id,
        start_on,
        end_on,
        kind,
    from {{ ref("int_detention") }}
),

index_supervision as (
    select
        client_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    detention.client_id,
    {{ days_between("index_supervision.start_on", "detention.start_on") }} as start_day,
    {{ days_between("index_supervision.start_on", "detention.end_on") }} as end_day,
    detention.kind,
from detention
inner join index_supervision on detention.client_id = index_supervision.client_id
