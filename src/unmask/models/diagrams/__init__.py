"""A model's parts as tensor diagrams with the weights bound to them."""

from unmask.models.diagrams.bound import Bound as Bound
from unmask.models.diagrams.bound import bound as bound
from unmask.models.diagrams.freezing import Frozen as Frozen
from unmask.models.diagrams.freezing import freeze as freeze
from unmask.models.diagrams.heads import Head as Head
from unmask.models.diagrams.heads import head as head
from unmask.models.diagrams.whole import Whole as Whole
from unmask.models.diagrams.whole import edit_site as edit_site
from unmask.models.diagrams.whole import whole as whole
