with covariate as (
    select
        client_id,
        name,
        source,
        measured_on,
        value,
    from {{ ref("int_covariate") }}
),

index_supervision as (
    select
        client_id,
        start_on,
    from {{ ref("int_index_supervision") }}
)

-- many to one
select
    covariate.client_id,
    covariate.name,
    covariate.source,
    {{ days_between("index_supervision.start_on", "covariate.measured_on") }} as measured_day,
    covariate.value,
from covariate
inner join index_supervision on covariate.client_id = index_supervision.client_id
