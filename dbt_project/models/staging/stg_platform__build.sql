select
    registry_cutoff_on,
    enrolment_from,
    enrolment_to,
    landmark_months,
from {{ source("platform", "build") }}
