"""Blocks whose derivative is known: one layer with weights and a nonlinearity, taught without autograd."""
