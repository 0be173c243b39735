"""Laws of sites with bounds: normals truncated to the intervals, independent of each other."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from releo_jax.distributions import TruncatedNormal
from releo_jax.inference.laws import offsets
from releo_jax.inference.structure import Site


class TruncatedMarginal(eqx.Module):
    """Normal truncated to the interval of its site.

    Attributes:
        site: whose value it is.
        location, scale: of the parent normal on the interval mapped to 0 to 1, `(*batch, site.size)`.
    """

    site: Site = eqx.field(static=True)
    location: Array
    scale: Array

    def _parent(self) -> dist.Distribution:
        return TruncatedNormal(self.location, self.scale, low=0.0, high=1.0)

    def _shaped(self, unit: Array) -> Array:
        return unit.reshape(*unit.shape[:-1], *self.site.shape)

    @property
    def mean(self) -> Array:
        """Expectation `(*batch, *site.shape)`."""
        low, high = _interval(self.site)
        return low + (high - low) * self._shaped(self._parent().mean)

    @property
    def std(self) -> Array:
        """Standard deviation `(*batch, *site.shape)`."""
        low, high = _interval(self.site)
        return (high - low) * self._shaped(jnp.sqrt(self._parent().variance))

    def quantile(self, level: float | Array) -> Array:
        """Value `(*batch, *site.shape)` below which the site lies with probability `level`."""
        low, high = _interval(self.site)
        return low + (high - low) * self._shaped(self._parent().icdf(jnp.asarray(level, self.location.dtype)))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Values `(*shape, *batch, *site.shape)`."""
        low, high = _interval(self.site)
        return low + (high - low) * self._shaped(self._parent().sample(key, shape))

    def log_prob(self, value: Array) -> Array:
        """Log density `(*batch)`."""
        low, high = _interval(self.site)
        unit = _flat(self.site, (value - low) / (high - low))
        return self._parent().log_prob(unit).sum(-1) - _log_width(self.site)


class TruncatedNormals(eqx.Module):
    """Independent truncated normals on the intervals of their sites.

    Attributes:
        sites: in the order of the vector.
        location, scale: of the parent normals on the intervals mapped to 0 to 1, `(*batch, size)`.
    """

    sites: tuple[Site, ...] = eqx.field(static=True)
    location: Array
    scale: Array

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density."""
        # One program for all sites: their arithmetic is the same, and compiling it takes seconds each time.
        parent = self._parent()
        unit = parent.sample(key, shape)
        return self._values(unit), parent.log_prob(unit).sum(-1) - self._log_width()

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""
        parts = [(site, *_interval(site), jnp.asarray(values[site.name])) for site in self.sites]
        unit = [_flat(site, (value - low) / (high - low)) for site, low, high, value in parts]
        return self._parent().log_prob(jnp.concatenate(unit, axis=-1)).sum(-1) - self._log_width()

    def _parent(self) -> dist.Distribution:
        return TruncatedNormal(self.location, self.scale, low=0.0, high=1.0)

    def _values(self, unit: Array) -> dict[str, Array]:
        """Values of all sites at places `(*batch, size)` between 0 and 1 in their intervals."""
        return {name: low + stretched for name, (low, stretched) in self._stretched(unit).items()}

    def _stretched(self, unit: Array) -> dict[str, tuple[Array, Array]]:
        """Lower bounds, and shares `(*batch, size)` of the intervals as lengths."""
        found = {}
        for site, where in zip(self.sites, offsets(self.sites).values(), strict=True):
            low, high = _interval(site)
            found[site.name] = low, (high - low) * unit[..., where].reshape(*unit.shape[:-1], *site.shape)
        return found

    def _log_width(self) -> float:
        return sum(_log_width(site) for site in self.sites)

    def moments(self) -> dict[str, tuple[Array, Array]]:
        """Mean and standard deviation of every site, in one program for all."""
        parent = self._parent()
        mean, spread = self._values(parent.mean), self._stretched(jnp.sqrt(parent.variance))
        return {name: (mean[name], std) for name, (_, std) in spread.items()}

    def quantiles(self, level: float | Array) -> dict[str, Array]:
        """Values `(*batch, *site.shape)` below which every site lies with probability `level`, in one program."""
        return self._values(self._parent().icdf(jnp.asarray(level, self.location.dtype)))

    def marginal(self, site: str) -> TruncatedMarginal:
        """Law of one site."""
        where = offsets(self.sites)[site]
        found = next(s for s in self.sites if s.name == site)
        return TruncatedMarginal(found, self.location[..., where], self.scale[..., where])


def _flat(site: Site, value: Array) -> Array:
    """Values `(*batch, *site.shape)` as vectors `(*batch, site.size)`."""
    return value.reshape(*value.shape[: value.ndim - len(site.shape)], site.size)


def _log_width(site: Site) -> float:
    """Logarithm of the volume of a site's intervals."""
    low, high = _interval(site)
    return float(np.log(np.broadcast_to(np.asarray(high) - np.asarray(low), site.shape)).sum())


def _interval(site: Site) -> tuple[Array, Array]:
    bounds = site.interval
    assert bounds is not None
    return bounds
