with delivered as (
    select Werkernummer as officer, Regelgerichtheid as orientation
    from {{ delivered("rn", "officers") }}
    union all
    select MDW_NR, REGEL_SC
    from {{ delivered("svg", "officers") }}
    union all
    select rwnr, regelor
    from {{ delivered("ljr", "officers") }}
)

select officer, cast(replace(any_value(orientation), ',', '.') as double) as orientation
from delivered
group by officer
