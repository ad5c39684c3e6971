"""A child that dies while it reads memory by address costs a picture, and imprints from then on."""


def test_a_fault_in_an_imprint_costs_no_name(run_script):
    """The picture is taken again without, nothing is skipped, and there is no further attempt."""
    done = run_script("""
        import os, signal
        import keepstate
        from keepstate._capture.imprint import look

        def fault():
            with open("faults", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGSEGV)

        look.tried_layout = fault
        session = keepstate.start(store="store", interval=3600, restore="off", namespace=globals())
        big, n = {f"key {i}": [i, str(i)] for i in range(60_000)}, 0
        keepstate.track("big", "n")
        for n in range(5):
            kept = keepstate.snapshot()
            assert (kept.skipped, kept.names) == ({}, ("big", "n")), kept
        assert keepstate.status().error is None
        with open("faults") as file:
            assert file.read() == "x"
        assert keepstate.load("n") == 4
        keepstate.stop(snapshot=False)
        print("done")
    """)
    assert done.stdout.endswith("done\n")
