with delivered as (
    select Toezichtnummer as supervision, Meting as wave, Beoordelaar as rater, Status as status, Meetdatum as measured
    from {{ delivered("rn", "waves") }}
    union all
    select TZT_NR, METING, BEOORD, STATUS, MEET_DAT
    from {{ delivered("svg", "waves") }}
    union all
    select tznr, meting, beoord, status, meetdat
    from {{ delivered("ljr", "waves") }}
)

select
    supervision,
    't' || right(wave, 1) as wave,
    case when rater in ('cliënt', '1') then 'client' when rater in ('werker', '2') then 'officer' end as rater,
    status in ('afgenomen', '1') as is_done,
    {{ day("measured") }} as measured
from delivered
