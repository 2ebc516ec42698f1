"""Workers that run side by side take one core each: more threads than cores wait for each other most of the time."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the commands that tests start
