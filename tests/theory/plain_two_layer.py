"""Feedback alignment on two layers, straight from the algorithm: a loop over trials and λ, with W itself."""

import math

import numpy as np


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


PSI = {
    "linear": (lambda u: u, np.ones_like),
    "relu": (lambda u: np.where(u > 0, u, 0.0), lambda u: (u > 0).astype(float)),
    "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    "sigmoid": (sigmoid, lambda u: sigmoid(u) * (1 - sigmoid(u))),
}

LAMBDA = {
    "constant": lambda t, T: 1.0,
    "cut-off": lambda t, T: 1.0 if t < T else 0.0,
    "decay": lambda t, T: math.exp(-t / T),
}


def train(settings, problem, strength, steps):
    """W, β and the errors after so many steps of one trial."""
    psi, slope = PSI[settings.activation]
    W, beta, p = problem.W.copy(), problem.beta.copy(), settings.width
    for t in range(steps):
        U = problem.X @ W.T
        hidden = psi(U)
        f = hidden @ beta / math.sqrt(p)
        eta, decay = settings.rate, strength * LAMBDA[settings.schedule](t, settings.horizon)
        gradient = f - problem.y if settings.units == "paper" else 2 * (f - problem.y) / settings.examples
        back = problem.b if settings.method == "fa" else beta
        step_W = ((gradient[:, None] * slope(U)).T @ problem.X) * back[:, None] / math.sqrt(p)
        step_beta = hidden.T @ gradient / math.sqrt(p) + decay * beta
        W, beta = W - eta * step_W, beta - eta * step_beta
    return W, beta, psi(problem.X @ W.T) @ beta / math.sqrt(p) - problem.y
