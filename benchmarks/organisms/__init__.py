"""What organisms say about the procedure: arms, error rates, power."""
