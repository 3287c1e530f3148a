"""``python -m wirework.gallery``."""

from wirework.gallery.page import main

main()
