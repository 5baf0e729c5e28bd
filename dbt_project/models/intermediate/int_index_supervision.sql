-- The supervision that a client is in the study with: the first in the enrolment window that was rated at T1.
with supervision as (
    select
        supervision_id,
        client_id,
        client_number,
        organisation,
        start_on,
        end_on,
        framework,
        index_article,
    from {{ ref("int_supervision") }}
),

build as (
    select
        enrolment_from,
        enrolment_to,
    from {{ ref("stg_platform__build") }}
),

rated_at_t1 as (
    select distinct supervision_number as supervision_id,
    from {{ ref("stg_partner__waves") }}
    where wave = 'T1' and status = 'done'
),

offence_class as (
    select
        article,
        offence_group,
    from {{ ref("offence_class") }}
    qualify version = max(version) over ()
),

first_rated as (
    select
        supervision.client_id,
        supervision.supervision_id,
        supervision.client_number,
        supervision.organisation,
        supervision.start_on,
        supervision.end_on,
        supervision.framework,
        supervision.index_article,
    from supervision
    -- one row
    cross join build
    -- one to one
    inner join rated_at_t1 on supervision.supervision_id = rated_at_t1.supervision_id
    where supervision.start_on between build.enrolment_from and build.enrolment_to
    qualify
        row_number() over (
            partition by supervision.client_id
            order by supervision.start_on asc, supervision.supervision_id asc
        ) = 1
)

-- many to one
select
    first_rated.client_id,
    first_rated.supervision_id,
    first_rated.client_number,
    first_rated.organisation,
    first_rated.start_on,
    first_rated.end_on,
    first_rated.framework,
    first_rated.index_article,
    offence_class.offence_group as index_offence_group,
from first_rated
left join offence_class on first_rated.index_article = offence_class.article
