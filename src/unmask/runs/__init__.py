"""Runs: plan, store, resume, and the frame from arms to a verdict."""
