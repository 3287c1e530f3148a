"""Subjects: the only place that knows architectures."""

from unmask.models.rows import ChoiceScores as ChoiceScores
from unmask.models.rows import Row as Row
from unmask.models.rows import join as join
