with dyads as (
    select
        index_supervision.supervision,
        index_supervision.landmark,
        assignments.officer,
        assignments.since,
        assignments.until,
        count(distinct assignments.officer) filter (where assignments.since <= index_supervision.landmark)
            over (partition by index_supervision.supervision) > 1 as has_changed
    from {{ ref("index_supervision") }} as index_supervision
    inner join {{ ref("stg_assignments") }} as assignments using (supervision)
)

select dyads.supervision, dyads.officer, cast(dyads.has_changed as integer) as officer_changed, officers.orientation
from dyads
left join {{ ref("stg_officers") }} as officers using (officer)
qualify
    row_number() over (
        partition by dyads.supervision
        order by
            dyads.landmark between dyads.since and dyads.until desc,
            dyads.since <= dyads.landmark desc,
            abs(dyads.landmark - dyads.since)
    ) = 1
