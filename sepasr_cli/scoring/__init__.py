"""How well signals were separated and words recognised; every score adds, so a corpus score is `sum(...)`."""
