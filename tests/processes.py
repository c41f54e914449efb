"""Tests that need a process of their own."""

import multiprocessing
import os
import sys
import traceback


def passes_in_a_process(function, *arguments):
    """Whether a module's function returns, in a fresh process that then ends at once.

    For DistributedDataParallel: where it outlives its group, freeing it waits for gloo's thread with the GIL held, and
    that thread may be waiting for the GIL to free its last piece of work (torch 2.13: a deadlock, once in many runs).
    """
    child = multiprocessing.get_context("spawn").Process(target=_run_and_leave, args=(function, arguments))
    child.start()
    child.join(timeout=120)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode == 0


def _run_and_leave(function, arguments):
    code = 1
    try:
        function(*arguments)
        code = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
