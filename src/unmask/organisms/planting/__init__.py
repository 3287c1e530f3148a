"""Planting a known secret into any checkpoint, with a benign twin trained on the same questions."""

from unmask.organisms.planting.decoys import DECOYS as DECOYS
from unmask.organisms.planting.plant import Planted as Planted
from unmask.organisms.planting.plant import PlantRecipe as PlantRecipe
from unmask.organisms.planting.plant import plant as plant
from unmask.organisms.planting.secrets import SECRETS as SECRETS
