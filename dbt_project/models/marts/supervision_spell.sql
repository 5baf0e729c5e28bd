with supervision as (
    select
        supervision_id,
        client_id,
        start_day,
        end_day,
    from {{ ref("supervision") }}
),

recorded as (
    select
        client_id,
        measured_day,
        arg_max(value, source) filter (where name = 'supervision_level') as level,
        arg_max(value, source) filter (where name = 'electronic_monitoring') as electronic_monitoring,
    from {{ ref("covariate") }}
    where name in ('supervision_level', 'electronic_monitoring') and value is not null
    group by all
),

carried as (
    select
        client_id,
        measured_day,
        last_value(level ignore nulls) over until_then as level,
        last_value(electronic_monitoring ignore nulls) over until_then as electronic_monitoring,
    from recorded
    window until_then as (
        partition by client_id
        order by measured_day asc
        rows between unbounded preceding and current row
    )
),

-- what is recorded before a supervision starts holds on its first day
placed as (
    -- one supervision to what was recorded of its client until it ended
    select
        supervision.supervision_id,
        supervision.client_id,
        supervision.end_day,
        greatest(carried.measured_day, supervision.start_day) as start_day,
        carried.level,
        carried.electronic_monitoring,
    from supervision
    inner join carried
        on
            supervision.client_id = carried.client_id
            and (supervision.end_day is null or supervision.end_day > carried.measured_day)
    qualify
        row_number() over (
            partition by supervision.supervision_id, greatest(carried.measured_day, supervision.start_day)
            order by carried.measured_day desc
        ) = 1
),

compared as (
    select
        supervision_id,
        client_id,
        start_day,
        end_day,
        level,
        electronic_monitoring,
        row_number() over supervised as position,
        lag(level) over supervised as earlier_level,
        lag(electronic_monitoring) over supervised as earlier_electronic_monitoring,
    from placed
    window supervised as (
        partition by supervision_id
        order by start_day asc
    )
),

changed as (
    select
        supervision_id,
        client_id,
        start_day,
        end_day,
        level,
        electronic_monitoring,
    from compared
    where
        position = 1
        or level is distinct from earlier_level
        or electronic_monitoring is distinct from earlier_electronic_monitoring
)

select
    supervision_id,
    client_id,
    start_day,
    coalesce(
        lead(start_day) over (
            partition by supervision_id
            order by start_day asc
        ),
        end_day
    ) as end_day,
    level,
    cast(electronic_monitoring as boolean) as electronic_monitoring,
from changed
