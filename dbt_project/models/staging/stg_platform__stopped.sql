select
    client_id,
    known_until,
from {{ source("platform", "stopped") }}
