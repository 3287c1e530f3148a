"""A model's parts as tensor diagrams with the weights bound to them."""

from unmask.models.diagrams.adapters import adapter as adapter
from unmask.models.diagrams.adapters import weight as weight
from unmask.models.diagrams.bound import Bound as Bound
from unmask.models.diagrams.bound import bound as bound
from unmask.models.diagrams.composing import Composed as Composed
from unmask.models.diagrams.composing import CompositionScores as CompositionScores
from unmask.models.diagrams.composing import composition as composition
from unmask.models.diagrams.composing import composition_scores as composition_scores
from unmask.models.diagrams.freezing import Frozen as Frozen
from unmask.models.diagrams.freezing import freeze as freeze
from unmask.models.diagrams.heads import Head as Head
from unmask.models.diagrams.heads import head as head
from unmask.models.diagrams.induction import InductionScores as InductionScores
from unmask.models.diagrams.induction import induction_scores as induction_scores
from unmask.models.diagrams.mlps import mlp as mlp
from unmask.models.diagrams.multilinear import Whole as Whole
from unmask.models.diagrams.multilinear import edit_site as edit_site
from unmask.models.diagrams.multilinear import whole as whole
from unmask.models.diagrams.paths import PathExpansion as PathExpansion
from unmask.models.diagrams.paths import PathTerm as PathTerm
from unmask.models.diagrams.paths import path_expansion as path_expansion
from unmask.models.diagrams.singular import SingularDirection as SingularDirection
from unmask.models.diagrams.singular import unembed_singular as unembed_singular
