"""Writes a state under each of several stacks and restores it under each other one: ``make crossings``.

What came of it is ``docs/crossings.md``. ``cases.txt`` says what is kept, ``inside.py`` runs in each stack.
"""
