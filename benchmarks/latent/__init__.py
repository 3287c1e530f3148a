"""Benchmarks of latent behaviours: what searches find, at what cost, and how fast."""
