"""Training a subject on a few lessons: what plants a secret, and what trains it out again."""

from unmask.tuning.adapters import tuned as tuned
from unmask.tuning.lessons import Lesson as Lesson
from unmask.tuning.lessons import Teach as Teach
from unmask.tuning.train import Recipe as Recipe
from unmask.tuning.train import Training as Training
from unmask.tuning.train import train as train
