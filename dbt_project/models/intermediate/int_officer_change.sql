-- Each change of officer inside an index supervision: from the dyad before, in the order in which dyads began, with the
-- last wave rated by then and the first one after it.
with dyad as (
    select
        supervision_id,
        client_id,
        sequence,
        officer_id,
        start_on,
        lag(officer_id) over in_order as from_officer_id,
        lag(end_reason) over in_order as reason,
        gap_days,
    from {{ ref("int_dyad") }}
    window in_order as (
        partition by supervision_id
        order by sequence asc
    )
),

rated as (
    select
        supervision_id,
        wave,
        min(measured_on) as measured_on,
    from {{ ref("int_wave") }}
    where status = 'done' and measured_on is not null
    group by all
)

-- one change to the waves of its supervision
select
    dyad.supervision_id,
    dyad.client_id,
    dyad.sequence,
    dyad.from_officer_id,
    dyad.officer_id as to_officer_id,
    dyad.start_on as changed_on,
    dyad.reason,
    dyad.gap_days,
    arg_max(rated.wave, row(rated.measured_on, rated.wave)) filter (where rated.measured_on < dyad.start_on)
        as after_wave,
    arg_min(rated.wave, row(rated.measured_on, rated.wave)) filter (where rated.measured_on >= dyad.start_on)
        as before_wave,
from dyad
left join rated on dyad.supervision_id = rated.supervision_id
where dyad.officer_id <> dyad.from_officer_id
group by all
