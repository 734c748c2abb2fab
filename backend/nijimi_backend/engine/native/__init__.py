"""Functions in C for processors with AMX: built where they run, or gone without."""
