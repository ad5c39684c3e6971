"""When to save: the guard, its timer and its thread, and what an earlier session left.

Nothing is imported here, so that the command line can ask for an identity without loading a session (0.3 s).
"""
