-- Every offence of a client that the registry held at its cut-off, with what decides whether it counts.
with registered_case as (
    select
        case_row.case_number,
        case_row.national_number as client_id,
        case_row.registered_on,
    from {{ ref("stg_registry__cases") }} as case_row
    -- one row
    cross join {{ ref("stg_platform__build") }} as build
    -- many cases to one client
    inner join {{ ref("int_index_supervision") }} as index_supervision
        on case_row.national_number = index_supervision.client_id
    where case_row.registered_on <= build.registry_cutoff_on
),

offence_class as (
    select
        article,
        offence_group,
        max_penalty_years >= 4 or allows_pretrial_detention as is_serious,
        max_penalty_years >= 8 as is_very_serious,
    from {{ ref("offence_class") }}
    qualify version = max(version) over ()
)

-- one case to its offences; many to one disposal, to one class of the article, to one class of the disposal
select
    registered_case.client_id,
    registered_case.case_number,
    offence.offence_number,
    registered_case.registered_on,
    coalesce(offence.offence_on, registered_case.registered_on) as offence_on,
    coalesce(disposal.disposal, 'pending') as disposal,
    disposal_class.counts,
    disposal_class.counted_when,
    offence_class.offence_group,
    coalesce(offence_class.is_serious, false) as is_serious,
    coalesce(offence_class.is_very_serious, false) as is_very_serious,
    coalesce(disposal.custodial_days, 0) > 0 as is_custodial,
from registered_case
left join {{ ref("stg_registry__offences") }} as offence
    on registered_case.case_number = offence.case_number
left join {{ ref("stg_registry__disposals") }} as disposal
    on registered_case.case_number = disposal.case_number
left join offence_class on offence.article = offence_class.article
left join {{ ref("disposal_class") }} as disposal_class
    on coalesce(disposal.disposal, 'pending') = disposal_class.disposal
