"""By what a child is judged."""

import ctypes
import os
import sys
import threading

import pytest

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._capture.watch import _processor_time


@pytest.mark.skipif(sys.platform != "linux", reason="the child is a fork of Linux")
def test_a_process_of_which_another_thread_waits_for_the_disk_is_seen_to_wait(tmp_path):
    """The thread that writes may wait as long as a disk takes; here for a program that cannot begin yet."""
    way = os.fsencode(tmp_path / "way")
    os.mkfifo(way)

    def wait_in_the_kernel():
        libc, actions, pid = ctypes.CDLL(None), ctypes.create_string_buffer(256), ctypes.c_int()
        libc.posix_spawn_file_actions_init(actions)
        libc.posix_spawn_file_actions_addopen(actions, 5, way, os.O_WRONLY, 0)
        arguments = (ctypes.c_char_p * 2)(b"true", None)
        if not libc.posix_spawn(ctypes.byref(pid), b"/bin/true", actions, None, arguments, None):
            os.waitpid(pid.value, 0)

    thread = threading.Thread(target=wait_in_the_kernel)
    thread.start()
    try:
        until = SYSTEM_CLOCK.monotonic() + 60
        while not (seen := _processor_time(os.getpid())[1]) and SYSTEM_CLOCK.monotonic() < until:
            thread.join(0.001)
    finally:
        os.close(os.open(way, os.O_RDONLY))
        thread.join()
    assert seen
