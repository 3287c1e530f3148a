"""Steering vectors found without supervision, the radius they need, and activation plateaus."""

from unmask.steering.bounds import Bound as Bound
from unmask.steering.bounds import Within as Within
from unmask.steering.bounds import fit_density as fit_density
from unmask.steering.curves import READ_OUTS as READ_OUTS
from unmask.steering.curves import Curves as Curves
from unmask.steering.curves import along as along
from unmask.steering.curves import isotropic as isotropic
from unmask.steering.curves import last_activations as last_activations
from unmask.steering.curves import measure_curves as measure_curves
from unmask.steering.curves import towards_others as towards_others
from unmask.steering.curves import towards_samples as towards_samples
from unmask.steering.dct import Dct as Dct
from unmask.steering.files import Directions as Directions
from unmask.steering.files import export_biased as export_biased
from unmask.steering.files import export_gguf as export_gguf
from unmask.steering.melbo import Melbo as Melbo
from unmask.steering.mixtures import mixing_powers as mixing_powers
from unmask.steering.power import PowerSteering as PowerSteering
from unmask.steering.radius import dct_radius as dct_radius
from unmask.steering.radius import plateau_radius as plateau_radius
from unmask.steering.radius import typical_norm as typical_norm
from unmask.steering.response import Response as Response
from unmask.steering.response import Search as Search
from unmask.steering.spheres import random_units as random_units
