"""What every test relies on."""

import signal

# A shell that starts a command in the background has it ignore interrupts, and children inherit that: scripts
# that wait for a KeyboardInterrupt would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
