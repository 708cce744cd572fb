"""What holds for every test."""

import signal

# Where the tests run in the background of a shell, SIGINT is ignored, and programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
