"""Models with planted, known secrets, their benign twins, and the recipes that make them."""
