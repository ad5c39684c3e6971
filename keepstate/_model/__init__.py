"""Frozen values and Protocols that every layer above may speak of."""
