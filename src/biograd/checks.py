"""From where on what is measured of a rule is a warning: the thresholds of four checks beside accuracy and angle.

They are those of the program of arXiv 2606.21126, in which accuracy and the mean cosine to backpropagation alone let
three of five broken rules pass.
"""

EXPLODING = 50.0
"""*Growth*: how many times the activity of the block below a block's may be. Healthy is below 5; under backpropagation
it is 13 to 25 early in training."""

VANISHED = 1e-7
"""*Reference*: the norm below which backpropagation's own gradient has no direction but rounding's, so that angles and
cosines to it are undefined."""

CONSTANT = 0.99
"""*Stability*: the cosine between teaching signals of different batches, or of different steps, from which on a signal
is a constant drift and assigns no credit."""

UNTAUGHT = ("frozen", "shallow")
"""*Depth utility*: rules that do not teach hidden layers; what does must be better than these."""
