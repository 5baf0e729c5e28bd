-- Where time begins, and when somebody comes under observation. Outcome definitions share these, so what is known at an
-- entry is worked out once.
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

beginning as (
    select distinct
        origin,
        entry,
    from {{ ref("outcome") }}
),

dated as (
    -- every client × origin and entry that an outcome definition uses; one build
    select
        index_supervision.client_id,
        index_supervision.supervision_id,
        beginning.origin,
        beginning.entry,
        index_supervision.start_on as index_start_on,
        index_supervision.start_on + build.landmark_days as landmark_on,
        case beginning.origin
            when 'landmark' then index_supervision.start_on + build.landmark_days
            when 'supervision_start' then index_supervision.start_on
            when 'supervision_end' then index_supervision.end_on
            else error('an outcome definition has an origin that nobody computes')
        end as origin_on,
    from index_supervision
    cross join build
    cross join beginning
)

select
    client_id,
    supervision_id,
    origin,
    entry,
    index_start_on,
    origin_on,
    case entry
        when 'origin' then origin_on
        when 'landmark' then case when origin_on is not null then greatest(origin_on, landmark_on) end
        else error('an outcome definition has an entry that nobody computes')
    end as entry_on,
from dated
