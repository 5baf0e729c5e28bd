with origin as (
    select
        *,
        case
            when mother <> 'nl' then mother
            when father <> 'nl' then father
            when mother = 'nl' and father = 'nl' then 'nl'
        end as parents
    from {{ ref("index_supervision") }}
)

select
    origin.organisation,
    coalesce(officer.officer, origin.bsn) as officer,
    cast(follow_up.event as integer) as event,
    follow_up.days,
    alliance.* exclude (supervision),
    (origin.landmark - origin.born) / 3652.5 as age_decades,
    origin.is_male,
    cast(
        case when parents = 'nl' then 'nl' when country <> 'nl' then country else parents end = 'non_western' as integer
    ) as is_non_western,
    known.* exclude (bsn),
    ln(1 + known.prior_cases) as log_prior_cases,
    officer.officer_changed,
    officer.orientation,
    cast(origin.organisation = 'svg' as integer) as is_svg,
    cast(origin.organisation = 'ljr' as integer) as is_ljr
from origin
inner join {{ ref("follow_up") }} as follow_up using (bsn)
inner join {{ ref("known") }} as known using (bsn)
left join {{ ref("alliance") }} as alliance using (supervision)
left join {{ ref("officer_at_landmark") }} as officer using (supervision)
where follow_up.days > 0
order by origin.bsn
