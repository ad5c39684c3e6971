"""Foundations without domain words: the clock and files that survive a power cut."""
