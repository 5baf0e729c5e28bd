-- The person behind each supervision, the same in every source.
with supervision as (
    select
        supervision_number,
        client_number,
        organisation,
        start_on,
        planned_end_on,
        end_on,
        end_reason,
        framework,
        index_article,
    from {{ ref("stg_partner__supervisions") }}
),

client as (
    select
        client_number,
        national_number,
    from {{ ref("stg_partner__clients") }}
)

-- many supervisions to one client
select
    supervision.supervision_number as supervision_id,
    client.national_number as client_id,
    supervision.client_number,
    supervision.organisation,
    supervision.start_on,
    supervision.planned_end_on,
    supervision.end_on,
    supervision.end_reason,
    supervision.framework,
    supervision.index_article,
from supervision
inner join client on supervision.client_number = client.client_number
