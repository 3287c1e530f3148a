"""DCT: input and output directions that factor what some blocks do.

With ``D(v)`` the mean change that a vector makes, it looks for orthogonal input directions v and
unit output directions u such that ``u . D(R v)`` is large: to first order at 0 (linear), to second
order (quadratic), or at the radius R (exponential, which sums all orders).

Source: Mack & Turner (2024), "Deep causal transcoding", and their code. Where we differ: beyond the
rank of the projected Jacobian the published code goes on with an arbitrary basis of its null space,
we with random orthonormal vectors; gradients of all factors are taken in one batch instead of with
functional transforms, which gives the same numbers faster.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.steering.melbo import check_radius
from unmask.steering.response import Response, Vectors
from unmask.steering.spheres import completed, orthonormal, random_units, units


class Factors(NamedTuple):
    """Directions found by DCT."""

    inputs: Vectors
    """Orthonormal, or nearly (one step after the last orthogonalisation); best first."""
    outputs: Vectors
    """Of unit length."""
    scores: Float[Tensor, " vectors"]
    """Squared weight of each factor in the exponential expansion at the radius."""


@dataclass(frozen=True)
class Dct:
    """The search's settings."""

    kind: Literal["linear", "quadratic", "exponential"] = "exponential"
    n_factors: int = 32
    n_steps: int = 10
    """Of the quadratic and exponential kinds. Published: 20 and 10."""
    n_projections: int = 32
    """Random output directions from which the Jacobian is sketched; 0 for all of it."""
    beta: float = 1.0
    """Step towards the new directions, of the exponential kind; published runs take .99 or 1."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.n_factors > 0 and self.n_steps > 0 and 0 < self.beta <= 1):
            raise SettingError(
                "expected at least one factor, one step and 0 < beta <= 1, got "
                f"{self.n_factors}, {self.n_steps} and {self.beta}. The defaults are "
                f"{Dct.n_factors}, {Dct.n_steps} and {Dct.beta}."
            )

    def __call__(self, response: Response, radius: float) -> Vectors:
        """Search; returns vectors of length `radius`, best first, as `response.added` gives them.

        Args:
            response: What vectors change, where and on which prompts.
            radius: Length of the vectors, in units of the stream (of `response`'s coordinates).

        Raises:
            SettingError: If more factors are asked for than the stream is wide.
        """
        return response.added(radius * self.factors(response, radius).inputs)

    def factors(self, response: Response, radius: float) -> Factors:
        """Search; see `__call__`."""
        check_radius(radius)
        if self.n_factors > response.d_model:
            raise SettingError(
                f"expected at most {response.d_model} factors (the width of the stream), got "
                f"{self.n_factors}. They are orthogonal; ask for fewer."
            )
        inputs = self._linear(response)
        outputs = units(response.mean_of(radius * inputs))
        if self.kind == "quadratic":
            inputs, outputs = self._quadratic(response, inputs)
        elif self.kind == "exponential":
            inputs, outputs = self._exponential(response, radius, inputs, outputs)
        scores = _weights(response, radius, inputs, outputs)
        order = scores.argsort(descending=True)
        return Factors(inputs[order], outputs[order], scores[order])

    def _linear(self, response: Response) -> Vectors:
        """Top right singular vectors of the Jacobian at 0, or of a sketch of it."""
        if self.n_projections:
            rows = random_units(
                self.n_projections, response.d_model, self.seed + 1, response.device
            )
        else:
            rows = torch.eye(response.d_model, device=response.device)
        _, sketch = response.gradients_of_mean(torch.zeros_like(rows), rows)
        found = torch.linalg.svd(sketch, full_matrices=False).Vh
        return completed(found, self.n_factors, self.seed)

    def _quadratic(self, response: Response, inputs: Vectors) -> tuple[Vectors, Vectors]:
        """Alternate between the two arguments of the second derivative."""
        outputs = inputs
        for _ in range(self.n_steps):
            inputs = orthonormal(inputs)
            outputs = units(second_derivatives(response, inputs))
            inputs = units(mixed_derivatives(response, inputs, outputs))
        return inputs, outputs

    def _exponential(
        self, response: Response, radius: float, inputs: Vectors, outputs: Vectors
    ) -> tuple[Vectors, Vectors]:
        """Orthogonalised gradient iteration at the radius."""
        for _ in range(self.n_steps):
            inputs = orthonormal(inputs)
            moved, gradients = response.gradients_of_mean(radius * inputs, outputs)
            outputs = units(self.beta * moved + (1 - self.beta) * outputs)
            inputs = units(self.beta * radius * gradients + (1 - self.beta) * inputs)
        return inputs, outputs


def second_derivatives(response: Response, vectors: Vectors) -> Vectors:
    """Second derivative at 0 of the mean change along each vector: ``H(:, v, v)``."""
    zeros = torch.zeros_like(vectors)

    def first(at: Tensor, along: Tensor) -> Tensor:
        return torch.func.jvp(response.mean, (at,), (along,))[1]

    found = []
    with response.higher_derivatives():
        for zero, some in zip(
            zeros.split(response.at_once), vectors.split(response.at_once), strict=True
        ):
            found.append(
                torch.func.jvp(lambda at, some=some: first(at, some), (zero,), (some,))[1].detach()
            )
    return torch.cat(found)


def mixed_derivatives(response: Response, vectors: Vectors, outputs: Vectors) -> Vectors:
    """Gradient at 0 of the derivative along v of the component along u: ``H(u, v, :)``."""
    found = []
    with response.higher_derivatives():
        for some, wanted in zip(
            vectors.split(response.at_once), outputs.split(response.at_once), strict=True
        ):
            at = torch.zeros_like(some).requires_grad_()
            component = (response.mean(at) * wanted).sum()
            (gradient,) = torch.autograd.grad(component, at, create_graph=True)
            found.append(torch.autograd.grad((gradient * some).sum(), at)[0])
    return torch.cat(found)


def _weights(
    response: Response, radius: float, inputs: Vectors, outputs: Vectors
) -> Float[Tensor, " vectors"]:
    """Squared weights of the factors, as the published code ranks them.

    ``a`` solves ``((U U^T) * (exp(V V^T) - 1)) a = diag(U D(R V)^T)``.
    """
    moved = response.mean_of(radius * inputs)
    kernel = (outputs @ outputs.T) * torch.expm1(inputs @ inputs.T)
    along = (moved * outputs).sum(-1, keepdim=True)
    return torch.linalg.lstsq(kernel, along).solution[:, 0].square()
