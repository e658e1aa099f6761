"""What holds for every test: properties are given the time that a shared machine needs, and CI repeats its examples.

A shell that starts the tests in the background lets them ignore Ctrl-C, and with them every program that they start.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
