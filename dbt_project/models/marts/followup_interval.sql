-- Follow-up cut where detention starts or ends (unless the outcome ignores detention) and where somebody rated again.
with followed as (
    select
        client_id,
        outcome_id,
        detention,
        origin_on,
        entry_on,
        exit_on,
        event,
    from {{ ref("int_followup") }}
    where exit_on is not null
),

spell as (
    select
        client_id,
        start_on,
        coalesce(end_on, {{ open_end() }}) as end_on,
    from {{ ref("int_detention") }}
),

history as (
    select
        client_id,
        known_from_on,
        bond,
        trust,
        goals_restrictions,
        reactance,
        officer_bond,
        officer_trust,
        officer_goals_restrictions,
        officer_reactance,
    from {{ ref("int_score_history") }}
),

cut as (
    select
        client_id,
        known_from_on as cut_on,
        false as is_detention,
    from history
    union all
    select
        client_id,
        unnest([start_on, end_on]) as cut_on,
        true as is_detention,
    from spell
),

opened as (
    select
        client_id,
        outcome_id,
        entry_on as start_on,
    from followed
    union
    -- one follow-up to the cuts that fall inside it
    select
        followed.client_id,
        followed.outcome_id,
        cut.cut_on as start_on,
    from followed
    inner join cut
        on
            followed.client_id = cut.client_id
            and followed.entry_on < cut.cut_on
            and followed.exit_on > cut.cut_on
            and (not cut.is_detention or followed.detention <> 'ignored')
),

interval_dated as (
    -- many to one
    select
        followed.client_id,
        followed.outcome_id,
        followed.detention,
        followed.origin_on,
        followed.exit_on,
        followed.event,
        opened.start_on,
        coalesce(lead(opened.start_on) over followed_up, followed.exit_on) as stop_on,
        cast(row_number() over followed_up as integer) as interval,
    from opened
    inner join followed
        on opened.client_id = followed.client_id and opened.outcome_id = followed.outcome_id
    window followed_up as (
        partition by opened.client_id, opened.outcome_id
        order by opened.start_on asc
    )
)

-- many to one: the last spell, and the last known scores, that began by the start of the interval
select
    interval_dated.client_id,
    interval_dated.outcome_id,
    interval_dated.interval,
    {{ days_between("interval_dated.origin_on", "interval_dated.start_on") }} as start_day,
    {{ days_between("interval_dated.origin_on", "interval_dated.stop_on") }} as stop_day,
    interval_dated.event and interval_dated.stop_on = interval_dated.exit_on as event,
    case
        when interval_dated.detention <> 'ignored' and spell.end_on > interval_dated.start_on then 'detained'
        else 'at_risk'
    end as state,
    history.bond,
    history.trust,
    history.goals_restrictions,
    history.reactance,
    history.officer_bond,
    history.officer_trust,
    history.officer_goals_restrictions,
    history.officer_reactance,
from interval_dated
asof left join spell
    on interval_dated.client_id = spell.client_id and interval_dated.start_on >= spell.start_on
asof left join history
    on interval_dated.client_id = history.client_id and interval_dated.start_on >= history.known_from_on
