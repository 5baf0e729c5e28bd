with delivered as (
    select 'rn' as organisation, Clientnummer as client, "Datum afname" as measured, "Schaal 8" as drugs,
        "Schaal 9" as alcohol, Totaalscore as total
    from {{ delivered("rn", "risc") }}
    union all
    select 'svg', CLT_NR, AFN_DAT, SCH_08, SCH_09, RISC_TOT
    from {{ delivered("svg", "risc") }}
    union all
    select 'ljr', clnr, afndat, sch8, sch9, risctot
    from {{ delivered("ljr", "risc") }}
)

select
    organisation,
    client,
    {{ day("measured") }} as measured,
    cast(nullif(drugs, '99') as integer) as drugs,
    cast(nullif(alcohol, '99') as integer) as alcohol,
    cast(total as integer) as total
from delivered
