with delivered as (
    select 'rn' as organisation, Toezichtnummer as supervision, Clientnummer as client, Begindatum as start
    from {{ delivered("rn", "supervisions") }}
    union all
    select 'svg', TZT_NR, CLT_NR, BEG_DAT
    from {{ delivered("svg", "supervisions") }}
    union all
    select 'ljr', tznr, clnr, begdat
    from {{ delivered("ljr", "supervisions") }}
)

select organisation, supervision, client, {{ day("start") }} as start
from delivered
