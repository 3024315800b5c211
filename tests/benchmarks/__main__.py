"""Write the recorded rows into the page, and draw its figures from them."""

from tests.benchmarks.figures import drawings
from tests.benchmarks.page import PAGE, written

PAGE.write_text(written())
for drawing, place in drawings():
    place.write_text(drawing.svg)
