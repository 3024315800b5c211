"""Write what every rule does with every net of the zoo into the page."""

from tests.zoo.animals import ANIMALS
from tests.zoo.page import PAGE, outcomes, written

PAGE.write_text(written({animal.name: outcomes(animal) for animal in ANIMALS}))
