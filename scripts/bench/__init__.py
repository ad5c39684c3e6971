"""Measure keepstate beside this machine's limits and beside what people use instead.

    make bench                          measures everything; writes docs/benchmarks.json, .md and the pictures
    make bench ONLY="stall drag"        these sections alone; the rest of the page stays as it is
    make bench QUICK=1                  small sizes, one round: whether it works; writes to build/bench

A *section* measures one thing: a module with a ``SECTION``. Its raw numbers go into the JSON, and the page
and the pictures are made from that alone.
"""
