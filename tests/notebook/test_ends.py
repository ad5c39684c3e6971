"""The ways in which kernels and scripts end: what was there is kept, and they end as they would have."""

import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
from jupyter_servers import wait_until
from kernels import TIMEOUT, Kernel

START = "import keepstate\ns = keepstate.start(store='store', interval=3600, capture='fork')\n"

# A picture that takes as long as the test wants. Pickled in the child only: the guard forks.
SLOW = """
import os, time
class Slow:
    def __init__(self, value):
        self.value = value
    def __getstate__(self):
        if self.value == 'new':
            open('writing', 'w').close()
            while not os.path.exists('go'):
                time.sleep(0.01)
        return self.__dict__
"""


@pytest.fixture
def kernel(tmp_path):
    """Start kernels in one folder; what still lives at the end is killed."""
    started = []

    def start(code=START):
        kernel = Kernel(tmp_path)
        started.append(kernel)
        kernel.said = kernel.run(code).text if code else ""
        return kernel

    yield start
    (tmp_path / "go").touch()
    for one in started:
        one.end()


def end_of(kernel):
    """Wait until its process has ended, and give its exit status."""
    status = kernel._manager.provisioner.process.wait(TIMEOUT)
    kernel._close()
    return status


def terminate(kernel):
    """Send it SIGTERM, as Jupyter does: to its whole process group; give its exit status."""
    os.killpg(os.getpgid(kernel.pid), signal.SIGTERM)
    return end_of(kernel)


def hold_up_a_picture(kernel, tmp_path):
    """Return while a child writes, and goes on doing so until the file ``go`` is there."""
    kernel.run(SLOW + "x = Slow('old'); keepstate.track(x)")
    kernel.settle()
    kernel.run("x.value = 'new'")
    wait_until((tmp_path / "writing").exists, "a child writes")


# -- a front end that shuts the kernel down ------------------------------------------------------------


def test_a_shutdown_right_after_a_cell_whose_save_still_rests(kernel):
    """A dear save is followed by a rest of three times its length; the end of a kernel waits for none."""
    first = kernel()
    first.run(
        "import time\nclass Dear:\n"
        "    def __getstate__(self):\n        time.sleep(0.7); return self.__dict__\n"
        "x = Dear(); y = 0; keepstate.track(x, 'y')"
    )
    first.settle()
    first.run("y = 1; keepstate.snapshot()")
    first.run("y = 2")
    first.shutdown()
    assert kernel().run("print(y)").text == "2\n"


def test_a_shutdown_while_a_picture_is_written(kernel, tmp_path):
    """The kernel is ended by force after some seconds; the child goes on, and the next start waits for it."""
    first = kernel()
    hold_up_a_picture(first, tmp_path)
    first.shutdown()
    (tmp_path / "go").touch()
    second = kernel()
    assert second.run("print(x.value)").text == "new\n"


def test_a_restart_in_the_middle_of_a_cell(kernel):
    """The restart button interrupts it first, and what it had done by then is there."""
    one = kernel()
    message = one.send(
        "import time; x = []; keepstate.track('x')\nwhile True: x.append(1); print(len(x)); time.sleep(0.01)"
    )
    one.wait_for(message, "10\n")
    one._manager.restart_kernel(now=False)
    one.client.wait_for_ready(timeout=TIMEOUT)
    before = one.pid
    one.pid = int(one.run("import os; print(os.getpid())").text)
    assert one.pid != before
    one.run(START)
    assert int(one.run("print(len(x))").text) >= 10


# -- its parent dies -----------------------------------------------------------------------------------

PARENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="python3")
manager.kernel_spec.argv[0] = sys.executable
manager.start_kernel(cwd=sys.argv[1])
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=120)
for code in sys.argv[2:]:
    reply = client.execute_interactive(code, timeout=120)
    assert reply["content"]["status"] == "ok", reply
sys.stdin.read()
"""


def test_a_kernel_whose_parent_is_killed_while_it_writes(kernel, tmp_path):
    """It leaves without a goodbye a second later; the child belongs to nobody, and finishes the picture."""
    cells = [
        START + SLOW + "open('pid', 'w').write(str(os.getpid()))",
        "x = Slow('old'); keepstate.track(x); k = keepstate.snapshot()",
        "x.value = 'new'",
    ]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), *cells],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / ".ipython")},
    )
    with parent:
        wait_until(lambda: (tmp_path / "writing").exists() or parent.poll(), "a child writes")
        process = psutil.Process(int((tmp_path / "pid").read_text()))
        assert process.ppid() == parent.pid
        parent.kill()
    wait_until(lambda: has_ended(process), "the kernel follows its parent")
    (tmp_path / "go").touch()
    assert kernel().run("print(x.value)").text == "new\n"


def has_ended(process):
    """Whether it is gone, or waits to be buried by an init that has no time."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# -- SIGTERM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stuck",
    [
        pytest.param(
            "import ctypes; ctypes.PyDLL(None).sleep(600)", id="in a call of C", marks=pytest.mark.torture
        ),
        pytest.param("sum(range(10**12))", id="in a loop of C"),
    ],
)
def test_a_kernel_that_is_stuck_in_c_dies_of_sigterm_at_once(kernel, tmp_path, stuck):
    """No handler of ours stands between the signal and its effect: it would never get to run."""
    one = kernel()
    one.run("x = 1; keepstate.track('x')")
    one.settle()
    one.send(f"open('stuck', 'w').close()\n{stuck}")  # what it prints could not leave it any more
    wait_until((tmp_path / "stuck").exists, "it is stuck")
    assert terminate(one) == -signal.SIGTERM
    assert kernel().run("print(x)").text == "1\n"


def test_an_idle_kernel_ends_by_sigterm_as_without_us(kernel):
    """With the same exit status, and with all that was kept."""
    bare = kernel(None)
    status = terminate(bare)
    one = kernel()
    one.run("x = 1; keepstate.track('x')")
    one.settle()
    assert terminate(one) == status == -signal.SIGTERM
    assert kernel().run("print(x)").text == "1\n"


def test_the_child_survives_a_sigterm_to_the_group_of_its_kernel(kernel, tmp_path):
    """It has a session of its own: the picture that was under way is committed."""
    one = kernel()
    hold_up_a_picture(one, tmp_path)
    assert terminate(one) == -signal.SIGTERM
    (tmp_path / "go").touch()
    assert kernel().run("print(x.value)").text == "new\n"


def test_the_users_own_handler_of_sigterm_stays_theirs(kernel, tmp_path):
    """After start(), after saves and after stop(); and the process goes on, as they wanted."""
    one = kernel(None)
    one.run(
        "import signal, os, threading\ngot = []\ndef mine(*args): got.append(threading.current_thread().name)"
    )
    one.run("old = signal.signal(signal.SIGTERM, mine)")
    one.run(START)
    same = "print(signal.getsignal(signal.SIGTERM) is mine)"
    assert one.run(same).text == "True\n"
    one.run("x = [1]; keepstate.track(x); k = keepstate.snapshot()")
    one.run("x.append(2); k = keepstate.snapshot()")
    os.kill(one.pid, signal.SIGTERM)
    assert one.run("print(got, keepstate.status().error)").text == "['MainThread'] None\n"
    one.run("keepstate.stop()")
    assert one.run(same).text == "True\n"
    os.kill(one.pid, signal.SIGTERM)
    assert one.run("print(len(got))").text == "2\n"


# -- scripts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_script_that_is_ended_while_its_last_picture_is_written(tmp_path, signal_name):
    """After 2.5 s, by Ctrl-C, with its terminal: the child outlives it, and the state is there."""
    number = getattr(signal, signal_name)
    path = tmp_path / "script.py"
    work = """
        x = Slow('old'); keepstate.track(x); keepstate.snapshot()
        x.value = 'new'
    """
    path.write_text(START + SLOW + textwrap.dedent(work))
    script = subprocess.Popen(
        [sys.executable, str(path)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with script:
        wait_until(lambda: (tmp_path / "writing").exists() or script.poll() is not None, "a child writes")
        assert script.poll() is None  # it waits for the last snapshot of all
        os.killpg(script.pid, number)
        assert script.wait(TIMEOUT) == (0 if signal_name == "SIGINT" else -number)  # it had ended, but for us
        assert script.stderr.read() == b""
    (tmp_path / "go").touch()
    path.write_text(START + "print(x.value)\n")
    again = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    assert again.stdout.endswith("new\n")
