-- Criminal history at the start of the index supervision: cases with an offence before that day which count whatever
-- the outcome definition says (convictions and penalties by the prosecutor); never self-reported.
with index_supervision as (
    select
        client_id,
        start_on,
    from {{ ref("int_index_supervision") }}
),

earlier as (
    -- one start to the offences of the client before it
    select
        index_supervision.client_id,
        count(distinct offence.case_number) as prior_cases,
        count(distinct offence.case_number) filter (where offence.is_serious) as prior_serious_cases,
        count(distinct offence.case_number) filter (
            where index_supervision.start_on - {{ months_to_days("60") }} <= offence.offence_on
        ) as prior_cases_5_years,
        min(offence.offence_on) as first_offence_on,
    from index_supervision
    inner join {{ ref("int_offence") }} as offence
        on index_supervision.client_id = offence.client_id and index_supervision.start_on > offence.offence_on
    where offence.counts = 'always'
    group by all
)

-- one to one; many to one person searched for; nobody who was not found has a history of zero cases
select
    index_supervision.client_id,
    case when linkage.status = 'found' then coalesce(earlier.prior_cases, 0) end as prior_cases,
    case when linkage.status = 'found' then coalesce(earlier.prior_serious_cases, 0) end as prior_serious_cases,
    case when linkage.status = 'found' then coalesce(earlier.prior_cases_5_years, 0) end as prior_cases_5_years,
    case when linkage.status = 'found' then earlier.first_offence_on end as first_offence_on,
from index_supervision
left join {{ ref("stg_registry__linkage") }} as linkage on index_supervision.client_id = linkage.national_number
left join earlier on index_supervision.client_id = earlier.client_id
