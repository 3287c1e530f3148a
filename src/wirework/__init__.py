"""Graphical tensor notation: diagrams that are drawn, computed and bound to weights.

>>> import numpy as np
>>> A, x = tensor("A", "i j"), tensor("x", "j")
>>> str(A @ x)
'i: A[i j] x[j]'
>>> evaluate(A @ x, {"A": np.eye(2), "x": np.array([3.0, 4.0])}).tolist()
[3.0, 4.0]
"""

from wirework.algebra import apply as apply
from wirework.algebra import product as product
from wirework.algebra import trace as trace
from wirework.algebra import transpose as transpose
from wirework.attention import attention as attention
from wirework.compare import equal as equal
from wirework.compare import isotopic as isotopic
from wirework.compare import same_value as same_value
from wirework.decompose import eigen as eigen
from wirework.decompose import qr as qr
from wirework.decompose import svd as svd
from wirework.decompose import tensor_train as tensor_train
from wirework.decompose_multilinear import cp as cp
from wirework.decompose_multilinear import tucker as tucker
from wirework.derivative import derivative as derivative
from wirework.derivative import expand as expand
from wirework.derivative import nabla as nabla
from wirework.diagram import Diagram as Diagram
from wirework.diagram import Leg as Leg
from wirework.diagram import Sum as Sum
from wirework.diagram import Tensor as Tensor
from wirework.diagram import copy as copy
from wirework.diagram import tensor as tensor
from wirework.emit import draw as draw
from wirework.emit import to_pdf as to_pdf
from wirework.emit import to_png as to_png
from wirework.emit import to_svg as to_svg
from wirework.emit import to_tikz as to_tikz
from wirework.equation import Equation as Equation
from wirework.errors import WireworkError as WireworkError
from wirework.files import load as load
from wirework.gauge import canonical as canonical
from wirework.gauge import invariants as invariants
from wirework.gauge import regauge as regauge
from wirework.gaussian import expectation as expectation
from wirework.layout import Hints as Hints
from wirework.layout import lay_out as lay_out
from wirework.simplify import simplify as simplify
from wirework.simplify import steps as steps
from wirework.strings import einsum as einsum
from wirework.text import parse as parse
from wirework.text import parse_equation as parse_equation
from wirework.values import code as code
from wirework.values import evaluate as evaluate
from wirework.values import plan as plan
