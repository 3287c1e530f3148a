"""The gallery: figures of tensor notation with the code that draws them.

``python -m wirework.gallery --out FOLDER`` writes the page; with ``--figures FOLDER``, every figure
as SVG and TikZ, too. The figures follow Taylor, "An introduction to graphical tensor notation for
mechanistic interpretability" (arXiv:2402.01790), and go on to derivatives, decompositions and
expectations.
"""

from wirework.gallery.figure import Figure as Figure
from wirework.gallery.figure import figures as figures
