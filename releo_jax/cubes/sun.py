"""Directions in a simulated scene: the sun by the calendar, the satellite by its orbit."""

from __future__ import annotations

import numpy as np

ALTITUDE = 786_000.0
"""Altitude of the Sentinel-2 orbit, metres."""


def solar_position(time: np.datetime64, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zenith and azimuth (from north through east) of the sun in degrees, to some 0.3 degrees.

    Args:
        time: UTC.
        latitude: degrees north.
        longitude: degrees east.

    References:
        Spencer 1971, Search 2, 172 (Fourier series of declination and equation of time).
    """
    day = (time - time.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    g = 2 * np.pi * day / 365.0
    declination = (
        0.006918
        - 0.399912 * np.cos(g)
        + 0.070257 * np.sin(g)
        - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g)
        + 0.00148 * np.sin(3 * g)
    )
    minutes = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g)
    )
    hour = (time - time.astype("datetime64[D]")) / np.timedelta64(1, "h")
    angle = np.radians(15.0 * (hour - 12.0) + longitude + minutes / 4.0)
    phi = np.radians(latitude)
    east = -np.cos(declination) * np.sin(angle)
    north = np.sin(declination) * np.cos(phi) - np.cos(declination) * np.cos(angle) * np.sin(phi)
    up = np.sin(declination) * np.sin(phi) + np.cos(declination) * np.cos(angle) * np.cos(phi)
    return np.degrees(np.arctan2(np.hypot(east, north), up)), np.degrees(np.arctan2(east, north)) % 360.0


def towards_satellite(zenith: float, azimuth: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Vectors `(3, row, column)` (east, north, up; metres) from the ground to the satellite.

    Args:
        zenith: view zenith at the origin, degrees.
        azimuth: direction of the satellite seen from the origin, degrees from north through east.
        rows: metres south of the origin.
        columns: metres east of the origin.
    """
    distance = ALTITUDE * np.tan(np.radians(zenith))
    # Every line of a push-broom image is taken from abreast: only the distance across the track matters.
    track = np.radians(azimuth)
    across = distance - (np.sin(track) * columns[None, :] - np.cos(track) * rows[:, None])
    return np.stack([across * np.sin(track), across * np.cos(track), np.full(across.shape, ALTITUDE)])
