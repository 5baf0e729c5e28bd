with index_supervision as (
    select
        client_id,
        client_number,
        organisation,
        start_on,
        framework,
        index_article,
        index_offence_group,
    from {{ ref("int_index_supervision") }}
),

person as (
    select
        client_number,
        sex,
        birth_year,
        birth_country,
        -- the mother's country goes before the father's when both were born abroad
        case
            when birth_country_mother <> 'nl' then birth_country_mother
            when birth_country_father <> 'nl' then birth_country_father
            when birth_country_mother = 'nl' and birth_country_father = 'nl' then 'nl'
        end as origin_of_parents,
    from {{ ref("stg_partner__clients") }}
),

origin as (
    select
        client_number,
        sex,
        birth_year,
        case
            when origin_of_parents = 'nl' then 'nl'
            when birth_country <> 'nl' then birth_country
            else origin_of_parents
        end as country_of_origin,
    from person
),

linkage as (
    select
        national_number,
        status,
    from {{ ref("stg_registry__linkage") }}
)

-- one to one
select
    index_supervision.client_id,
    index_supervision.organisation,
    year(index_supervision.start_on) || '-Q' || quarter(index_supervision.start_on) as start_quarter,
    origin.sex,
    origin.birth_year,
    cast(year(index_supervision.start_on) - origin.birth_year as integer) as age_at_start,
    case
        when origin.country_of_origin = 'nl' then 'nl'
        when origin.country_of_origin = 'eu' then 'western'
        when origin.country_of_origin is not null then 'non_western'
    end as ethnicity,
    index_supervision.framework,
    index_supervision.index_article,
    index_supervision.index_offence_group,
    linkage.status as linkage_status,
    cast(history.prior_cases as integer) as prior_cases,
    cast(history.prior_serious_cases as integer) as prior_serious_cases,
    cast(history.prior_cases_5_years as integer) as prior_cases_5_years,
    cast(year(history.first_offence_on) - origin.birth_year as integer) as age_at_first_case,
from index_supervision
inner join origin on index_supervision.client_number = origin.client_number
inner join {{ ref("int_index_history") }} as history on index_supervision.client_id = history.client_id
left join linkage on index_supervision.client_id = linkage.national_number
