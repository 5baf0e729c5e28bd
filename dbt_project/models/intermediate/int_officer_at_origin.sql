-- The officer when somebody comes under observation (at the origin, or at a later entry): of the dyad valid on that
-- day, else of the last one before it, else of the first.
with dyad as (
    select
        dyad_id,
        supervision_id,
        officer_id,
        start_on,
        coalesce(end_on, {{ open_end() }}) as end_on,
    from {{ ref("int_dyad") }}
),

officer as (
    select
        officer_number,
        experience_years,
        rule_orientation,
    from {{ ref("stg_partner__officers") }}
),

chosen as (
    -- one origin to the dyads of its supervision, of which one is kept
    select
        origin.client_id,
        origin.origin,
        origin.entry,
        dyad.officer_id,
        count(distinct dyad.officer_id) filter (where origin.entry_on >= dyad.start_on) over (
            partition by origin.client_id, origin.origin, origin.entry
        ) > 1 as officer_changed_before_origin,
    from {{ ref("int_origin") }} as origin
    left join dyad on origin.supervision_id = dyad.supervision_id
    qualify
        row_number() over (
            partition by origin.client_id, origin.origin, origin.entry
            order by
                coalesce(origin.entry_on between dyad.start_on and dyad.end_on, false) desc,
                coalesce(origin.entry_on >= dyad.start_on, false) desc,
                abs(coalesce(origin.entry_on, {{ open_end() }}) - dyad.start_on) asc,
                dyad.dyad_id desc
        ) = 1
)

-- many to one
select
    chosen.client_id,
    chosen.origin,
    chosen.entry,
    chosen.officer_id,
    chosen.officer_changed_before_origin,
    officer.experience_years,
    officer.rule_orientation,
from chosen
left join officer on chosen.officer_id = officer.officer_number
