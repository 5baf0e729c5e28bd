-- The scores of T1 and T2 that were known when somebody came under observation; one that was measured later is not.
with known as (
    -- one origin to the scores measured by then
    select
        origin.client_id,
        origin.origin,
        origin.entry,
        scale_score.rater || '_' || scale_score.scale || '_' || lower(scale_score.wave) as name,
        scale_score.score,
    from {{ ref("int_origin") }} as origin
    inner join {{ ref("int_scale_score") }} as scale_score
        on
            origin.client_id = scale_score.client_id
            and origin.entry_on >= scale_score.measured_on
)

-- one to one once grouped
select
    origin.client_id,
    origin.origin,
    origin.entry,
    max(known.score) filter (where known.name = 'client_bond_t1') as client_bond_t1,
    max(known.score) filter (where known.name = 'client_bond_t2') as client_bond_t2,
    max(known.score) filter (where known.name = 'client_trust_t1') as client_trust_t1,
    max(known.score) filter (where known.name = 'client_trust_t2') as client_trust_t2,
    max(known.score) filter (where known.name = 'client_goals_restrictions_t1') as client_goals_restrictions_t1,
    max(known.score) filter (where known.name = 'client_goals_restrictions_t2') as client_goals_restrictions_t2,
    max(known.score) filter (where known.name = 'client_reactance_t1') as client_reactance_t1,
    max(known.score) filter (where known.name = 'client_reactance_t2') as client_reactance_t2,
    max(known.score) filter (where known.name = 'officer_bond_t1') as officer_bond_t1,
    max(known.score) filter (where known.name = 'officer_bond_t2') as officer_bond_t2,
    max(known.score) filter (where known.name = 'officer_trust_t1') as officer_trust_t1,
    max(known.score) filter (where known.name = 'officer_trust_t2') as officer_trust_t2,
    max(known.score) filter (where known.name = 'officer_goals_restrictions_t1') as officer_goals_restrictions_t1,
    max(known.score) filter (where known.name = 'officer_goals_restrictions_t2') as officer_goals_restrictions_t2,
    max(known.score) filter (where known.name = 'officer_reactance_t1') as officer_reactance_t1,
    max(known.score) filter (where known.name = 'officer_reactance_t2') as officer_reactance_t2,
from {{ ref("int_origin") }} as origin
left join known
    on origin.client_id = known.client_id and origin.origin = known.origin and origin.entry = known.entry
group by origin.client_id, origin.origin, origin.entry
