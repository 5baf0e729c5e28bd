with scale_score as (
    select
        client_id,
        supervision_id,
        wave,
        rater,
        scale,
        measured_on,
        dyad_id,
        rated_officer_id,
        score,
        harmonised_score,
        n_valid_items,
        n_items,
        instrument_version,
    from {{ ref("int_scale_score") }}
),

baseline as (
    select
        supervision_id,
        rater,
        rated_officer_id,
    from {{ ref("int_wave") }}
    where wave = 'T1' and status = 'done'
),

-- the level at the start, and what goes beyond it, of those who were rated at T1; the person's mean over all waves
person as (
    select
        supervision_id,
        rater,
        scale,
        max(score) filter (where wave = 'T1') as trait,
        cast(sum({{ in_millionths("score") }}) as double) / nullif(count(score), 0) / 1000000 as person_mean,
    from scale_score
    group by all
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one, and many to one person
select
    scale_score.client_id,
    scale_score.supervision_id,
    scale_score.wave,
    scale_score.rater,
    scale_score.scale,
    {{ days_between("index_supervision.start_on", "scale_score.measured_on") }} as measured_day,
    scale_score.dyad_id,
    scale_score.score,
    scale_score.harmonised_score,
    person.trait,
    scale_score.score - person.trait as state,
    person.person_mean,
    scale_score.score - person.person_mean as person_deviation,
    scale_score.n_valid_items,
    scale_score.n_items,
    scale_score.instrument_version,
    scale_score.rated_officer_id = baseline.rated_officer_id as same_officer_as_baseline,
from scale_score
inner join index_supervision on scale_score.supervision_id = index_supervision.supervision_id
inner join person
    on
        scale_score.supervision_id = person.supervision_id
        and scale_score.rater = person.rater
        and scale_score.scale = person.scale
left join baseline
    on
        scale_score.supervision_id = baseline.supervision_id
        and scale_score.rater = baseline.rater
