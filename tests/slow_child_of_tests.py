"""A child process for test_child_process.py that loads its libraries for longer than any test waits."""

import time

time.sleep(60)
