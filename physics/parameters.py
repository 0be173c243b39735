"""Physical parameters: unit, bounds, symbol and description, declared once on the field of a record.

A record is an immutable `equinox.Module` whose fields are arrays `(*batch)`:

    class Soil(Record):
        brightness: Array = param(unit="1", bounds=(0.0, 3.5), symbol="r_soil", description="...")

Everything that needs to know about a parameter (messages, default priors, documentation tables, attributes of
output files) reads `parameters(Soil)`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar

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
    positional: bool = False,
) -> Any:
    """Declares a physical parameter as a field of a `Record`, keyword-only unless it is said to be positional."""
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
    return eqx.field(kw_only=not positional, metadata=metadata, **arguments)


class Record(eqx.Module):
    """Base of all parameter records: floating-point arrays of one dtype, shapes that broadcast.

    Python numbers take the dtype of the arrays beside them, or JAX's default; the dtype is never weak, so that the
    same program serves every call. Shapes are checked when the record is built.

    Attributes:
        wholes: names of fields that are shares of one whole, for `check_ranges`; of the class.
    """

    wholes: ClassVar[tuple[tuple[str, ...], ...]] = ()

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

    For use outside `jit`, on concrete values: the commonest cause of nonsense is a wrong unit. Where the numbers look
    like a known mistake (per cent for a share, degrees for radians) the message says how to repair it. Shares of one
    whole, which a record class names in `wholes`, are checked for their sum too.

    Raises:
        ValueError: names the parameter, its unit and bounds, the offending range of values, how many and which first,
            and a remedy.
    """
    problems = []
    outside: dict[str, np.ndarray] = {}
    for name, parameter in parameters(record).items():
        value = np.asarray(getattr(record, name))
        low, high = parameter.bounds
        # Bounds are decimal figures: a value rounded to the array's own precision is still inside.
        slack = 4 * np.finfo(value.dtype).eps * max(abs(low), abs(high))
        outside[name] = ~((value >= low - slack) & (value <= high + slack))
        if outside[name].any():
            problems.append(
                f"{name}: expected {low:g} to {high:g} {parameter.unit}, got {_seen(value, outside[name])}; "
                f"{_remedy(parameter, value, outside[name])}"
            )
    for parts in type(record).wholes:
        if any(outside[name].any() for name in parts):
            continue  # that has been said
        whole = sum((np.asarray(getattr(record, name), np.float64) for name in parts), np.zeros(()))
        above = whole > 1.0 + 1e-5
        if above.any():
            problems.append(
                f"{' + '.join(parts)}: expected shares of one whole, together at most 1, got {_seen(whole, above)}; "
                "what remains is a share too: divide each by the sum of all"
            )
    if problems:
        raise ValueError(f"{type(record).__name__} out of range. " + ". ".join(problems))


def _seen(value: np.ndarray, outside: np.ndarray) -> str:
    """What was found outside, how often and where first."""
    wrong = value[outside]
    # the minimum of values that are not numbers is none
    known = wrong[np.isfinite(wrong)]
    found = f"{known.min():g} to {known.max():g}" if known.size else "nan or infinite values"
    found = f"{found} in {outside.sum()} of {value.size} values"
    if value.ndim == 0:
        return found
    first = tuple(map(int, np.unravel_index(int(outside.argmax()), outside.shape)))
    return f"{found}, the first at index {first if len(first) > 1 else first[0]}"


def _remedy(parameter: Parameter, value: np.ndarray, outside: np.ndarray) -> str:
    """What to do about values outside the bounds, from what they look like."""
    high = parameter.bounds[1]
    wrong = value[outside]
    if not np.isfinite(wrong).any():
        return "values that are not finite stand for gaps: mask these pixels, do not compute with them"
    # A wrong unit makes nearly all values wrong; of few, the values themselves are in doubt.
    if outside.mean() < 0.5:
        return "most values are inside: mask or flag these pixels, or check where they come from"
    known = wrong[np.isfinite(wrong)]
    if parameter.unit == "radian" and 2.0 < np.abs(known).max() <= 360.0:
        return "this looks like degrees: use the constructor from_degrees"
    if _is_share(parameter) and known.min() >= 0.0 and 1.0 < known.max() <= 100.0 * high:
        return "this looks like per cent: divide by 100"
    return "check the unit"


def _is_share(parameter: Parameter) -> bool:
    """Whether a parameter is counted in parts of one."""
    return parameter.unit in ("1", "m3 m-3") and parameter.bounds[0] >= 0.0 and parameter.bounds[1] <= 1.0


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
