"""The Celery app that `celery -A orchestration.spreading.worker worker` starts: a worker over the home of the settings."""

from __future__ import annotations

from orchestration.home import home_settings
from orchestration.spreading.assets import worker_app

app = worker_app(home_settings())
