"""Runs one of the benchmarks: `python -m benchmarks NAME [options]`; each explains its options with `--help`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

BENCHMARKS = {
    "simulators": "rates of the optical models beside `prosail`, with their errors",
    "inversion": "tasks, algorithms and budgets of inversion in one table",
    "engines": "the engines that invert images, on a million pixels",
    "maps": "reading, computing and writing of a map",
    "training": "throughput of a training on one device and on all, beside the roofline",
    "fuzz": "odd and damaged inputs, and what the command makes of them",
    "kills": "maps and trainings that are killed at random moments and go on",
    "field": "every engine on the same real measurements and simulated scenes",
    "field_limits": "what limits the engines on them",
    "joint": "optical and radar together, and each alone, on simulated pixels",
    "soil_moisture": "water clouds of crops and soil moisture, on real fields",
    "growth": "SAFY on wheat trials that it has not seen",
    "time": "all that begin with time_, one after the other",
    "time_costs": "Gaussian processes over time: exact, by state space, by a library",
    "phenology": "spring dates of sites that models have not seen, seasons of satellite series",
    "time_seasons": "seasons by Pheno-VAE, the No-U-Turn sampler and least squares",
    "time_gaps": "filling of gaps in satellite series, one date left out at a time",
    "time_autoencoders": "GP-prior autoencoders on hidden dates and months of series, beside other methods",
    "time_images": "GP-prior autoencoders on hidden frames of moving images, for 100 to 10 000 frames",
    "time_classes": "crops from frozen latents of autoencoders of series, beside the series",
    "time_leaf_area": "leaf area on any day of a season, simulated and on measured plots",
    "crop": "SAFY beside loops over days",
    "microwave_peers": "rates of the microwave models beside other codes",
    "validation": "scores on real measurements, beside SL2P",
    "quadrature": "fits and stores the spectral quadratures of the sensors",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the first argument names.

    Args:
        argv: name and options; None means those of the command line.

    Returns:
        Exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    listing = "\n".join(f"  {name:18}{what}" for name, what in BENCHMARKS.items())
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\n\n{listing}")
        return 0
    if not arguments or arguments[0] not in BENCHMARKS:
        got = repr(arguments[0]) if arguments else "none"
        print(f"expected the name of a benchmark, got {got}; use one of\n{listing}", file=sys.stderr)
        return 2
    # Only the benchmark asked for is imported: simulators pins itself to one core before it loads jax.
    module = importlib.import_module(f"benchmarks.{arguments[0]}")
    return int(module.main(arguments[1:]) or 0)


if __name__ == "__main__":
    raise SystemExit(main())
