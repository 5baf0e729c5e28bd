with delivered as (
    select Toezichtnummer as supervision, Meting as wave, Beoordelaar as rater, Item as item, Antwoord as response
    from {{ delivered("rn", "item_responses") }}
    union all
    select TZT_NR, METING, BEOORD, ITEM, SCORE
    from {{ delivered("svg", "item_responses") }}
    union all
    select tznr, meting, beoord, item, antw
    from {{ delivered("ljr", "item_responses") }}
),

answered as (
    select
        supervision,
        't' || right(wave, 1) as wave,
        case when rater in ('cliënt', '1') then 'client' when rater in ('werker', '2') then 'officer' end as rater,
        case
            when regexp_matches(item, '^(binding|B|1)') then 'bond'
            when regexp_matches(item, '^(vertrouwen|T|2)') then 'trust'
            when regexp_matches(item, '^(richting|G|3)') then 'goals'
            when regexp_matches(item, '^(stroefheid|R|4)') then 'reactance'
        end as scale,
        cast(right(item, 2) as integer) as number,
        cast(nullif(response, '9') as integer) as response
    from delivered
)

select
    supervision,
    wave,
    rater,
    scale,
    number,
    case when (scale, number) in (('bond', 5), ('trust', 3)) then 6 - response else response end as response
from answered
where response is not null
