"""What both Python clients share: the records that all clients produce, and one printed line per scenario."""

import os
import sys
import time
import traceback

COUNT = 200
T0 = int(time.time()) * 1000 - 86_400_000  # A day ago: young enough for the default retention.


class Check:
    """Prints ``ok NAME`` or ``FAIL NAME reason`` and remembers whether anything failed."""

    def __init__(self):
        self.failed = 0

    def report(self, name, error=None):
        self.failed += error is not None
        print(f"FAIL {name} {error!r}".replace("\n", " ") if error is not None else f"ok {name}", flush=True)
        if error is not None and os.environ.get("INTEROP_TRACE"):
            traceback.print_exception(error, file=sys.stderr)

    def scenario(self, name, body, *args):
        try:
            body(*args)
            self.report(name)
        except Exception as error:
            self.report(name, error)

    async def scenario_async(self, name, body, *args):
        try:
            await body(*args)
            self.report(name)
        except Exception as error:
            self.report(name, error)


def equal(expected, actual, what):
    if expected != actual:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def that(condition, what):
    if not condition:
        raise AssertionError(what)


def key(i):
    return None if i % 10 == 0 else b"k%d" % i


def value(i):
    return None if i % 7 == 0 else b"v%d-" % i + b"x" * i


def headers(i):
    return [("h", b"%d" % i), ("h", b"again"), ("empty", b"")]


def timestamp(i):
    return T0 + i * 1000


def deadline(seconds=20):
    """Yields until the time is over; the caller's loop then falls into its else branch."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
