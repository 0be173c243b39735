"""Priors of physical parameters: published ones, your own, and how a model samples a record from them.

    canopy = sample_params(Canopy, prior=atbd.canopy)
    leaf = sample_params(Leaf, prior=atbd.leaf(canopy.leaf_area_index))      # co-distributed with leaf area
    soil = sample_params(Soil, prior=atbd.soil | {"wetness": dist.Uniform(0.0, 1.0)}, fixed={"brightness": 1.0})

Each field becomes a site of its own name. What is known of a field when the leaf area is known is expressed by moving
its value, not its support: the site `chlorophyll_base` keeps the bounds of the prior, and the deterministic site
`chlorophyll` is its image in the narrower range of dense canopies.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.distribution import Distribution

from physics.parameters import Parameter, Record, parameters
from releo_jax.distributions import TruncatedNormal

_RecordType = TypeVar("_RecordType", bound=Record)
_LEAF_AREA = "leaf_area_index"


class Prior(Mapping[str, Distribution]):
    """An immutable mapping from field names to distributions, with ties between the fields.

    Args:
        distributions: by field name. Names that are no fields of the record are auxiliary: `derived` uses them.
        dense: by field name, the bounds `(low, high)` to which the range of the field has moved at `densest`; needs a
            distribution with two bounds. They act once the leaf area index is known: within a record that has it, or
            after `prior(leaf_area_index)`.
        derived: by field name, a function of other fields, named by its arguments, that replaces sampling.
        densest: leaf area index at which the bounds `dense` are reached.

    Equation:
        V* = (V - Vmin0) (Vmax(L) - Vmin(L)) / (Vmax0 - Vmin0) + Vmin(L), with Vmin(L), Vmax(L) linear in L.

    References:
        Weiss, Baret & Jay 2020, S2ToolBox level 2 products, algorithm theoretical basis document, version 2.
    """

    def __init__(
        self,
        distributions: Mapping[str, Distribution],
        *,
        dense: Mapping[str, tuple[float, float]] | None = None,
        derived: Mapping[str, Callable[..., Array]] | None = None,
        densest: float = 15.0,
        leaf_area_index: Array | None = None,
    ) -> None:
        self.distributions = MappingProxyType(dict(distributions))
        self.dense = MappingProxyType(dict(dense or {}))
        self.derived = MappingProxyType(dict(derived or {}))
        self.densest = densest
        self.leaf_area_index = leaf_area_index
        wrong = {name: type(law).__name__ for name, law in distributions.items() if not isinstance(law, Distribution)}
        if wrong:
            raise ValueError(f"Prior: expected NumPyro distributions, got {wrong}; constants belong into fixed=")
        stray = sorted(set(self.dense) - set(self.distributions))
        if stray:
            raise ValueError(f"Prior: expected bounds of sampled fields in dense=, got {stray}")
        for name in self.dense:
            _bounds(name, self.distributions[name])

    def __getitem__(self, name: str) -> Distribution:
        return self.distributions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.distributions)

    def __len__(self) -> int:
        return len(self.distributions)

    def __repr__(self) -> str:
        return f"Prior({', '.join([*self.distributions, *(f'{name} (derived)' for name in self.derived)])})"

    def __call__(self, leaf_area_index: Array) -> Prior:
        """The prior where the leaf area index `(*batch)` is known."""
        return self._with(self.distributions, self.dense, self.derived, leaf_area_index)

    def __or__(self, other: Mapping[str, Distribution]) -> Prior:
        """The prior with other distributions for some fields; those no longer follow the leaf area or other fields."""
        if isinstance(other, Prior):
            dense, derived = dict(other.dense), dict(other.derived)
        else:
            dense, derived = {}, {}
        kept_dense = {n: v for n, v in self.dense.items() if n not in other and n not in derived}
        kept_derived = {n: v for n, v in self.derived.items() if n not in other}
        kept = {n: v for n, v in self.distributions.items() if n not in derived}
        return self._with(kept | dict(other), kept_dense | dense, kept_derived | derived, self.leaf_area_index)

    def independent(self) -> Prior:
        """The prior without the tie to leaf area."""
        return self._with(self.distributions, {}, self.derived, None)

    def _with(self, distributions: Any, dense: Any, derived: Any, leaf_area_index: Array | None) -> Prior:
        return Prior(distributions, dense=dense, derived=derived, densest=self.densest, leaf_area_index=leaf_area_index)

    def _follow(self, name: str, base: Array, leaf_area_index: Array) -> Array:
        """Image of a value of a field in the range that its leaf area leaves it."""
        low0, high0 = _bounds(name, self.distributions[name])
        low1, high1 = self.dense[name]
        share = leaf_area_index / self.densest
        low, high = low0 + share * (low1 - low0), high0 + share * (high1 - high0)
        return (base - low0) * (high - low) / (high0 - low0) + low


def _bounds(name: str, law: Distribution) -> tuple[Any, Any]:
    support = law.support
    if not (hasattr(support, "lower_bound") and hasattr(support, "upper_bound")):
        raise ValueError(f"Prior: expected two bounds for {name}, which follows leaf area, got {type(law).__name__}")
    return support.lower_bound, support.upper_bound


def uniform(record: type[Record]) -> Prior:
    """Uniform over the bounds that the fields declare."""
    return Prior({name: dist.Uniform(*parameter.bounds) for name, parameter in parameters(record).items()})


def sample_params(
    record: type[_RecordType],
    *,
    prior: Mapping[str, Distribution] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> _RecordType:
    """Samples every field of a physical record, each as a site of its own name.

    Args:
        record: class of the record, e.g. `Leaf`.
        prior: `Prior` or mapping from field names to distributions; default `uniform(record)`.
        fixed: values of fields that are known; they are not sampled even if the prior has them.

    Returns:
        The record, fields `(*batch)` with the batch shape of the plates around the call.

    Raises:
        ValueError: fields without a prior, a value or a default, or names that are no fields; says which, with units.
    """
    known = parameters(record)
    prior = uniform(record) if prior is None else prior if isinstance(prior, Prior) else Prior(prior)
    values: dict[str, Any] = dict(fixed or {})
    derived = {name: function for name, function in prior.derived.items() if name not in values}
    _check_names(record, known, prior, derived, values)
    leaf_area_index = prior.leaf_area_index
    if leaf_area_index is None:
        leaf_area_index = values.get(_LEAF_AREA)
    # Leaf area first: others in the record may follow it.
    for name in sorted(prior, key=lambda name: name != _LEAF_AREA):
        if name in values:
            continue
        if name in prior.dense and leaf_area_index is not None:
            base = numpyro.sample(f"{name}_base", prior[name])
            values[name] = numpyro.deterministic(name, prior._follow(name, base, leaf_area_index))
        else:
            values[name] = numpyro.sample(name, prior[name])
        if name == _LEAF_AREA and leaf_area_index is None:
            leaf_area_index = values[name]
    for name, function in derived.items():
        arguments = {argument: values[argument] for argument in _arguments(function)}
        values[name] = numpyro.deterministic(name, function(**arguments))
    return record(**{name: value for name, value in values.items() if name in known})


def _arguments(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _check_names(
    record: type[Record],
    known: Mapping[str, Parameter],
    prior: Prior,
    derived: Mapping[str, Callable[..., Array]],
    fixed: Mapping[str, Any],
) -> None:
    def spell(names: list[str]) -> str:
        return ", ".join(f"{name} [{known[name].unit}]" if name in known else name for name in names)

    optional = {field.name for field in dataclasses.fields(record) if field.default is not dataclasses.MISSING}
    given = {*prior, *derived, *fixed}
    missing = [name for name in known if name not in given | optional]
    needed = {argument for function in derived.values() for argument in _arguments(function)}
    # What only a derived field needs may stand in the prior even where that field has been fixed.
    auxiliary = {argument for function in prior.derived.values() for argument in _arguments(function)}
    extra = sorted((given - auxiliary) - set(known)) + sorted(needed - given)
    if missing or extra:
        problems = [f"no prior for {spell(missing)}"] if missing else []
        problems += [f"unknown or unavailable names {spell(extra)}"] if extra else []
        raise ValueError(
            f"sample_params: expected a prior or a fixed value for the fields of {record.__name__}: "
            f"{spell(list(known))}; got {' and '.join(problems)}"
        )


class Published:
    """Priors of a publication for the records of a canopy.

    Attributes:
        canopy: for `Canopy`.
        leaf: for `Leaf`; call it with the leaf area index for the co-distribution.
        soil: for `Soil`; the same.
    """

    def __init__(self, *, canopy: Prior, leaf: Prior, soil: Prior) -> None:
        self.canopy, self.leaf, self.soil = canopy, leaf, soil


def _normal(low: float, high: float, mean: float, deviation: float) -> Distribution:
    """Normal truncated to an interval; mean and deviation are those of the normal before it is truncated."""
    return TruncatedNormal(mean, deviation, low=low, high=high)


_CANOPY = Prior(
    {
        "leaf_area_index": _normal(0.0, 15.0, 2.0, 3.0),
        "mean_leaf_angle": _normal(30.0, 80.0, 60.0, 30.0),
        "hot_spot": _normal(0.1, 0.5, 0.2, 0.5),
    },
    dense={"mean_leaf_angle": (55.0, 65.0)},
)

# Sentinel-2 toolbox, level 2 products (ATBD version 2). There, water is drawn as the share of fresh leaf mass, and
# the share of dry soil p_soil in 0 to 1 narrows to 0 to 0.4; here wetness = 1 - p_soil.
atbd = Published(
    canopy=_CANOPY,
    leaf=Prior(
        {
            "layers": _normal(1.2, 1.8, 1.5, 0.3),
            "chlorophyll": _normal(20.0, 90.0, 45.0, 30.0),
            "dry_matter": _normal(0.003, 0.011, 0.005, 0.005),
            "relative_water": _normal(0.6, 0.85, 0.75, 0.08),
            "brown_pigment": _normal(0.0, 2.0, 0.0, 0.3),
        },
        dense={
            "layers": (1.3, 1.8),
            "chlorophyll": (45.0, 90.0),
            "dry_matter": (0.005, 0.011),
            "relative_water": (0.7, 0.8),
            "brown_pigment": (0.0, 0.2),
        },
        derived={
            "carotenoids": lambda chlorophyll: 0.25 * chlorophyll,
            "water": lambda dry_matter, relative_water: dry_matter / (1.0 - relative_water) - dry_matter,
        },
    ),
    soil=Prior(
        {"brightness": _normal(0.5, 3.5, 1.2, 2.0), "wetness": _normal(0.0, 1.0, 0.5, 0.6)},
        dense={"brightness": (0.5, 1.2), "wetness": (0.6, 1.0)},
    ),
)

# PROSAIL-VAE, the prior of its simulations (Zérah, Valero & Inglada 2024, Remote Sens. Environ. 312, 114309).
prosail_vae = Published(
    canopy=_CANOPY,
    leaf=Prior(
        {
            "layers": _normal(1.2, 1.8, 1.5, 0.3),
            "chlorophyll": _normal(20.0, 90.0, 45.0, 30.0),
            "carotenoids": _normal(5.0, 23.0, 11.0, 5.0),
            "brown_pigment": _normal(0.0, 2.0, 0.0, 0.3),
            "water": _normal(0.0075, 0.075, 0.025, 0.02),
            "dry_matter": _normal(0.003, 0.011, 0.005, 0.005),
        },
        dense={
            "layers": (1.3, 1.8),
            "chlorophyll": (45.0, 90.0),
            "brown_pigment": (0.0, 0.2),
            "water": (0.015, 0.055),
        },
    ),
    soil=Prior(
        {"brightness": _normal(0.5, 3.5, 1.2, 2.0), "wetness": dist.Uniform(0.0, 1.0)}, dense={"brightness": (0.5, 1.2)}
    ),
)

# The box in which the PROSAIL-VAE of the same paper searches: uniform, without ties.
prosail_vae_box = Published(
    canopy=Prior(
        {
            "leaf_area_index": dist.Uniform(0.0, 10.0),
            "mean_leaf_angle": dist.Uniform(30.0, 80.0),
            "hot_spot": dist.Uniform(0.0, 0.5),
        }
    ),
    leaf=Prior(
        {
            "layers": dist.Uniform(1.2, 1.8),
            "chlorophyll": dist.Uniform(20.0, 90.0),
            "carotenoids": dist.Uniform(5.0, 23.0),
            "brown_pigment": dist.Uniform(0.0, 2.0),
            "water": dist.Uniform(0.0075, 0.075),
            "dry_matter": dist.Uniform(0.003, 0.011),
        }
    ),
    soil=Prior({"brightness": dist.Uniform(0.3, 3.5), "wetness": dist.Uniform(0.0, 1.0)}),
)


def _green(senescence: Array) -> Array:
    """Share of the chlorophyll that a senescent leaf has kept: 1 below a senescence of 0.3, 0 at 1."""
    # The power 0.7 lets half of the senescent leaves keep less than 0.62. Its slope at 0 is infinite: stay above.
    return (jnp.clip(1.0 - senescence, 1e-6, 0.7) / 0.7) ** 0.7


# What grows on cultivated and semi-natural land, ripe crops included. Ranges as in the ATBD and wider; the senescence
# of a leaf takes its chlorophyll, leaves some carotenoids, and brings brown pigment and drought with it.
land_surface = Published(
    canopy=Prior(
        {
            "leaf_area_index": _normal(0.0, 12.0, 0.0, 2.7),
            "mean_leaf_angle": _normal(15.0, 80.0, 52.0, 25.0),
            "hot_spot": _normal(0.02, 0.6, 0.15, 0.2),
        }
    ),
    leaf=Prior(
        {
            "layers": _normal(1.2, 2.2, 1.5, 0.3),
            "senescence": dist.Uniform(0.0, 1.0),
            "green_chlorophyll": _normal(15.0, 90.0, 45.0, 25.0),
            "carotenoid_ratio": dist.Uniform(0.15, 0.35),
            "brown_share": dist.Uniform(0.0, 1.0),
            "turgid_water": _normal(0.6, 0.87, 0.76, 0.08),
            "drying": dist.Uniform(0.0, 1.0),
            "dry_matter": _normal(0.002, 0.012, 0.005, 0.003),
        },
        derived={
            "chlorophyll": lambda green_chlorophyll, senescence: 1.0 + (green_chlorophyll - 1.0) * _green(senescence),
            "carotenoids": lambda chlorophyll, carotenoid_ratio, senescence: (
                carotenoid_ratio * (chlorophyll + 15.0 * (1.0 - _green(senescence)))
            ),
            "brown_pigment": lambda brown_share, senescence: (
                brown_share * (0.3 + 3.4 * (1.0 - _green(senescence) ** 2))
            ),
            "relative_water": lambda turgid_water, drying, senescence: (
                turgid_water - (turgid_water - 0.2) * drying * (1.0 - _green(senescence) ** 2)
            ),
            "water": lambda dry_matter, relative_water: dry_matter / (1.0 - relative_water) - dry_matter,
        },
    ),
    soil=Prior({"brightness": dist.Uniform(0.06, 0.5), **{f"shape_{i}": dist.Normal(0.0, 1.0) for i in (1, 2, 3, 4)}}),
)

# The soils of the library, measured dry, have mean reflectances of 0.18 to 0.49; moisture darkens them further.
land_surface_dry = Published(
    canopy=land_surface.canopy,
    leaf=land_surface.leaf,
    soil=Prior({"brightness": dist.Uniform(0.12, 0.5), **{f"shape_{i}": dist.Normal(0.0, 1.0) for i in (1, 2, 3, 4)}}),
)
