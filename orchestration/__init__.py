"""delictvrij: the working alliance between probation client and officer, and recidivism.

Whatever imports it first, and however it was started: none of the tools phones home, and pydantic does not search every
installed package for plugins, which would take a tenth of the time of a short command.
"""

import os

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

from orchestration.door import Superseded, codebook, load, tables

__all__ = ["Superseded", "codebook", "load", "tables"]
