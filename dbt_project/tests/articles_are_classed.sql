-- Every article of law that a case or an index offence names is in the newest offence classes: an offence that nobody classed
-- would count as not serious. What to do: add the article to seeds/offence_class.csv.
with named as (
    select article
    from {{ ref("stg_registry__offences") }}
    union all
    select index_article as article
    from {{ ref("stg_partner__supervisions") }}
),

classed as (
    select article
    from {{ ref("offence_class") }}
    qualify version = max(version) over ()
)

select named.article
from named
left join classed on named.article = classed.article
where named.article is not null and classed.article is null
