with delivered as (
    select Toezichtnummer as supervision, Werkernummer as officer, Begindatum as since, Einddatum as until
    from {{ delivered("rn", "assignments") }}
    union all
    select TZT_NR, MDW_NR, BEG_DAT, EIND_DAT
    from {{ delivered("svg", "assignments") }}
    union all
    select tznr, rwnr, begdat, einddat
    from {{ delivered("ljr", "assignments") }}
)

select supervision, officer, {{ day("since") }} as since, coalesce({{ day("until") }}, date '9999-12-31') as until
from delivered
