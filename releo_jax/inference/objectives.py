"""What an amortised posterior is trained to do.

An objective is a record with `prepare(amortized, source, *, key, batch) -> (loss, data)`; `loss(parameters, key, data)`
is what the training loop minimises, `data` the arrays it needs on the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.acquisitions import Acquisitions, from_observations
from releo_jax.inference.density import site_density
from releo_jax.inference.laws import Law
from releo_jax.inference.structure import run, simulate
from releo_jax.observations import Observations, check_observations, take
from releo_jax.training.devices import Loss

if TYPE_CHECKING:
    from releo_jax.inference.amortized import AmortizedPosterior

Source: TypeAlias = Acquisitions | Observations


class Objective(Protocol):
    """What `AmortizedPosterior.fit` asks of an objective."""

    def prepare(self, amortized: AmortizedPosterior, source: Source, *, key: Array, batch: int) -> tuple[Loss, Any]:
        """The loss and its data."""


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Likelihood of simulated parameters: minimises -E[log q(theta | x)] over pairs drawn from the model itself.

    The posterior of the sites inside the plate is learned with the global ones (the noise) integrated out; those stay
    at their prior. Needs no real data, and is calibrated under the model by construction.

    Attributes:
        n_simulations: size of a bank of pairs simulated beforehand; None simulates every batch afresh.

    References:
        Papamakarios & Murray 2016, NeurIPS 29 (neural posterior estimation).
    """

    n_simulations: int | None = None

    def prepare(self, amortized: AmortizedPosterior, source: Source, *, key: Array, batch: int) -> tuple[Loss, Any]:
        """The loss and its data, an acquisition sampler as source (or observations to draw angles and masks from)."""
        acquisitions = source if callable(source) else from_observations(source)
        structure, model = amortized.structure, amortized.model
        separately = bool(structure.shared)
        local = [site.name for site in structure.local]

        def pairs(key: Array, n: int) -> tuple[dict[str, Array], Any]:
            key_acquisition, key_model = jax.random.split(key)
            seen = acquisitions(key_acquisition, n)
            sites, simulated = simulate(structure, model, seen, key_model, separately=separately)
            return {name: sites[name] for name in local}, simulated

        def score(parameters: Any, values: Mapping[str, Array], observations: Observations) -> Array:
            guide = amortized.guide(parameters)
            return -jnp.mean(guide.local(guide.encoder(observations)).log_prob(values))

        size = self.n_simulations
        if size is None:
            return lambda parameters, key, data: score(parameters, *pairs(key, batch)), None
        bank = _bank(pairs, key, size)

        def from_bank(parameters: Any, key: Array, bank: Any) -> Array:
            rows = jax.tree.leaves(bank)[0].shape[0]
            chosen = jax.random.randint(key, (batch,), 0, rows)
            return score(parameters, *jax.tree.map(lambda leaf: leaf[chosen], bank))

        return from_bank, bank


def _bank(pairs: Callable[[Array, int], Any], key: Array, n: int, chunk: int = 8192) -> Any:
    """`n` pairs, simulated in chunks of one size so that memory is bounded and one program serves all."""
    chunk = min(n, chunk)
    compiled = jax.jit(pairs, static_argnums=1)
    parts = [jax.device_get(compiled(k, chunk)) for k in jax.random.split(key, -(-n // chunk))]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)[:n]), *parts)


@dataclasses.dataclass(frozen=True)
class Elbo:
    """Evidence lower bound on unlabelled observations: the variational autoencoder whose decoder is the model.

    Learns the global sites too (per-band noise). Minibatches are scaled by the number of pixels over their size.

    Attributes:
        particles: Monte-Carlo draws per step, vectorised.
        n_total: pixels that the data stand for; default those given.
        weights: factor on the divergence from the prior, by site (1 where not named).

    References:
        Kingma & Welling 2014, ICLR (arXiv 1312.6114).
    """

    particles: int = 4
    n_total: int | None = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def prepare(self, amortized: AmortizedPosterior, source: Source, *, key: Array, batch: int) -> tuple[Loss, Any]:
        """The loss and its data, observations as source."""
        observations, pixels = _in_memory(source, "elbo")
        total = self.n_total or pixels
        _known(self.weights, [s.name for s in amortized.structure.local + amortized.structure.shared])

        def loss(parameters: Any, key: Array, observations: Observations) -> Array:
            key_batch, key_guide = jax.random.split(key)
            data = _minibatch(key_batch, observations, batch)
            return -_bound(amortized, parameters, key_guide, data, self.particles, total, self.weights) / total

        return loss, observations


def _in_memory(source: Source, objective: str) -> tuple[Observations, int]:
    if callable(source):
        raise ValueError(
            f"objective {objective!r}: expected observations as the source, got an acquisition sampler; that one "
            'serves objective="simulation"'
        )
    return dict(source), check_observations(source)


def _minibatch(key: Array, observations: Observations, batch: int) -> Observations:
    # The rows at hand may be those of a part of a step, see `releo_jax.training.Loop`.
    pixels = check_observations(observations)
    # A full batch needs no drawing, and without it the bound has no noise from the data.
    return observations if batch >= pixels else take(observations, jax.random.randint(key, (batch,), 0, pixels))


def _known(names: Mapping[str, Any], allowed: list[str]) -> None:
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise ValueError(f"expected names among {allowed}, got {unknown}")


def _draw(amortized: AmortizedPosterior, parameters: Any, key: Array, data: Observations, n: int) -> Any:
    """Local and global draws `(n, ...)` of the guide, with the laws they come from."""
    key_local, key_shared = jax.random.split(key)
    guide = amortized.guide(parameters)
    local: Law = guide.local(guide.encoder(data))
    values, log_local = local.sample(key_local, (n,))
    if guide.shared is None:
        return values, log_local, jnp.zeros(n), local, None
    shared: Law = guide.shared()
    shared_values, log_shared = shared.sample(key_shared, (n,))
    return values | shared_values, log_local, log_shared, local, shared


def _bound(
    amortized: AmortizedPosterior,
    parameters: Any,
    key: Array,
    data: Observations,
    particles: int,
    total: int,
    weights: Mapping[str, float],
) -> Array:
    """Evidence lower bound of all `total` pixels, from a minibatch."""
    structure = amortized.structure
    names_shared = {site.name for site in structure.shared}
    values, log_local, log_shared, local, shared = _draw(amortized, parameters, key, data, particles)
    scale = total / check_observations(data)

    def log_joint(values: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        trace = run(amortized.model, data, None, values)
        sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
        terms = {name: _log_density(site) * (1.0 if name in names_shared else scale) for name, site in sites.items()}
        seen = sum((terms.pop(name) for name in structure.observed), jnp.zeros(()))
        return terms, seen

    prior, seen = jax.vmap(log_joint)(values)
    divergence = log_shared + scale * log_local.sum(-1) - sum(prior.values())
    for name, weight in weights.items():
        law = shared if name in names_shared else local
        log_q = law.marginal(name).log_prob(values[name])
        log_q = log_q if name in names_shared else scale * log_q.sum(-1)
        divergence = divergence + (weight - 1.0) * (log_q - prior[name])
    return jnp.mean(seen - divergence)


def _log_density(site: Mapping[str, Any]) -> Array:
    return jnp.sum(site_density(site))


@dataclasses.dataclass(frozen=True)
class ImportanceWeightedElbo:
    """Importance-weighted evidence lower bound: closer to the evidence, and kinder to a guide that is too wide.

    Each pixel has `particles` draws of its local sites inside the logarithm; the global sites are drawn once per step.
    The gradient of the local law is doubly reparameterised: its noise does not grow with the number of draws.

    Attributes:
        particles: draws inside the logarithm.
        n_total: pixels that the data stand for; default those given.

    Equation:
        E_q(g) [sum_i E_q(z_1..K | x_i) log 1/K sum_k p(x_i, z_k | g) / q(z_k | x_i) + log p(g) - log q(g)].

    References:
        Burda, Grosse & Salakhutdinov 2016, ICLR (arXiv 1509.00519);
        Tucker, Lawson, Gu & Maddison 2019, ICLR (arXiv 1810.04152), eq. 6.
    """

    particles: int = 8
    n_total: int | None = None

    def prepare(self, amortized: AmortizedPosterior, source: Source, *, key: Array, batch: int) -> tuple[Loss, Any]:
        """The loss and its data, observations as source."""
        observations, pixels = _in_memory(source, "iw_elbo")
        total = self.n_total or pixels

        def loss(parameters: Any, key: Array, observations: Observations) -> Array:
            key_batch, key_guide = jax.random.split(key)
            data = _minibatch(key_batch, observations, batch)
            return -_weighted_bound(amortized, parameters, key_guide, data, self.particles, total) / total

        return loss, observations


def _weighted_bound(
    amortized: AmortizedPosterior, parameters: Any, key: Array, data: Observations, particles: int, total: int
) -> Array:
    """Importance-weighted bound of all `total` pixels, from a minibatch, with doubly reparameterised slopes."""
    key_local, key_shared = jax.random.split(key)
    guide = amortized.guide(parameters)
    law: Law = guide.local(guide.encoder(data))
    fixed: Law = jax.lax.stop_gradient(law)
    local, _ = law.sample(key_local, (particles,))
    shared: dict[str, Array] = {}
    log_shared = jnp.zeros(())
    if guide.shared is not None:
        shared, log_shared = guide.shared().sample(key_shared)
    scale = total / check_observations(data)
    names_local = [*(site.name for site in amortized.structure.local), *amortized.structure.observed]

    def joint(values: Mapping[str, Array], shared: Mapping[str, Array]) -> tuple[Array, Array]:
        trace = run(amortized.model, data, None, {**values, **shared})
        inside = sum((site_density(trace[name]) for name in names_local), jnp.zeros(()))
        return inside, sum((_log_density(trace[name]) for name in shared), jnp.zeros(()))

    def log_weights(local: Mapping[str, Array], shared: Mapping[str, Array]) -> tuple[Array, Array]:
        inside, outside = jax.vmap(joint, in_axes=(0, None))(local, shared)
        return inside - fixed.log_prob(local), outside[0]

    # The model is followed once; its slopes with respect to the draws are weighed, then handed to the guide's.
    (weights, prior), pull = jax.vjp(log_weights, *jax.lax.stop_gradient((local, shared)))
    normalised = jax.nn.softmax(weights, axis=0)
    slope_local, slope_shared = pull((normalised, jnp.ones_like(prior) / scale))
    bound = jax.nn.logsumexp(weights, axis=0).sum() - weights.shape[1] * jnp.log(float(particles))
    value = jax.lax.stop_gradient(scale * bound + prior)
    towards = jnp.zeros(())
    for name, slope in slope_local.items():
        # The slopes hold the draw's share once; the square takes the place of the score of the guide.
        share = normalised.reshape(*normalised.shape, *(1,) * (slope.ndim - 2))
        towards = towards + scale * _moving(share * slope, local[name])
    for name, slope in slope_shared.items():
        towards = towards + scale * _moving(slope, shared[name])
    return value + towards - log_shared


def _moving(slope: Array, value: Array) -> Array:
    """Zero, with that slope with respect to the value."""
    slope, still = jax.lax.stop_gradient((slope, value))
    return jnp.sum(slope * (value - still))


@dataclasses.dataclass(frozen=True)
class MomentMatching:
    """The published loss of PROSAIL-VAE: the reconstructions of a pixel are summarised by their mean and variance.

    Attributes:
        mean_sites: by record name, the `numpyro.deterministic` site that holds the simulator's bands `(pixel, band)`.
        particles: draws whose mean and variance are taken (70 in the paper).
        weights: factor on the divergence of a site from its prior, by site; sites not named have none
            (the paper: 2 on leaf area index, none on the others).
        exclude: by record name, band positions left out of the reconstruction (the paper: B02).
        floor: smallest variance.

    Equation:
        sum_b (x_b - m_b)^2 / max(v_b, floor) + log max(v_b, floor) + sum_s weight_s E_q[log q(s) - log p(s)].

    References:
        Zérah, Valero & Inglada 2024, Remote Sens. Environ. 312, 114309.
    """

    mean_sites: Mapping[str, str]
    particles: int = 70
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    exclude: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    floor: float = 1e-6

    def prepare(self, amortized: AmortizedPosterior, source: Source, *, key: Array, batch: int) -> tuple[Loss, Any]:
        """The loss and its data, observations as source."""
        observations, _ = _in_memory(source, "moment_matching")
        structure = amortized.structure
        _known(self.weights, [site.name for site in structure.local])
        _known(self.mean_sites, list(structure.observed))
        _known(
            dict.fromkeys(self.mean_sites.values()),
            [n for n, local in structure.deterministic.items() if local],
        )

        def loss(parameters: Any, key: Array, observations: Observations) -> Array:
            key_batch, key_guide = jax.random.split(key)
            data = _minibatch(key_batch, observations, batch)
            values, _, _, local, _ = _draw(amortized, parameters, key_guide, data, self.particles)

            def simulated(values: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
                trace = run(amortized.model, data, None, values)
                bands = {name: trace[site]["value"] for name, site in self.mean_sites.items()}
                return bands, {name: trace[name]["fn"].log_prob(trace[name]["value"]) for name in self.weights}

            bands, prior = jax.vmap(simulated)(values)
            total = sum(self._misfit(name, bands[name], data[name]) for name in bands)
            for name, weight in self.weights.items():
                total = total + weight * (local.marginal(name).log_prob(values[name]) - prior[name]).mean(0)
            return jnp.mean(total)

        return loss, observations

    def _misfit(self, name: str, bands: Array, record: Any) -> Array:
        used = record.mask & ~np.isin(np.arange(bands.shape[-1]), self.exclude.get(name, ()))
        variance = jnp.maximum(bands.var(0, ddof=1), self.floor)
        return jnp.where(used, (record.values - bands.mean(0)) ** 2 / variance + jnp.log(variance), 0.0).sum(-1)


OBJECTIVES: Mapping[str, Callable[..., Objective]] = {
    "simulation": Simulation,
    "elbo": Elbo,
    "iw_elbo": ImportanceWeightedElbo,
    "moment_matching": MomentMatching,
}
