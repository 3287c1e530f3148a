"""Arms: one file for each way to make a model show what it hides."""
