"""The page on benchmarks, and what is measured of the package: the page has the rows in ``results``."""
