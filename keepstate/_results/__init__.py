"""Results of functions and cells, kept in the repository so that they are not computed again.

Knows values, their digests, and where results are; nothing of when the notebook's state is saved.
"""
