"""One thread for each worker: networks of tests are small, and threads that share a core wait for each other.

Another number may be asked for by OMP_NUM_THREADS, except of workers that run side by side.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the commands that tests start
