"""Simulations that the theory of the rules speaks of."""
