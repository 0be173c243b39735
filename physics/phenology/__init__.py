"""Phenology: curves of a vegetation index over a season, the dates that mark it, and spring dates from temperature.

    season = DoubleLogistic(minimum=0.2, maximum=0.8, start=120.0, growth_rate=0.1, end=270.0, senescence_rate=0.07)
    index = beck06(season, days)
    dates = threshold_dates(lambda t: beck06(season, t[None])[0], first=0.0, last=365.0, share=0.5)

Times are days since an origin that the user states, on an axis that runs on over the end of a year. South of the
equator, and where a season crosses the new year, nothing else changes: `continuous_days` turns days of the year into
such an axis that begins in the dry or cold season, `day_of_year` turns them back.
"""

from physics.phenology.curves import (
    AsymmetricGaussian,
    DoubleLogistic,
    GeneralisedLogistic,
    GreendownLogistic,
    OrderedSeason,
    PeakedLogistic,
    as_double_logistic,
    asymmetric_gaussian,
    beck06,
    continuous_days,
    day_of_year,
    elmore12,
    gu09,
    ordered_dates,
    ordered_logistic,
    seasons,
    zhang03,
)
from physics.phenology.dates import (
    FourDates,
    SeasonDates,
    curvature_change_dates,
    curvature_dates,
    derivative_dates,
    each_season,
    peak,
    tangent_dates,
    threshold_dates,
    trough,
)
from physics.phenology.thermal_time import (
    AlternatingChill,
    DayLengthThermalTime,
    SequentialChill,
    SigmoidThermalTime,
    SpringDate,
    ThermalTime,
    alternating_chill,
    crossing,
    day_length_thermal_time,
    degree_days,
    sequential_chill,
    sigmoid_thermal_time,
    thermal_time,
)

__all__ = [
    "AlternatingChill",
    "AsymmetricGaussian",
    "DayLengthThermalTime",
    "DoubleLogistic",
    "FourDates",
    "GeneralisedLogistic",
    "GreendownLogistic",
    "OrderedSeason",
    "PeakedLogistic",
    "SeasonDates",
    "SequentialChill",
    "SigmoidThermalTime",
    "SpringDate",
    "ThermalTime",
    "alternating_chill",
    "as_double_logistic",
    "asymmetric_gaussian",
    "beck06",
    "continuous_days",
    "crossing",
    "curvature_change_dates",
    "curvature_dates",
    "day_length_thermal_time",
    "day_of_year",
    "degree_days",
    "derivative_dates",
    "each_season",
    "elmore12",
    "gu09",
    "ordered_dates",
    "ordered_logistic",
    "peak",
    "seasons",
    "sequential_chill",
    "sigmoid_thermal_time",
    "tangent_dates",
    "thermal_time",
    "threshold_dates",
    "trough",
    "zhang03",
]
