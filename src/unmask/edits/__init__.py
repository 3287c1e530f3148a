"""What may be changed in a model: activations at a site, or weights. Tensors in, tensors out."""

from unmask.edits.base import NO_EDIT as NO_EDIT
from unmask.edits.base import ActivationEdit as ActivationEdit
from unmask.edits.base import Composition as Composition
from unmask.edits.base import Edit as Edit
from unmask.edits.base import WeightEdit as WeightEdit
from unmask.edits.constrained import Constrained as Constrained
from unmask.edits.constrained import Constraint as Constraint
from unmask.edits.delta import WeightDelta as WeightDelta
from unmask.edits.direction import AblateDirection as AblateDirection
from unmask.edits.direction import AddVector as AddVector
from unmask.edits.noise import ResidualNoise as ResidualNoise
from unmask.edits.site import Positions as Positions
from unmask.edits.site import Site as Site
from unmask.edits.site import Stream as Stream
from unmask.edits.site import Tokens as Tokens
from unmask.edits.weights import WeightNoise as WeightNoise
from unmask.edits.weights import edited_weights as edited_weights
