"""Jobs for launching: one that ends by itself, and one that only ends when it is ended."""

from __future__ import annotations

import signal
import sys

import dagster as dg


@dg.op
def end() -> None:
    assert "great_expectations" in sys.modules, "its process has not loaded everything"


@dg.op
def wait_for_a_signal() -> None:
    signal.pause()


@dg.job(executor_def=dg.in_process_executor)
def ends() -> None:
    end()


@dg.job(executor_def=dg.in_process_executor)
def waits() -> None:
    wait_for_a_signal()
