with delivered as (
    select 'rn' as organisation, Clientnummer as client, Kenmerk as name, Waarde as value, Bron as source,
        Meetdatum as measured
    from {{ delivered("rn", "covariates") }}
    union all
    select 'svg', CLT_NR, KENM, WRD, BRON, MEET_DAT
    from {{ delivered("svg", "covariates") }}
    union all
    select 'ljr', clnr, kenmerk, waarde, bron, meetdat
    from {{ delivered("ljr", "covariates") }}
)

select
    organisation,
    client,
    case
        when name in ('werk', '1') then 'employment'
        when name in ('partner', '2') then 'partner'
        when name in ('verslaving', '3') then 'addiction'
        when name in ('motivatie', '4') then 'motivation'
    end as name,
    case
        when source in ('RISc', '1') then 'risc'
        when source in ('werker', '2') then 'officer'
        when source in ('cliënt', '3') then 'self_report'
        else 'administration'
    end as source,
    cast(nullif(value, '9') as integer) as value,
    {{ day("measured") }} as measured
from delivered
