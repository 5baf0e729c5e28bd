-- Where time can begin. Outcome definitions share origins, so what is known at an origin is worked out once.
with index_supervision as (
    select
        client_id,
        supervision_id,
        start_on,
        end_on,
    from {{ ref("int_index_supervision") }}
),

build as (
    select {{ months_to_days("landmark_months") }} as landmark_days,
    from {{ ref("stg_platform__build") }}
),

origin as (
    select distinct origin,
    from {{ ref("outcome") }}
)

-- every client × origin that an outcome definition uses; one build
select
    index_supervision.client_id,
    index_supervision.supervision_id,
    origin.origin,
    index_supervision.start_on as index_start_on,
    case origin.origin
        when 'landmark' then index_supervision.start_on + build.landmark_days
        when 'supervision_start' then index_supervision.start_on
        when 'supervision_end' then index_supervision.end_on
        else error('an outcome definition has an origin that nobody computes')
    end as origin_on,
from index_supervision
cross join build
cross join origin
