-- The first supervision of the enrolment window that was rated at T1
select
    clients.*,
    supervisions.supervision,
    supervisions.start + {{ months(9) }} as landmark
from {{ ref("stg_supervisions") }} as supervisions
inner join {{ ref("stg_clients") }} as clients using (organisation, client)
where
    supervisions.start between date '{{ var("enrolled_from") }}' and date '{{ var("enrolled_until") }}'
    and supervisions.supervision in (
        select supervision from {{ ref("stg_waves") }} where wave = 't1' and is_done
    )
qualify row_number() over (partition by clients.bsn order by supervisions.start, supervisions.supervision) = 1
