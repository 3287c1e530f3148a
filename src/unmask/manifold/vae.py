"""A variational autoencoder: for activations on a curved surface."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.errors import SettingError
from unmask.manifold.density import Acts, Density
from unmask.manifold.moments import Moments

N_DRAWS = 32
BATCH = 256


class Vae(Density):
    """A decoder with Gaussian noise, learned for each channel, and an encoder to estimate it with.

    The log-probability is the importance-weighted lower bound from 32 draws, the same for every
    activation, so that it is a differentiable function. Reconstruction and divergence are both sums
    over channels, in nats: a mean over channels in one of them lets the code collapse.

    It starts as probabilistic principal components, for which the bound is exact (Tipping & Bishop
    1999), and learns what bends away from them.

    Source: Kingma & Welling (2014); the bound is that of Burda et al. (2016).
    """

    kind: ClassVar[str] = "vae"

    def __init__(
        self,
        mean: Float[Tensor, " d_model"],
        covariance: Float[Tensor, "d_model d_model"],
        network: "_Network",
    ) -> None:
        """Take a trained network."""
        super().__init__(mean, covariance)
        self.network = network.requires_grad_(False)
        self.scale = float((self.covariance.trace() / self.d_model).sqrt())
        draws = torch.Generator().manual_seed(0)
        self._tensors["draws"] = torch.randn(N_DRAWS, network.d_latent, generator=draws)

    @classmethod
    def fit(
        cls,
        acts: Float[Tensor, "token d_model"],
        *,
        d_latent: int = 16,
        d_hidden: int = 256,
        n_steps: int = 2000,
        learning_rate: float = 1e-3,
        shrinkage: float | None = None,
        seed: int = 0,
    ) -> "Vae":
        """Train on activations, in batches of 256.

        Args:
            acts: Real activations at one site, all in memory.
            d_latent: Width of the code; at most one less than that of the activations.
            d_hidden: Width of both networks' hidden layers.
            n_steps: Steps of Adam.
            learning_rate: Of Adam, at first; it falls to zero along a cosine.
            shrinkage: Of the covariance that distances and whitening use.
            seed: Of the weights and of every draw.

        Raises:
            SettingError: If a size is below 1.
        """
        if min(d_latent, d_hidden, n_steps) < 1:
            raise SettingError(
                f"expected sizes and steps of at least 1, got d_latent={d_latent}, "
                f"d_hidden={d_hidden} and n_steps={n_steps}. The defaults are 16, 256 and 2000."
            )
        moments = Moments.of(acts)
        generator = torch.Generator().manual_seed(seed)
        covariance = moments.shrunk(shrinkage)
        d_latent = min(d_latent, acts.shape[-1] - 1)
        network = _Network(acts.shape[-1], d_latent, d_hidden, generator)
        network.start_(covariance / (covariance.trace() / acts.shape[-1]))
        found = cls(moments.mean, covariance, network.to(acts.device))
        found._train(acts, n_steps, learning_rate, generator)
        return found

    def log_prob(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """A lower bound of the log of the density, in nats."""
        network = self.network.to(acts.device)
        scaled = self._scaled(acts)
        centre, log_scale = network.encode(scaled)
        draws = self._on("draws", acts)
        codes = centre[..., None, :] + log_scale.exp()[..., None, :] * draws
        weights = network.log_likelihood(scaled[..., None, :], codes)
        weights = weights + _normal(codes) - _normal(draws) + log_scale.sum(-1)[..., None]
        bound = weights.logsumexp(-1) - math.log(N_DRAWS)
        return bound - self.d_model * math.log(self.scale)

    def parameters(self) -> dict[str, Tensor]:
        """The network's weights."""
        return {name: value.detach() for name, value in self.network.state_dict().items()}

    @classmethod
    def from_parameters(
        cls,
        moments: tuple[Float[Tensor, " d_model"], Float[Tensor, "d_model d_model"]],
        parameters: dict[str, Tensor],
    ) -> "Vae":
        """Put a saved density together again."""
        d_hidden, d_latent = parameters["decoder.hidden.weight"].shape
        network = _Network(len(moments[0]), d_latent, d_hidden, torch.Generator())
        network.load_state_dict(parameters)
        return cls(*moments, network)

    def _scaled(self, acts: Acts) -> Acts:
        return (acts - self._on("mean", acts)) / self.scale

    def _train(
        self,
        acts: Float[Tensor, "token d_model"],
        n_steps: int,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        network = self.network.requires_grad_(True)
        adam = torch.optim.Adam(network.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
        scaled = self._scaled(acts.float())
        for _ in range(n_steps):
            chosen = torch.randint(len(scaled), (BATCH,), generator=generator)
            batch = scaled[chosen.to(scaled.device)]
            centre, log_scale = network.encode(batch)
            noise = torch.randn(centre.shape, generator=generator).to(centre)
            code = centre + log_scale.exp() * noise
            divergence = (log_scale.exp().square() + centre.square() - 1) / 2 - log_scale
            bound = network.log_likelihood(batch, code) - divergence.sum(-1)
            adam.zero_grad()
            (-bound.mean()).backward()
            adam.step()
            schedule.step()
        network.requires_grad_(False)


class _Network(nn.Module):
    """Encoder and decoder, each linear plus one hidden layer, and the noise's log-scale."""

    def __init__(
        self, d_model: int, d_latent: int, d_hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.d_latent = d_latent
        self.encoder = _Bent(d_model, d_hidden, 2 * d_latent, generator)
        self.decoder = _Bent(d_latent, d_hidden, d_model, generator)
        self.log_noise = nn.Parameter(torch.zeros(d_model))

    @torch.no_grad()
    def start_(self, covariance: Float[Tensor, "d_model d_model"]) -> None:
        """Become probabilistic principal components of activations with this covariance."""
        values, vectors = torch.linalg.eigh(covariance)
        noise = values[: -self.d_latent].mean()
        values, vectors = values[-self.d_latent :], vectors[:, -self.d_latent :]
        spread = (values - noise).clamp(min=0).sqrt()
        self.log_noise.fill_(float(noise.log() / 2))
        self.decoder.linear.weight.copy_(vectors * spread)
        self.encoder.linear.weight[: self.d_latent] = ((vectors * spread / values).T).float()
        self.encoder.linear.weight[self.d_latent :] = 0
        self.encoder.linear.bias[self.d_latent :] = ((noise / values).log() / 2).float()

    def encode(self, scaled: Acts) -> tuple[Tensor, Tensor]:
        """Centre, and logarithm of the scale, of the code."""
        centre, log_scale = self.encoder(scaled).chunk(2, dim=-1)
        return centre, log_scale

    def log_likelihood(self, scaled: Tensor, codes: Tensor) -> Tensor:
        """Log-probability of activations given codes, in nats."""
        error = (scaled - self.decoder(codes)) * torch.exp(-self.log_noise)
        return _normal(error) - self.log_noise.sum()


class _Bent(nn.Module):
    """A linear map plus a hidden layer that adds nothing at first."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int, generator: torch.Generator) -> None:
        super().__init__()
        skip = nn.utils.skip_init  # draws nothing from the global generator
        self.linear: Any = skip(nn.Linear, d_in, d_out)
        self.hidden: Any = skip(nn.Linear, d_in, d_hidden)
        self.out: Any = skip(nn.Linear, d_hidden, d_out, bias=False)
        with torch.no_grad():
            self.hidden.weight.normal_(0, d_in**-0.5, generator=generator)
            self.hidden.bias.uniform_(-1, 1, generator=generator)
            self.linear.bias.zero_()
            self.out.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.out(nn.functional.gelu(self.hidden(x)))


def _normal(values: Tensor) -> Tensor:
    """Standard normal log-density, summed over the last axis."""
    return -(values.square() + math.log(2 * math.pi)).sum(-1) / 2
