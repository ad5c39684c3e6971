"""What every test relies on."""

import os
import signal
import tempfile

# A shell that starts a command in the background has it ignore interrupts, nohup has it ignore SIGHUP, and
# children inherit that: scripts that wait for one of them would wait for ever.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# Stores that were used are noted in a file of the user's; those of tests are not worth it.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="keepstate-tests-")
