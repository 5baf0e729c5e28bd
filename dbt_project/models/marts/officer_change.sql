with officer_change as (
    select
        supervision_id,
        client_id,
        sequence,
        from_officer_id,
        to_officer_id,
        changed_on,
        reason,
        gap_days,
        after_wave,
        before_wave,
    from {{ ref("int_officer_change") }}
),

index_supervision as (
    select
        supervision_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    officer_change.client_id,
    officer_change.supervision_id,
    officer_change.sequence,
    officer_change.from_officer_id,
    officer_change.to_officer_id,
    {{ days_between("index_supervision.start_on", "officer_change.changed_on") }} as change_day,
    officer_change.reason,
    officer_change.gap_days,
    officer_change.after_wave,
    officer_change.before_wave,
from officer_change
inner join index_supervision on officer_change.supervision_id = index_supervision.supervision_id
