"""Executors that are clusters: each a file, of the packages that it needs nothing is imported before it is made."""
