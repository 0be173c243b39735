"""The commands and their options. What they do stands in modules that are loaded when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="releo",
    help="Maps of leaf area and other properties of the land surface from satellite images, with their uncertainty.",
    epilog="Example: releo simulate scene.nc && releo invert scene.nc -o maps.nc && releo plot maps.nc -o figures",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(asked: bool) -> None:
    if asked:
        from releo_jax import __version__

        typer.echo(f"releo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a problem; stands anywhere.")] = False,
) -> None: ...


_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
_Scale = Annotated[
    float | None,
    typer.Option(help="What a reflectance of 1 is stored as (10000), where the file does not say.", show_default=False),
]
_Offset = Annotated[
    float | None,
    typer.Option(help="Added before dividing by the scale (-1000 for Sentinel-2 since 2022).", show_default=False),
]
_Bands = Annotated[
    str | None, typer.Option(help="Bands to use, such as B03,B04,B8A; all by default.", show_default=False)
]
_Sensor = Annotated[
    str | None,
    typer.Option(help="sentinel2a, sentinel2b or sentinel2c, where the file does not say.", show_default=False),
]
_SunZenith = Annotated[
    float | None, typer.Option(help="Degrees, for all pixels, where the file has no angles.", show_default=False)
]
_ViewZenith = Annotated[float | None, typer.Option(help="Degrees, likewise.", show_default=False)]
_RelativeAzimuth = Annotated[
    float | None, typer.Option(help="Degrees: azimuth of the sensor minus that of the sun.", show_default=False)
]
_Resolution = Annotated[
    int | None, typer.Option(help="Pixel size for a Sentinel-2 folder: 10, 20 or 60 m.", show_default=False)
]


@app.command(epilog="Example: releo invert scene.nc -o maps.nc --variables lai,ccc --level 0.9")
def invert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Table (.csv, .parquet), cube (.nc, .zarr), Sentinel-2 L2A folder (.SAFE, Theia), "
            "STAC item (.json, URL), or GeoTIFF bands.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table (.csv, .parquet), or image (.nc, .zarr, .tif).")
    ],
    variables: Annotated[
        str | None,
        typer.Option(
            help="Among lai,pai,ccc,cwc,fapar,fcover (sm,vwc with radar); by default all.", show_default=False
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals from _lower to _upper.")] = 0.9,
    temporal: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="Use all dates of a season together, for maps of every day, week or month (daily, weekly, monthly, or "
            "a number of days), gaps included; 90 % intervals held 84 % on fields.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="prosail-vae, sl2p or optical-radar; by default the first, with --radar the last.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of weights by releo train, instead of the shipped ones.", show_default=False),
    ] = None,
    radar: Annotated[
        Path | None,
        typer.Option(
            help="Sentinel-1 VV, VH and incidence on the same grid (.nc, .zarr, folder of GeoTIFFs).",
            show_default=False,
        ),
    ] = None,
    radar_unit: Annotated[
        str | None, typer.Option(help="linear or dB, where the file does not say.", show_default=False)
    ] = None,
    radar_quantity: Annotated[
        str | None, typer.Option(help="sigma0 or gamma0, where the file does not say.", show_default=False)
    ] = None,
    incidence: Annotated[
        float | None, typer.Option(help="Degrees, where there is no angle of incidence.", show_default=False)
    ] = None,
    sensor: _Sensor = None,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="First train on the image itself, without labels; makes intervals too narrow."),
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(min=2, help="Posterior draws a pixel for derived variables (slower).", show_default=False),
    ] = None,
    misfit: Annotated[
        bool, typer.Option("--misfit/--no-misfit", help="Flag pixels that the model cannot explain (slower).")
    ] = True,
    bands: _Bands = None,
    scale: _Scale = None,
    offset: _Offset = None,
    sun_zenith: _SunZenith = None,
    view_zenith: _ViewZenith = None,
    relative_azimuth: _RelativeAzimuth = None,
    resolution: _Resolution = None,
    block_size: Annotated[
        int | None, typer.Option(min=1, help="Largest side of a block in pixels.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the training by --adapt.")] = 0,
    overwrite: _Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep finished blocks beside the output, and go on from those of a killed run."),
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|ADDRESS",
            help="Share the blocks out to so many processes, or to those of a Dask scheduler (tcp://...).",
            show_default=False,
        ),
    ] = None,
    quiet: _Quiet = False,
) -> None:
    """Retrieve maps with their uncertainty from an image or a table of pixels.

    Each variable comes with mean, standard deviation, quantiles, an interval and a flag word, on the grid of the input.
    The output appears when it is complete, or not at all.
    """
    from releo_jax.cli.inverting import run_invert

    run_invert(
        source,
        output,
        temporal=temporal,
        method=method,
        weights=weights,
        radar=radar,
        radar_unit=radar_unit,
        radar_quantity=radar_quantity,
        incidence=incidence,
        variables=_words(variables),
        level=level,
        sensor=sensor,
        adapt=adapt,
        draws=draws,
        misfit=misfit,
        seed=seed,
        block_size=block_size,
        overwrite=overwrite,
        resume=resume,
        workers=workers,
        quiet=quiet,
        reading={
            "bands": _words(bands),
            "scale": scale,
            "offset": offset,
            "sun_zenith": sun_zenith,
            "view_zenith": view_zenith,
            "relative_azimuth": relative_azimuth,
            "resolution": resolution,
        },
    )


@app.command(epilog="Example: releo simulate scene.SAFE --seed 1 --size 240 --clouds 0.1")
def simulate(
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="Cube (.nc, .zarr), .SAFE folder, folder of GeoTIFFs (no suffix), .csv or .parquet."
        ),
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same scene.")] = 0,
    size: Annotated[str, typer.Option(help="Pixels along the side, or ROWSxCOLUMNS; a pixel is 10 m.")] = "240",
    sensor: Annotated[str, typer.Option(help="sentinel2a, sentinel2b or sentinel2c.")] = "sentinel2a",
    bands: _Bands = None,
    time: Annotated[str, typer.Option(help="Date and time, UTC, which place the sun.")] = "2022-06-05T10:36:00",
    latitude: Annotated[float, typer.Option(min=-80, max=80, help="Degrees north.")] = 47.8,
    clouds: Annotated[float, typer.Option(min=0, max=1, help="Share of the scene under clouds.")] = 0.06,
    radar: Annotated[
        Path | None,
        typer.Option(help="Also write Sentinel-1 images of the scene on nearby dates (.nc).", show_default=False),
    ] = None,
    overwrite: _Overwrite = False,
    quiet: _Quiet = False,
) -> None:
    """Simulate a scene with known truth: fields, trees, water, bare soil, clouds, noise."""
    from releo_jax.cli.scenes import run_simulate

    run_simulate(
        output,
        seed=seed,
        size=size,
        sensor=sensor,
        bands=_words(bands),
        time=time,
        latitude=latitude,
        clouds=clouds,
        radar=radar,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command(epilog="Example: releo plot maps.nc -o figures --truth scene.nc")
def plot(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What releo invert wrote; or an image.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figures.")] = Path("."),
    variables: Annotated[
        str | None,
        typer.Option(help="Among lai,pai,ccc,cwc,fapar,fcover; all in the file by default.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Simulated scene, to draw estimates against the truth.", show_default=False),
    ] = None,
    dpi: Annotated[int, typer.Option(min=50, max=600, help="Dots an inch.")] = 160,
) -> None:
    """Draw maps of value, uncertainty and flags as PNG figures, and print their names."""
    from releo_jax.cli.figures import run_plot

    run_plot(result, output, variables=_words(variables), truth=truth, dpi=dpi)


@app.command(epilog="Example: releo info S2A_MSIL2A_20230607T105031_N0509_R051_T31TCJ_20230607T151907.SAFE")
def info(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="What releo invert reads, or wrote.")],
    scale: _Scale = None,
    offset: _Offset = None,
    sun_zenith: _SunZenith = None,
    view_zenith: _ViewZenith = None,
    relative_azimuth: _RelativeAzimuth = None,
) -> None:
    """Say what an input is: sensor, bands, dates, grid, angles."""
    from releo_jax.cli.scenes import run_info

    run_info(
        source,
        reading={
            "scale": scale,
            "offset": offset,
            "sun_zenith": sun_zenith,
            "view_zenith": view_zenith,
            "relative_azimuth": relative_azimuth,
        },
    )


@app.command(epilog="Example: releo score maps.nc scene.nc")
def score(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What releo invert wrote.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The simulated scene; or a table with lai_true, ...")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the scores to this file too.", show_default=False)
    ] = None,
) -> None:
    """Score a result against the truth of a simulated scene: error, bias, coverage and width of the intervals."""
    from releo_jax.cli.scoring import run_score

    run_score(result, truth, json_file=json_file)


@app.command(
    epilog="Example: releo train weights --checkpoints runs && releo invert scene.nc -o maps.nc --weights weights"
)
def train(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the weights (.safetensors).")],
    method: Annotated[str, typer.Option(help="prosail-vae, optical-radar or temporal.")] = "prosail-vae",
    sensors: Annotated[
        str | None, typer.Option(help="Such as sentinel2a,sentinel2b; all by default.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of the first sensor, by default as for the shipped weights.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed, versions and kind of machine give the same weights.")] = 0,
    parts: Annotated[int, typer.Option(min=1, help="Of each step, shared out over devices.")] = 1,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Folder from which the same command goes on when it was stopped, with tables of the losses.",
            show_default=False,
        ),
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Join the other processes of a SLURM or Open MPI job.")
    ] = False,
    quiet: _Quiet = False,
) -> None:
    """Train the weights of a method from simulations; releo invert takes them by --weights."""
    from releo_jax.cli.training import run_train

    run_train(
        output,
        method=method,
        sensors=_words(sensors),
        steps=steps,
        seed=seed,
        parts=parts,
        checkpoints=checkpoints,
        distributed=distributed,
        quiet=quiet,
    )


@app.command(epilog="Example: releo run season.toml --resume")
def run(
    source: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML file with a table for each command, such as [invert].")
    ],
    overwrite: _Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from finished blocks of a killed run.")] = False,
    quiet: _Quiet = False,
) -> None:
    """Run the commands of a configuration file, one after the other.

    Keys are the options of the commands by their long names, and input, output, ... for what has no name. Relative
    paths start at the folder of the file. Images keep the configuration that made them, as the attribute configuration.
    """
    from releo_jax.cli.running import run_configuration

    run_configuration(source, {"overwrite": overwrite, "resume": resume, "quiet": quiet})


def _words(text: str | None) -> tuple[str, ...] | None:
    """The parts of `a,b,c`."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
