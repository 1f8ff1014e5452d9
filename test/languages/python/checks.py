"""What every Python program here shares: named checks, waiting for a condition, and asking the driver for a crash."""

import os
import sys
import time
import traceback
import uuid

DEADLINE_S = 60
RESTART_REQUEST = "request: crash and restart the broker"


class Skip(Exception):
    """Raised by a check that cannot run here."""


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def wait_for(what, condition, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {deadline_s} s for: {what}")


def crash_and_restart_broker():
    print(RESTART_REQUEST, flush=True)
    if sys.stdin.readline().strip() != "done":
        raise Skip("the broker is not ours to kill")


def only_ours(reason):
    """Skips a check of a limit of this broker where a real peer runs instead."""
    if os.environ.get("ROSETTAMQ_TEST_KAFKA"):
        raise Skip(reason)


def run(checks):
    failed = 0
    for check in checks:
        name = check.__name__.replace("_", " ")
        started = time.monotonic()
        try:
            check()
            print(f"ok - {name} ({time.monotonic() - started:.1f} s)", flush=True)
        except Skip as reason:
            print(f"skip - {name}: {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok - {name}", flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)
