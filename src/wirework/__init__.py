"""Graphical tensor notation: diagrams that are drawn, computed and bound to weights."""
