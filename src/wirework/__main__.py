"""``python -m wirework``."""

from wirework.cli import main

main()
