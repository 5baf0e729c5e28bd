with delivered as (
    select 'rn' as organisation, Clientnummer as client, BSN as bsn, Geboortedatum as born, Geslacht as sex,
        Geboorteland as country, "Geboorteland moeder" as mother, "Geboorteland vader" as father
    from {{ delivered("rn", "clients") }}
    union all
    select 'svg', CLT_NR, BSN_NR, GEB_DAT, GESL, GEB_LAND, GEB_LAND_M, GEB_LAND_V
    from {{ delivered("svg", "clients") }}
    union all
    select 'ljr', clnr, bsn, gebdat, gesl, geblnd, geblndm, geblndv
    from {{ delivered("ljr", "clients") }}
)

select
    organisation,
    client,
    bsn,
    {{ day("born") }} as born,
    cast(sex in ('M', '1') as integer) as is_male,
    {{ country("country") }} as country,
    {{ country("mother") }} as mother,
    {{ country("father") }} as father
from delivered
