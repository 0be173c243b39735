"""Physical parameters: unit, bounds, symbol and description, declared once on the field of a record.

A record is an immutable `equinox.Module` whose fields are arrays `(*batch)`:

    class Soil(Record):
        brightness: Array = param(unit="1", bounds=(0.0, 3.5), symbol="r_soil", description="...")

Everything that needs to know about a parameter (messages, default priors, documentation tables, attributes of
output files) reads `parameters(Soil)`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

_KEY = "physics.parameter"
_RecordType = TypeVar("_RecordType", bound="Record")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What is known about one physical parameter.

    Attributes:
        name: field name, the field's standard term written out.
        unit: unit in the community's convention, written so that UDUNITS can read it.
        bounds: closed interval `(low, high)` within which the models are meant to be used.
        symbol: symbol in the papers.
        description: one line.
        standard_name: CF standard name where one exists.
    """

    name: str
    unit: str
    bounds: tuple[float, float]
    symbol: str
    description: str
    standard_name: str | None = None


def param(
    *,
    unit: str,
    bounds: tuple[float, float],
    symbol: str,
    description: str,
    standard_name: str | None = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declares a physical parameter as a keyword-only field of a `Record`."""
    metadata = {
        _KEY: {
            "unit": unit,
            "bounds": bounds,
            "symbol": symbol,
            "description": description,
            "standard_name": standard_name,
        }
    }
    arguments = {} if default is dataclasses.MISSING else {"default": default}
    return eqx.field(kw_only=True, metadata=metadata, **arguments)


class Record(eqx.Module):
    """Base of all parameter records: floating-point arrays of one dtype, shapes that broadcast.

    Python numbers take the dtype of the arrays beside them, or JAX's default; the dtype is never weak, so that the
    same program serves every call. Shapes are checked when the record is built.
    """

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self)]
        values = {name: getattr(self, name) for name in names}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ValueError(f"{type(self).__name__}: expected numbers or arrays for {missing}, got None")
        dtype = _common_float(values.values())
        try:
            arrays = {name: jnp.asarray(value, dtype=dtype) for name, value in values.items()}
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{type(self).__name__}: expected numbers or arrays for {names}, got something else: {error}"
            ) from error
        shapes = {name: array.shape for name, array in arrays.items()}
        try:
            np.broadcast_shapes(*shapes.values())
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}: expected fields whose shapes broadcast, got {shapes}; "
                "give every field the batch shape, or a number"
            ) from error
        for name, array in arrays.items():
            object.__setattr__(self, name, array)


def _common_float(values: Any) -> Any:
    """The floating dtype of the arrays among `values`, the default float if there is none."""
    dtypes = [value.dtype for value in values if hasattr(value, "dtype")]
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    # NumPy scalars (np.float64(3.0)) are numbers, not a wish for double precision: they only decide among themselves.
    arrays = [
        value.dtype
        for value in values
        if hasattr(value, "dtype") and not isinstance(value, np.generic) and jnp.issubdtype(value.dtype, jnp.floating)
    ]
    chosen = arrays or floats
    # JAX warns of float64 where it is switched off, if asked for it by name.
    return jnp.result_type(*map(jax.dtypes.canonicalize_dtype, chosen)) if chosen else jnp.result_type(float)


def floats(*values: ArrayLike) -> tuple[jax.Array, ...]:
    """The values as floating-point arrays of one dtype, by the rule of `Record`."""
    dtype = _common_float(values)
    return tuple(jnp.asarray(value, dtype) for value in values)


def as_float(value: ArrayLike) -> jax.Array:
    """The value as a floating-point array: its own dtype, or JAX's default."""
    return floats(value)[0]


def parameters(record: type[Record] | Record) -> dict[str, Parameter]:
    """Returns the declared parameters of a record class (or of a record), by field name and in field order."""
    return {
        field.name: Parameter(name=field.name, **field.metadata[_KEY])
        for field in dataclasses.fields(record)
        if _KEY in field.metadata
    }


def check_ranges(record: Record) -> None:
    """Raises if a value of a record lies outside its parameter's bounds, or is not a number.

    For use outside `jit`, on concrete values: the commonest cause of nonsense is a wrong unit.

    Raises:
        ValueError: names the parameter, its unit and bounds, and the offending range of values.
    """
    problems = []
    for name, parameter in parameters(record).items():
        value = np.asarray(getattr(record, name))
        low, high = parameter.bounds
        # Bounds are decimal figures: a value rounded to the array's own precision is still inside.
        slack = 4 * np.finfo(value.dtype).eps * max(abs(low), abs(high))
        outside = ~((value >= low - slack) & (value <= high + slack))
        if outside.any():
            wrong = value[outside]
            problems.append(
                f"{name}: expected {low:g} to {high:g} {parameter.unit}, got {np.min(wrong):g} to {np.max(wrong):g} "
                f"in {outside.sum()} of {value.size} values; check the unit"
            )
    if problems:
        raise ValueError(f"{type(record).__name__} out of range. " + ". ".join(problems))


def validity(record: Record) -> jax.Array:
    """Returns a boolean mask `(*batch)`: True where every parameter lies within its bounds. Works under `jit`."""
    inside = jnp.asarray(True)
    for name, parameter in parameters(record).items():
        value = getattr(record, name)
        low, high = parameter.bounds
        slack = 4 * jnp.finfo(value.dtype).eps * max(abs(low), abs(high))
        inside = inside & (value >= low - slack) & (value <= high + slack)
    return inside


def broadcast_fields(record: _RecordType) -> _RecordType:
    """Returns the record with all fields broadcast to the common batch shape, as `jax.vmap` over a record needs."""
    leaves, structure = jax.tree.flatten(record)
    return jax.tree.unflatten(structure, jnp.broadcast_arrays(*leaves))


def expand(record: _RecordType) -> _RecordType:
    """Returns the record with a trailing axis of length one on every field, to meet a spectral or temporal axis."""
    return jax.tree.map(lambda leaf: leaf[..., None], record)
