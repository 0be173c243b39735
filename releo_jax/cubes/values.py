"""From the numbers in a file to reflectance and flags, and the check that they are reflectance at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.cubes.convention import HIGHEST_REFLECTANCE, Flag
from releo_jax.errors import ReleoError


@dataclasses.dataclass(frozen=True)
class Coding:
    """How a file stores reflectance: `reflectance = (number + offset) / scale`.

    Attributes:
        scale: what a reflectance of one is stored as.
        offset: number added before the division, one for all bands or one a band.
        nodata: numbers that stand for "nothing here"; NaN among them stands for NaN.
        saturated: numbers that stand for a saturated detector.
    """

    scale: float = 1.0
    offset: float | tuple[float, ...] = 0.0
    nodata: tuple[float, ...] = ()
    saturated: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ReleoError(f"expected a positive scale, got {self.scale}; give 10000 for reflectance times 10000")


def linear_coding(
    factor: float, summands: Sequence[float], nodata: tuple[float, ...], saturated: tuple[float, ...], where: str
) -> Coding:
    """The coding of files that say `reflectance = number * factor + summand`, a summand a band or one for all.

    Raises:
        ReleoError: the factor is not positive, or a number is not finite; `where` is the file that says so.
    """
    if not (np.isfinite(factor) and factor > 0 and np.isfinite(summands).all()):
        told = ", ".join(f"{summand:g}" for summand in summands)
        raise ReleoError(
            f"{where}: expected a positive scale and finite offsets, got {factor:g} and {told}; correct it"
        )
    offsets = tuple(_whole(summand / factor) for summand in summands)
    return Coding(_whole(1.0 / factor), offsets[0] if len(offsets) == 1 else offsets, nodata, saturated)


def _whole(number: float) -> float:
    """The number without the rounding of a division: 1 / 0.0001 is 10000."""
    return float(round(number)) if abs(number - round(number)) < 1e-6 * abs(number) else number


def check_numbers(dtype: np.dtype, where: str) -> None:
    """Raises unless a type holds real numbers: a cast would drop imaginary parts, and take true for 1."""
    if dtype.kind not in "iuf":
        raise ReleoError(f"{where}: expected integers or floats, got {dtype}; write real numbers")


def fill_values(dtype: np.dtype, declared: float | None) -> tuple[float, ...]:
    """Numbers that mean "nothing here" in an array of a dtype: the declared one, or else the customary ones."""
    if declared is not None:
        return (float(declared),)
    if dtype.kind == "u":
        return (0.0,)
    if dtype.kind == "i":
        return (-9999.0, float(np.iinfo(dtype).min))
    return (-9999.0,)


def saturated_values(dtype: np.dtype) -> tuple[float, ...]:
    """Numbers that mean "saturated": the largest of an unsigned 16-bit file."""
    return (65535.0,) if dtype == np.uint16 else ()


def decode(raw: xr.DataArray, coding: Coding) -> tuple[xr.DataArray, xr.DataArray]:
    """Reflectance and flags from the numbers of a file, lazily if they are lazy.

    Args:
        raw: numbers with a dimension `band`.
        coding: how they are stored.

    Returns:
        float32 reflectance, NaN where there is no measurement (no data, saturated), and uint8 flags; same shape.
    """
    offset = np.broadcast_to(np.asarray(coding.offset, dtype=np.float32), raw.sizes["band"])
    offsets = xr.DataArray(offset, dims="band")
    options: dict[str, Any] = {"dask": "parallelized", "kwargs": {"coding": coding}}
    reflectance = xr.apply_ufunc(_reflectance, raw, offsets, output_dtypes=[np.float32], **options)
    mask = xr.apply_ufunc(_mask, raw, offsets, output_dtypes=[np.uint8], **options)
    return reflectance, mask


def _reflectance(raw: np.ndarray, offset: np.ndarray, coding: Coding) -> np.ndarray:
    reflectance = (raw.astype(np.float32) + offset) / np.float32(coding.scale)
    reflectance[equals_any(raw, coding.nodata + coding.saturated)] = np.nan
    return reflectance


def _mask(raw: np.ndarray, offset: np.ndarray, coding: Coding) -> np.ndarray:
    reflectance = (raw.astype(np.float32) + offset) / np.float32(coding.scale)
    valid = (reflectance >= 0) & (reflectance <= HIGHEST_REFLECTANCE)
    mask = np.where(valid, np.uint8(0), np.uint8(Flag.INVALID_VALUE))
    mask[equals_any(raw, coding.saturated)] = Flag.SATURATED
    mask[equals_any(raw, coding.nodata)] = Flag.NODATA
    return mask


def bit_flags(numbers: xr.DataArray, bits: Sequence[int], flag: Flag, what: str) -> xr.DataArray:
    """`flag` where any of some bits is set in a number, 0 elsewhere; same shape, uint8, lazily if they are lazy.

    Args:
        numbers: unsigned integers.
        bits: from 0, the lowest.
        flag: what the bits stand for.
        what: name of the bits, for the message.

    Raises:
        ReleoError: the numbers have no such bits.
    """
    check_bits(numbers.dtype, what)
    size = 8 * numbers.dtype.itemsize
    wrong = [bit for bit in bits if bit not in range(size)]
    if wrong:
        raise ReleoError(f"{what}: expected bits from 0 to {size - 1}, got {wrong}")
    word = numbers.dtype.type(sum(1 << bit for bit in set(bits)))
    return xr.where(numbers & word != 0, np.uint8(flag), np.uint8(0))


def check_bits(dtype: np.dtype, where: str) -> None:
    """Raises unless numbers of a type are sets of bits."""
    if dtype.kind != "u":
        raise ReleoError(f"{where}: expected unsigned integers, got {dtype}; download the product again")


def equals_any(values: np.ndarray, numbers: tuple[float, ...]) -> np.ndarray:
    """True where a value is one of the numbers; NaN equals NaN."""
    found = np.zeros(values.shape, dtype=bool)
    for number in numbers:
        if np.isnan(number):
            if values.dtype.kind == "f":
                found |= np.isnan(values)
        elif np.can_cast(np.min_scalar_type(int(number)), values.dtype) or values.dtype.kind == "f":
            found |= values == values.dtype.type(number)
    return found


def check_integers(dtype: np.dtype, scale: float | None, where: str) -> None:
    """Raises if integers come without the scale that makes reflectance of them."""
    if scale is None and dtype.kind in "iu":
        raise ReleoError(
            f"{where}: reflectance stored as {dtype} without a scale; give what a reflectance of 1 is stored as, "
            "usually --scale 10000 (in Python scale=10000)"
        )
