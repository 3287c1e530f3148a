"""Rules that make a diagram simpler and keep its value, one in each file.

A rule takes a diagram and returns a simpler expression, or None where it finds nothing to do.
"""
