"""Chains of blocks: cut, run on detached inputs, and taught in one backward."""
