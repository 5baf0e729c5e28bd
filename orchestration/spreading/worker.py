"""The Celery app that `celery -A orchestration.spreading.worker worker` starts: a worker over the home of the settings.

The libraries of the models are loaded here, once, and not in each process that the worker forks.
"""

from __future__ import annotations

import lifelines
import mixedlm
from scipy import stats
from statsmodels.discrete import discrete_model

from orchestration.home import home_settings
from orchestration.spreading.assets import worker_app

app = worker_app(home_settings())

__all__ = ["app", "discrete_model", "lifelines", "mixedlm", "stats"]
