"""Ctrl-C beside pictures: every interrupt reaches the user's code as a KeyboardInterrupt."""

from __future__ import annotations


def test_a_storm_of_interrupts(each_python):
    """Hundreds of interrupts beside requests are each one KeyboardInterrupt; none is lost or otherwise."""
    sent, *rest = each_python("""
        import logging       # registers functions around a fork, written in Python up to 3.12
        sent = caught = others = n = 0
        last = False         # whether no more are sent than that one
        inside = -1          # how many had been caught when the loop was entered
        hunter = Hunter(globals(), lambda: caught, 10**9)
        def storm():
            global sent, last
            end = time.monotonic() + 60
            while not last:
                while inside < sent and time.monotonic() < end:
                    time.sleep(0.0002)
                time.sleep(0.0003 * (sent % 7))
                last = (sent >= 300 and len(hunter.found) > 5) or time.monotonic() > end
                sent += 1
                os.kill(os.getpid(), signal.SIGINT)
        def work():
            global n
            n += 1
        thread = threading.Thread(target=storm)
        hunter.start()
        thread.start()
        while not last or caught < sent:
            try:
                inside = caught
                while True:
                    work()
                    n += 1
            except KeyboardInterrupt:
                caught += 1
            except BaseException as error:
                others += 1
                print(repr(error), file=sys.stderr)
                break
        thread.join()
        hunter.count = 0
        while hunter.is_alive():
            n += 1
        for _ in range(1000):
            pass
        show([sent, caught, others, len(hunter.found) > 5, repr(hunter.points.trouble), sys.gettrace()])
    """)
    assert sent > 300
    assert rest == [sent, 0, True, "None", None]


def test_an_interrupt_inside_the_callback(each_python):
    """An interrupt that comes while the picture is taken waits for its end, and then reaches the cell."""
    assert each_python("""
        events = []
        def callback(where):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass
            events.append("picture")
        points = SafePoints(globals())
        thread = threading.Thread(target=lambda: points.request(callback, deadline_seconds=10))
        try:
            thread.start()
            while True:
                events.append("x") if len(events) < 0 else None
        except KeyboardInterrupt:
            events.append("interrupt")
        thread.join()
        for _ in range(1000):
            pass
        show([events, sys.gettrace(), signal.getsignal(signal.SIGINT) is signal.default_int_handler])
    """) == [["picture", "interrupt"], None, True]


def test_a_callback_that_raises_an_interrupt(each_python):
    """A KeyboardInterrupt of the callback's own passes into the user's code, with everything disarmed."""
    assert each_python("""
        def callback(where):
            raise KeyboardInterrupt
        points = SafePoints(globals())
        thread = threading.Thread(target=lambda: points.request(callback, deadline_seconds=10))
        caught = 0
        try:
            thread.start()
            while True:
                pass
        except KeyboardInterrupt:
            caught += 1
        thread.join()
        tools = [sys.monitoring.get_tool(n) for n in (3, 4)] if hasattr(sys, "monitoring") else [None, None]
        for _ in range(1000):
            pass
        show([caught, sys.gettrace(), tools])
    """) == [1, None, [None, None]]


def test_one_putting_off_inside_another(scenario):
    """What comes inside both is delivered once, at the end of the outer one, and all handlers are back."""
    assert scenario("""
        from keepstate._capture import interrupts
        events = []
        def note(number, frame):
            events.append(number == signal.SIGALRM)
        signal.signal(signal.SIGALRM, note)
        for _ in range(2):
            with interrupts.deferred():
                with interrupts.deferred():
                    os.kill(os.getpid(), signal.SIGALRM)
                    for _ in range(1000):
                        pass
                events.append("inner")
                os.kill(os.getpid(), signal.SIGALRM)
                for _ in range(1000):
                    pass
                events.append("outer")
            for _ in range(1000):
                pass
        show([events, signal.getsignal(signal.SIGALRM) is note])
    """) == [["inner", "outer", True] * 2, True]


def test_signals_that_the_user_blocks_stay_blocked_while_forking(scenario):
    """Holding all signals but one lets that one come only if it came before."""
    assert scenario("""
        from keepstate._capture import kept_gil
        def blocked():
            return sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR2])
        before = kept_gil.hold_signals(but=signal.SIGCHLD)
        inside = blocked()
        kept_gil.let_signals(before)
        outside = blocked()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        before = kept_gil.hold_signals(but=signal.SIGCHLD)
        free = set(map(int, signal.valid_signals())) - set(blocked())
        kept_gil.let_signals(before)
        show([signal.SIGCHLD in inside, len(inside) > 50, outside, sorted(free), blocked()])
    """) == [True, True, [12, 17], [9, 17, 19], []]


def test_other_handlers_wait_too(scenario):
    """Timers and other signals of the user are delivered once, after the picture, also if one raises."""
    assert scenario("""
        from keepstate._capture import interrupts
        events = []
        def fail(number, frame):
            events.append(number)
            raise RuntimeError("the user's own")
        def note(number, frame):
            events.append(number)
        signal.signal(signal.SIGALRM, fail)
        signal.signal(signal.SIGUSR1, note)
        before = [signal.getsignal(n) for n in sorted(signal.valid_signals())]
        try:
            with interrupts.deferred():
                for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR1):
                    os.kill(os.getpid(), number)
                for _ in range(100):
                    pass
                inside = list(events)
        except RuntimeError as error:
            raised = str(error)
        show([inside, sorted(events) == sorted([signal.SIGALRM, signal.SIGUSR1]), raised,
              before == [signal.getsignal(n) for n in sorted(signal.valid_signals())]])
    """) == [[], True, "the user's own", True]
