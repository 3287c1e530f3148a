"""How far to trust a gain: split halves, exact and permutation tests, intervals, power.

Pure functions of numpy arrays; every random one takes its ``numpy.random.Generator``.
"""

from .auroc import auroc as auroc
from .auroc import auroc_interval as auroc_interval
from .bootstrap import bootstrap_mean as bootstrap_mean
from .conformal import conformal_p as conformal_p
from .curves import Shape as Shape
from .curves import mixing_power as mixing_power
from .curves import shape as shape
from .exact import above_chance as above_chance
from .exact import below_chance as below_chance
from .exact import clopper_pearson as clopper_pearson
from .gain import Gain as Gain
from .gain import choose as choose
from .gain import confirm as confirm
from .holm import holm as holm
from .interval import Interval as Interval
from .matching import matching as matching
from .power import Power as Power
from .power import detection_power as detection_power
from .power import smallest_detectable as smallest_detectable
from .power_curve import PowerAt as PowerAt
from .power_curve import power_curve as power_curve
from .reliability import Bin as Bin
from .reliability import Reliability as Reliability
from .reliability import reliability as reliability
from .signflip import SignFlip as SignFlip
from .signflip import sign_flip as sign_flip
from .split import confirmation_half as confirmation_half
