-- The mean of the valid items, if it was measured by the landmark
with scores as (
    select supervision, wave, rater, scale, avg(response) as score
    from {{ ref("stg_answers") }}
    group by all
    having count(*) >= case scale when 'trust' then 5 when 'goals' then 6 else 4 end
),

known as (
    select scores.supervision, scores.rater || '_' || scores.scale || '_' || scores.wave as name, scores.score
    from scores
    inner join {{ ref("stg_waves") }} as waves using (supervision, wave, rater)
    inner join {{ ref("index_supervision") }} as index_supervision using (supervision)
    where waves.is_done and waves.measured <= index_supervision.landmark
)

pivot known
on name in (
    {% for rater in ["client", "officer"] -%}
    {% for scale in ["bond", "trust", "goals", "reactance"] -%}
    '{{ rater }}_{{ scale }}_t1', '{{ rater }}_{{ scale }}_t2'{{ "," if not loop.last or rater == "client" }}
    {% endfor -%}
    {% endfor -%}
)
using max(score)
group by supervision
