-- What was known of a client who came under observation (at the origin, or at a later entry): the latest value measured
-- on or before that day, never a later one.
with known as (
    -- one origin to the values measured by then; the latest of each source is kept
    select
        origin.client_id,
        origin.origin,
        origin.entry,
        covariate.name,
        covariate.source,
        max(covariate.measured_on) as measured_on,
        arg_max(covariate.value, covariate.measured_on) as value,
    from {{ ref("int_origin") }} as origin
    inner join {{ ref("int_covariate") }} as covariate
        on
            origin.client_id = covariate.client_id
            and origin.entry_on >= covariate.measured_on
    where covariate.value is not null
    group by all
),

latest as (
    select
        client_id,
        origin,
        entry,
        name,
        arg_max(value, row(measured_on, source)) as value,
    from known
    group by all
),

-- an addiction problem that any source reports, RISc from the score on which its scale is a problem
addiction as (
    select
        known.client_id,
        known.origin,
        known.entry,
        max(cast(known.value >= coalesce(risc_scale.problem_from, 1) as integer)) as addiction,
    from known
    -- many to one
    left join {{ ref("risc_scale") }} as risc_scale on known.name = risc_scale.name
    where known.name = 'addiction' or risc_scale.name is not null
    group by all
),

wide as (
    select
        client_id,
        origin,
        entry,
        max(value) filter (where name = 'employment') as employment,
        max(value) filter (where name = 'partner') as partner,
        max(value) filter (where name = 'motivation') as motivation,
        max(value) filter (where name = 'risc_total') as risc_total,
        max(value) filter (where name = 'risc_level') as risc_level,
        max(value) filter (where name = 'supervision_level') as supervision_level,
    from latest
    group by all
)

-- one to one
select
    origin.client_id,
    origin.origin,
    origin.entry,
    wide.employment,
    wide.partner,
    addiction.addiction,
    wide.motivation,
    wide.risc_total,
    wide.risc_level,
    wide.supervision_level,
from {{ ref("int_origin") }} as origin
left join wide
    on origin.client_id = wide.client_id and origin.origin = wide.origin and origin.entry = wide.entry
left join addiction
    on
        origin.client_id = addiction.client_id
        and origin.origin = addiction.origin
        and origin.entry = addiction.entry
