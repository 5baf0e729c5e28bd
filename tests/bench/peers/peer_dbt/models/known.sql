-- What was last known of a client by the landmark
with people as (
    select clients.organisation, clients.client, clients.bsn, index_supervision.landmark
    from {{ ref("stg_clients") }} as clients
    inner join {{ ref("index_supervision") }} as index_supervision using (bsn)
),

told as (
    select people.bsn, covariates.name, covariates.source, covariates.measured, covariates.value
    from {{ ref("stg_covariates") }} as covariates
    inner join people using (organisation, client)
    where covariates.name is not null and covariates.value is not null and covariates.measured <= people.landmark
),

assessed as (
    select people.bsn, risc.measured, risc.drugs, risc.alcohol, risc.total
    from {{ ref("stg_risc") }} as risc
    inner join people using (organisation, client)
    where risc.measured <= people.landmark
),

addiction as (
    select bsn, max(value) as addiction
    from (
        select bsn, arg_max(value, measured) as value from told where name = 'addiction' group by bsn, source
        union all
        select bsn, cast(arg_max(drugs, measured) >= 4 as integer) from assessed group by bsn
        union all
        select bsn, cast(arg_max(alcohol, measured) >= 4 as integer) from assessed group by bsn
    )
    group by bsn
),

latest as (
    select
        bsn,
        arg_max(value, row(measured, source)) filter (where name = 'employment') as employment,
        arg_max(value, row(measured, source)) filter (where name = 'partner') as partner,
        arg_max(value, row(measured, source)) filter (where name = 'motivation') as motivation
    from told
    group by bsn
),

risc as (
    select bsn, arg_max(total, measured) as risc_total
    from assessed
    group by bsn
),

history as (
    select offences.bsn, count(distinct offences.case_number) as prior_cases, bool_or(offences.is_custodial) as has_custody
    from {{ ref("stg_offences") }} as offences
    inner join {{ ref("index_supervision") }} as index_supervision using (bsn)
    where offences.committed <= index_supervision.landmark
    group by offences.bsn
)

select
    index_supervision.bsn,
    latest.employment,
    latest.partner,
    latest.motivation,
    addiction.addiction,
    risc.risc_total,
    coalesce(history.prior_cases, 0) as prior_cases,
    cast(coalesce(history.has_custody, false) as integer) as has_prior_custody
from {{ ref("index_supervision") }} as index_supervision
left join latest using (bsn)
left join addiction using (bsn)
left join risc using (bsn)
left join history using (bsn)
