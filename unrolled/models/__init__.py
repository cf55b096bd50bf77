"""Networks that are no unrolled solver, one to a file; each is imported where it is used."""
