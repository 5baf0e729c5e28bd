-- depends_on: {{ ref("cohort_flow") }}, {{ ref("followup_interval") }}, {{ ref("alliance_change") }}
-- depends_on: {{ ref("alliance_score") }}, {{ ref("supervision_spell") }}, {{ ref("wave") }}, {{ ref("detention") }}
-- depends_on: {{ ref("alliance_item") }}, {{ ref("alliance_pattern_agreement") }}, {{ ref("landmark_missing") }}
-- depends_on: {{ ref("followup_event") }}, {{ ref("officer_change") }}, {{ ref("scale_reliability") }}
-- What is published counts days from index start; an exact date would name a person.
select
    table_name,
    column_name,
from information_schema.columns
where
    table_schema = 'marts'
    and (data_type like '%DATE%' or data_type like '%TIME%' or data_type like '%INTERVAL%')
