"""What a NumPyro model consists of, read from its trace."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import Transform
from numpyro.primitives import Messenger

from releo_jax.observations import Observations, Record, check_observations, take, with_values

Model = Callable[[Observations], Any]
_EDGE = 1e-6  # share of an interval next to its ends that is not told apart from them: logit(1e-6) = -13.8


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """One latent site of a model.

    Attributes:
        name: of the site.
        support: where its values live, fixed.
        shape: of one pixel's (or the global) value.
        unconstrained_shape: of the same mapped to real numbers.
    """

    name: str
    support: Constraint
    shape: tuple[int, ...]
    unconstrained_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Real numbers that one value takes."""
        return math.prod(self.unconstrained_shape)

    @property
    def transform(self) -> Transform:
        """From real numbers to the support."""
        return biject_to(self.support)

    @property
    def interval(self) -> tuple[Array, Array] | None:
        """Lower and upper bound of a support that has both, else None."""
        base = getattr(self.support, "base_constraint", self.support)
        if hasattr(base, "lower_bound") and hasattr(base, "upper_bound"):
            return base.lower_bound, base.upper_bound
        return None

    def to_real(self, value: Array) -> Array:
        """Values `(*batch, *shape)` as real vectors `(*batch, size)`.

        A value within 1e-6 of the width of its interval to an end is moved there: float32 cannot map it.
        """
        bounds = self.interval
        if bounds is not None:
            low, high = bounds
            margin = _EDGE * (high - low)
            value = jnp.clip(value, low + margin, high - margin)
        batch = value.shape[: value.ndim - len(self.shape)]
        return self.transform.inv(value).reshape(*batch, self.size)

    def from_real(self, vector: Array) -> tuple[Array, Array]:
        """Values `(*batch, *shape)` of real vectors `(*batch, size)`, and log |d value / d vector| `(*batch)`."""
        batch = vector.shape[:-1]
        z = vector.reshape(*batch, *self.unconstrained_shape)
        value = self.transform(z)
        volume = self.transform.log_abs_det_jacobian(z, value)
        return value, volume.reshape(*batch, -1).sum(-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """Sites of a model, as `amortize` needs them.

    Attributes:
        plate: name of the plate of pixels.
        local: latent sites inside it, in the order of the posterior's vector.
        shared: latent sites outside it.
        observed: sites made by `observe`.
        deterministic: sites made by `numpyro.deterministic`, by name: True = one value per pixel.
    """

    plate: str
    local: tuple[Site, ...]
    shared: tuple[Site, ...]
    observed: tuple[str, ...]
    deterministic: Mapping[str, bool]

    def site(self, name: str) -> Site:
        """The local latent site of that name."""
        for site in self.local:
            if site.name == name:
                return site
        raise ValueError(f"expected one of the sites {[site.name for site in self.local]}, got {name!r}")


def run(model: Model, data: Observations, key: Array | None, values: Mapping[str, Array] | None = None) -> Any:
    """Trace of a model, without disturbing handlers around the call; given sites take the given values."""
    with handlers.block():
        if values is not None:
            model = handlers.substitute(model, data=dict(values))
        if key is not None:
            model = handlers.seed(model, key)
        return handlers.trace(model).get_trace(data)


def read_structure(
    model: Model, example: Observations, *, plate: str = "pixel", first: Sequence[str] = ()
) -> Structure:
    """Reads the sites of a model from a trace on example data.

    Args:
        model: NumPyro model function of the observations; every observed site made by `observe`.
        example: observations with the shapes to come; any number of pixels.
        plate: name of the plate of pixels.
        first: local sites to put first, in this order; the others follow as the model samples them.

    Raises:
        ValueError: the model has something that an amortised posterior cannot stand for; says what and the remedy.
    """
    pixels = check_observations(example)
    if pixels < 2:
        # With one pixel, a site of shape (1,) cannot be told from one that forgot the plate.
        example, pixels = take(example, np.zeros(2, int)), 2
    found: dict[str, Any] = {}

    def traced(key: Array) -> dict[str, list[Array]]:
        found.clear()
        found.update(run(model, example, key))
        return {name: jax.tree.leaves(site["fn"].support) for name, site in found.items() if _is_latent(site)}

    jax.eval_shape(traced, jax.random.key(0))
    sites = dict(found)
    _check_plates(sites, plate, pixels)
    observed = tuple(name for name, site in sites.items() if site["type"] == "sample" and site["is_observed"])
    for name in observed:
        _check_observed(name, sites[name], example, plate)
    if not observed:
        raise ValueError('expected at least one observed site, got none; write observe("s2", distribution, data["s2"])')
    latent = {name: site for name, site in sites.items() if _is_latent(site)}
    bounds = _fixed_supports(traced, latent, pixels)
    local: list[Site] = []
    shared: list[Site] = []
    for name, site in latent.items():
        inside = plate in _plates(site)
        support = jax.tree.unflatten(jax.tree.structure(site["fn"].support), bounds[name])
        shape = tuple(site["value"].shape[1:] if inside else site["value"].shape)
        real = tuple(biject_to(support).inverse_shape(shape))
        (local if inside else shared).append(Site(name, support, shape, real))
    if not local:
        raise ValueError(f"expected latent sites inside the plate {plate!r}, got none")
    names = [site.name for site in local]
    unknown = [name for name in first if name not in names]
    if unknown:
        raise ValueError(f"sites: expected names among the local latent sites {names}, got {unknown}")
    local.sort(key=lambda site: first.index(site.name) if site.name in first else len(first))
    deterministic = {
        name: plate in _plates(site) or jnp.shape(site["value"])[:1] == (pixels,)
        for name, site in sites.items()
        if site["type"] == "deterministic"
    }
    return _one_of_a_kind(Structure(plate, tuple(local), tuple(shared), observed, deterministic))


_known_structures: dict[Any, Structure] = {}


def _one_of_a_kind(structure: Structure) -> Structure:
    """The structure that was read first among equal ones: compiled programs are known by it."""

    def described(site: Site) -> Any:
        bounds, kind = jax.tree.flatten(site.support)
        arrays = [np.asarray(bound) for bound in bounds]
        values = tuple((type(b), a.dtype.str, a.shape, a.tobytes()) for b, a in zip(bounds, arrays, strict=True))
        return site.name, str(kind), values, site.shape, site.unconstrained_shape

    sites = tuple(tuple(map(described, part)) for part in (structure.local, structure.shared))
    known = (structure.plate, *sites, structure.observed, tuple(structure.deterministic.items()))
    return _known_structures.setdefault(known, structure)


def _is_latent(site: Mapping[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _plates(site: Mapping[str, Any]) -> list[str]:
    return [frame.name for frame in site["cond_indep_stack"]]


def _check_plates(sites: Mapping[str, Any], plate: str, pixels: int) -> None:
    plates = {name: site["args"] for name, site in sites.items() if site["type"] == "plate"}
    if plate not in plates:
        raise ValueError(
            f"expected a plate named {plate!r} around the pixels, got {sorted(plates)}; write "
            f'numpyro.plate("{plate}", data["s2"].values.shape[0]) or name yours with plate='
        )
    for name, (size, subsample) in plates.items():
        if subsample is not None and subsample != size:
            raise ValueError(
                f"plate {name!r}: expected no subsample_size, got {subsample} of {size}; minibatches are taken from "
                "the data by fit, with the number of pixels as n_total"
            )
    if plates[plate][0] != pixels:
        raise ValueError(
            f"plate {plate!r}: expected the number of pixels of the data, {pixels}, got {plates[plate][0]}; take the "
            'size from data["s2"].values.shape[0]'
        )
    for name, site in sites.items():
        if site["type"] == "param" or site["type"] == "mutable":
            raise ValueError(f"expected no numpyro.{site['type']}, got {name!r}; give it a prior, or close over it")
        if site["type"] != "sample":
            continue
        others = [other for other in _plates(site) if other != plate]
        if others:
            raise ValueError(
                f"site {name!r}: expected no plate but {plate!r}, got {others}; use .expand([...]).to_event(1) instead"
            )
        if _is_latent(site) and site["fn"].support.is_discrete:
            raise ValueError(f"site {name!r}: expected a continuous latent, got a discrete one; marginalise it")
        if plate in _plates(site) and site["fn"].batch_shape != (pixels,):
            raise ValueError(
                f"site {name!r}: expected batch shape ({pixels},) inside the plate {plate!r}, got "
                f"{site['fn'].batch_shape}; turn the other axes into events with .to_event"
            )


def _check_observed(name: str, site: Mapping[str, Any], example: Observations, plate: str) -> None:
    if "observe" not in site["infer"]:
        kind = "numpyro.factor" if site["infer"].get("is_auxiliary") else "numpyro.sample(..., obs=...)"
        raise ValueError(
            f'site {name!r}: expected observations through observe("{name}", distribution, record), got {kind}, which '
            "knows no masks and cannot be simulated"
        )
    if name not in example:
        raise ValueError(
            f"observe {name!r}: expected the name of a record of the observations, {sorted(example)}; rename the site"
        )
    if site["value"].shape != example[name].values.shape:
        raise ValueError(
            f"observe {name!r}: expected the record data[{name!r}] with values {example[name].values.shape}, got "
            f"values of shape {site['value'].shape}; pass that record itself"
        )
    if plate not in _plates(site):
        raise ValueError(f"observe {name!r}: expected a call inside the plate {plate!r}, got one outside")


def _fixed_supports(traced: Any, latent: Mapping[str, Any], pixels: int) -> dict[str, list[Any]]:
    """The bounds of the supports as numbers, after checking that they do not depend on other latents."""
    leaves = {name: jax.tree.leaves(site["fn"].support) for name, site in latent.items()}
    if any(isinstance(leaf, jax.core.Tracer) for bounds in leaves.values() for leaf in bounds):
        # Only bounds are asked for, so that the compiler drops the simulator.
        evaluate = jax.jit(traced)
        one, other = (jax.device_get(evaluate(jax.random.key(seed))) for seed in (0, 1))
        for name in latent:
            if any(not np.array_equal(a, b) for a, b in zip(one[name], other[name], strict=True)):
                raise ValueError(
                    f"site {name!r}: expected a support that does not change, got one that depends on other latents; "
                    "sample on a fixed support and move the value into place with numpyro.deterministic, as "
                    "sample_params does for co-distributed priors"
                )
        leaves = one
    fixed: dict[str, list[Any]] = {}
    for name, bounds in leaves.items():
        inside = latent[name]["fn"].batch_shape != ()
        arrays = [_one_for_all(name, np.asarray(b), pixels) if inside else np.asarray(b) for b in bounds]
        # Python numbers do not decide the precision of what they meet.
        fixed[name] = [a.item() if a.ndim == 0 else a for a in arrays]
    return fixed


def _one_for_all(name: str, bound: np.ndarray, pixels: int) -> np.ndarray:
    if bound.shape[:1] == (1,):
        return bound[0]  # a law that broadcasts its bounds against parameters of every pixel
    if bound.shape[:1] != (pixels,):
        return bound
    if not (bound == bound[:1]).all():
        raise ValueError(
            f"site {name!r}: expected one support for all pixels, got bounds that differ between pixels; sample on a "
            "fixed support and move the value into place with numpyro.deterministic"
        )
    return bound[0]


class _Enough(Exception):
    """Every latent has been drawn."""


class _StopAfter(Messenger):
    """Ends a run once the named sites have values; keeps the sites."""

    def __init__(self, fn: Model, names: Sequence[str]) -> None:
        self.wanted = set(names)
        self.sites: dict[str, Any] = {}
        super().__init__(fn)

    def postprocess_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] in self.wanted:
            self.sites[msg["name"]] = msg.copy()
            if len(self.sites) == len(self.wanted):
                raise _Enough


def run_prior(
    structure: Structure, model: Model, data: Observations, key: Array | None, values: Mapping[str, Array] | None = None
) -> dict[str, Any]:
    """Latent sites of a run that ends with the last of them: what the model computes from that one is left out."""
    stopped = _StopAfter(handlers.uncondition(model), [site.name for site in structure.local + structure.shared])
    with contextlib.suppress(_Enough):
        run(stopped, data, key, values)
    return stopped.sites


def draw_prior(structure: Structure, model: Model, data: Observations, key: Array) -> dict[str, Array]:
    """Latent sites drawn from the prior, without running what the model computes from the last of them."""
    return {name: site["value"] for name, site in run_prior(structure, model, data, key).items()}


def simulate(
    structure: Structure,
    model: Model,
    acquisitions: Observations,
    key: Array,
    *,
    separately: bool = False,
    values: Mapping[str, Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Record]]:
    """Runs a model without its observations.

    Args:
        structure: of the model.
        model: NumPyro model function.
        acquisitions: masks and angles to simulate for; their values are not used.
        key: random key.
        separately: draw the global sites anew for every pixel, so that the pixels are independent pairs of parameters
            and observations; otherwise one draw of them serves all pixels, as the model says.
        values: of sites that are not drawn.

    Returns:
        Latent and deterministic sites, those inside the plate `(pixel, ...)`, and observations with simulated values
        (0 where masked). With `separately` the global sites are `(pixel, ...)` too.
    """
    return _simulate(structure, model, separately, dict(acquisitions), key, None if values is None else dict(values))


# As one program: a model whose operations are sent one by one takes seconds, most of them to compile each.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _simulate(
    structure: Structure,
    model: Model,
    separately: bool,
    acquisitions: Observations,
    key: Array,
    values: Mapping[str, Array] | None,
) -> tuple[dict[str, Array], dict[str, Record]]:
    def once(data: Observations, key: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        trace = run(handlers.uncondition(model), data, key, values)
        seen = {name: trace[name]["value"] for name in structure.observed}
        names = [*(site.name for site in structure.local + structure.shared), *structure.deterministic]
        return {name: jnp.asarray(trace[name]["value"]) for name in names}, seen

    if separately:
        single = jax.tree.map(lambda leaf: leaf[:, None], acquisitions)
        sites, seen = jax.vmap(once)(single, jax.random.split(key, check_observations(acquisitions)))
        inside = {site.name for site in structure.local} | {n for n, local in structure.deterministic.items() if local}
        sites = {name: value[:, 0] if name in inside else value for name, value in sites.items()}
        seen = {name: value[:, 0] for name, value in seen.items()}
    else:
        sites, seen = once(acquisitions, key)
    return sites, {n: with_values(r, seen[n]) if n in seen else r for n, r in acquisitions.items()}
