"""What every test relies on."""

import signal

# A shell that starts a command in the background has it ignore interrupts, nohup has it ignore SIGHUP, and
# children inherit that: scripts that wait for one of them would wait for ever.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
