"""The interpreter of a process that serves. Each is set up in a process of its own: it stays so."""

from __future__ import annotations

import json
import subprocess
import sys

from dispatcher.cli.interpreter import GARBAGE, SWITCH_S

PROBE = """
import gc, json, sys
from dispatcher.cli import interpreter
interpreter.prepare()
print(json.dumps([sys.getswitchinterval(), gc.get_threshold()[0], gc.get_freeze_count(), gc.isenabled()]))
"""


def test_a_process_that_serves_is_set_up_for_many_threads_and_objects() -> None:
    told = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True).stdout
    switch_s, garbage, frozen, collects = json.loads(told)
    assert (round(switch_s, 6), garbage, collects) == (SWITCH_S, GARBAGE, True)
    assert frozen > 0
