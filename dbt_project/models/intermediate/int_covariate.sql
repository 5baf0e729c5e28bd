-- Dated characteristics of a client from every source in one form, RISc scores among them.
with client as (
    -- many client numbers to one person
    select
        client.client_number,
        client.national_number as client_id,
        client.client_number = index_supervision.client_number as is_index_organisation,
    from {{ ref("stg_partner__clients") }} as client
    inner join {{ ref("int_index_supervision") }} as index_supervision
        on client.national_number = index_supervision.client_id
),

assessment as (
    select
        client_number,
        assessed_on,
        total as risc_total,
        case level when 'low' then 1 when 'medium' then 2 when 'high' then 3 end as risc_level,
        columns('scale_.*'),
    from {{ ref("stg_partner__risc") }}
),

score as (
    unpivot assessment on columns(* exclude (client_number, assessed_on)) into name name value value
),

risc as (
    select
        score.client_number,
        coalesce(risc_scale.name, score.name) as name,
        'risc' as source,
        score.assessed_on as measured_on,
        score.value,
    from score
    -- many to one
    left join {{ ref("risc_scale") }} as risc_scale on score.name = risc_scale.scale
    where risc_scale.name is not null or score.name in ('risc_total', 'risc_level')
),

measured as (
    select
        client_number,
        name,
        source,
        measured_on,
        value,
    from {{ ref("stg_partner__covariates") }}
    union all
    select
        client_number,
        name,
        source,
        measured_on,
        value,
    from risc
)

-- many to one; where two organisations say something on one day, the one of the index supervision is heard
select
    client.client_id,
    measured.name,
    measured.source,
    measured.measured_on,
    cast(measured.value as integer) as value,
from measured
inner join client on measured.client_number = client.client_number
qualify
    row_number() over (
        partition by client.client_id, measured.name, measured.source, measured.measured_on
        order by client.is_index_organisation desc, client.client_number asc
    ) = 1
