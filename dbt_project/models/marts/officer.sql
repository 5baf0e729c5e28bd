select
    officer_number as officer_id,
    organisation,
    sex,
    experience_years,
    rule_orientation,
from {{ ref("stg_partner__officers") }}
