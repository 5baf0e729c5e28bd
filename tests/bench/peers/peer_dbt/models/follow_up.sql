-- From the landmark to the first offence, departure, four years or the cut-off; nights in detention are no time at risk
with linked as (
    select
        index_supervision.bsn,
        index_supervision.landmark,
        least(
            index_supervision.landmark + {{ months(48) }},
            date '{{ var("cutoff") }}' - {{ months(6) }},
            (
                select min(cast(departures.datum as date))
                from {{ delivered("registry", "departures") }} as departures
                where departures.bsn = index_supervision.bsn
            )
        ) as until
    from {{ ref("index_supervision") }} as index_supervision
    where bsn in (select bsn from {{ delivered("registry", "linkage") }} where koppelstatus = 'J')
),

offended as (
    select linked.bsn, min(offences.committed) as offended
    from linked
    inner join {{ ref("stg_offences") }} as offences using (bsn)
    where offences.committed > linked.landmark
    group by linked.bsn
),

followed as (
    select
        linked.bsn,
        linked.landmark,
        coalesce(offended.offended <= linked.until, false) as event,
        least(offended.offended, linked.until) as exit
    from linked
    left join offended using (bsn)
    where linked.until > linked.landmark
),

nights as (
    select distinct
        bsn,
        unnest(
            range(cast(begindatum as date), coalesce(cast(einddatum as date), date '{{ var("cutoff") }}'), interval 1 day)
        ) as night
    from {{ delivered("registry", "detentions") }}
),

detained as (
    select followed.bsn, count(*) as days
    from followed
    inner join nights on followed.bsn = nights.bsn and nights.night >= followed.landmark and nights.night < followed.exit
    group by followed.bsn
)

select
    followed.bsn,
    followed.event,
    followed.exit - followed.landmark - coalesce(detained.days, 0) as days
from followed
left join detained using (bsn)
