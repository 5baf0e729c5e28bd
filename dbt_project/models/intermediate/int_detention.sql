-- Overlapping and adjoining spells are one: detained from the start of the first until the end of the last, which is
-- the day of release. The kind is that of the first.
with spell as (
    select
        detention.national_number as client_id,
        detention.detention_number,
        detention.kind,
        detention.start_on,
        coalesce(detention.end_on, {{ open_end() }}) as end_on,
    from {{ ref("stg_registry__detentions") }} as detention
    -- many spells to one client
    inner join {{ ref("int_index_supervision") }} as index_supervision
        on detention.national_number = index_supervision.client_id
),

reached as (
    select
        client_id,
        detention_number,
        kind,
        start_on,
        end_on,
        max(end_on) over (
            partition by client_id
            order by start_on asc, detention_number asc
            rows between unbounded preceding and 1 preceding
        ) as earlier_end_on,
    from spell
),

numbered as (
    select
        client_id,
        detention_number,
        kind,
        start_on,
        end_on,
        count(*) filter (where earlier_end_on is null or start_on > earlier_end_on) over (
            partition by client_id
            order by start_on asc, detention_number asc
            rows between unbounded preceding and current row
        ) as spell,
    from reached
)

select
    client_id,
    min(start_on) as start_on,
    nullif(max(end_on), {{ open_end() }}) as end_on,
    arg_min(kind, row(start_on, detention_number)) as kind,
from numbered
group by client_id, spell
