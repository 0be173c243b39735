"""What `amortize` reads from a model, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from releo_jax.distributions import TruncatedNormal
from releo_jax.inference.structure import draw_prior, read_structure, simulate
from releo_jax.observations import SingleDate, observe

DATA = {"sensor": SingleDate(np.zeros((4, 3), np.float32))}


def _plate(data, name="pixel", **options):
    return numpyro.plate(name, data["sensor"].values.shape[0], **options)


def _score(data, mean):
    observe("sensor", dist.Normal(mean[:, None], jnp.ones(3)), data["sensor"])


def test_sites_supports_and_shapes_are_read(bounded):
    model, acquisitions = bounded
    structure = read_structure(model, acquisitions(jax.random.key(0), 5), first=("amount",))
    assert [(site.name, site.shape) for site in structure.local] == [("amount", ()), ("share", ()), ("pair", (2,))]
    assert [(site.name, site.shape) for site in structure.shared] == [("noise", (3,))]
    assert structure.observed == ("sensor",)
    assert dict(structure.deterministic) == {"product": True}
    assert structure.site("share").interval == (0.0, 3.0)
    assert structure.site("amount").interval is None


@pytest.mark.parametrize("pixels", [1, 2, 7])
def test_any_number_of_example_pixels_serves(bounded, pixels):
    model, acquisitions = bounded
    structure = read_structure(model, acquisitions(jax.random.key(0), pixels))
    assert [site.shape for site in structure.local] == [(), (), (2,)]


def test_bounds_computed_inside_the_model_are_evaluated():
    def model(data):
        high = jnp.sqrt(jnp.asarray(9.0))
        with _plate(data):
            _score(data, numpyro.sample("x", dist.Uniform(0.0, high)))

    low, high = read_structure(model, DATA).site("x").interval
    assert (float(low), float(high)) == (0.0, 3.0)


def test_bounds_of_one_serve_laws_with_parameters_of_every_pixel():
    def model(data):
        with _plate(data):
            mean = jnp.linspace(0.1, 0.4, data["sensor"].values.shape[0])
            _score(data, numpyro.sample("x", TruncatedNormal(mean, 0.1, low=0.0, high=0.6)))

    site = read_structure(model, DATA).site("x")
    assert site.shape == () and [float(bound) for bound in site.interval] == pytest.approx([0.0, 0.6])


def _moving(data):
    with _plate(data):
        first = numpyro.sample("first", dist.Uniform(0.0, 1.0))
        _score(data, numpyro.sample("second", dist.Uniform(0.0, first)))


def _discrete(data):
    with _plate(data):
        _score(data, 1.0 * numpyro.sample("x", dist.Bernoulli(0.5)))


def _unobserved(data):
    with _plate(data):
        numpyro.sample("x", dist.Normal())


def _plain(data):
    with _plate(data):
        x = numpyro.sample("x", dist.Normal())
        numpyro.sample("sensor", dist.Normal(x[:, None], 1.0).to_event(1), obs=data["sensor"].values)


def _factor(data):
    with _plate(data):
        x = numpyro.sample("x", dist.Normal())
        numpyro.factor("penalty", -(x**2))
        _score(data, x)


def _misnamed(data):
    with _plate(data):
        x = numpyro.sample("x", dist.Normal())
        observe("s2", dist.Normal(x[:, None], jnp.ones(3)), data["sensor"])


def _subsampled(data):
    with _plate(data, subsample_size=2):
        numpyro.sample("x", dist.Normal())


def _fixed_size(data):
    with numpyro.plate("pixel", 9):
        numpyro.sample("x", dist.Normal())


def _nested(data):
    with _plate(data, dim=-1), numpyro.plate("date", 2, dim=-2):
        numpyro.sample("x", dist.Normal())
    with _plate(data):
        _score(data, jnp.zeros(4))


def _outside(data):
    with _plate(data):
        x = numpyro.sample("x", dist.Normal())
    observe("sensor", dist.Normal(x[:, None], jnp.ones(3)), data["sensor"])


def _parametric(data):
    noise = numpyro.param("noise", 1.0)
    with _plate(data):
        x = numpyro.sample("x", dist.Normal())
        observe("sensor", dist.Normal(x[:, None], noise * jnp.ones(3)), data["sensor"])


def _no_local(data):
    x = numpyro.sample("x", dist.Normal())
    with _plate(data):
        _score(data, jnp.broadcast_to(x, 4))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_moving, "'second': expected a support that does not change"),
        (_discrete, "'x': expected a continuous latent"),
        (_unobserved, "at least one observed site"),
        (_plain, "knows no masks"),
        (_factor, "'penalty'.*numpyro.factor"),
        (_misnamed, r"'s2': expected the name of a record of the observations, \['sensor'\]"),
        (_subsampled, "no subsample_size, got 2 of 4"),
        (_fixed_size, "number of pixels of the data, 4, got 9"),
        (_nested, r"no plate but 'pixel', got \['date'\]"),
        (_outside, "inside the plate"),
        (_parametric, "no numpyro.param, got 'noise'"),
        (_no_local, "latent sites inside the plate"),
    ],
)
def test_what_no_guide_can_stand_for_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        read_structure(model, DATA)


def test_plate_may_have_another_name():
    def model(data):
        with _plate(data, name="field"):
            _score(data, numpyro.sample("x", dist.Normal()))

    assert read_structure(model, DATA, plate="field").plate == "field"
    with pytest.raises(ValueError, match=r"plate named 'pixel'.*\['field'\]"):
        read_structure(model, DATA)


def test_unconstrained_vectors_and_values_are_inverse(bounded, key):
    model, acquisitions = bounded
    data = acquisitions(key, 50)
    structure = read_structure(model, data)
    values = draw_prior(structure, model, data, key)
    for site in structure.local:

        @jax.jit
        def there_and_back(value, site=site):
            vector = site.to_real(value)
            slope = jax.vmap(jax.jacobian(lambda z: site.from_real(z)[0].reshape(-1)))(vector)
            return vector, *site.from_real(vector), slope

        vector, back, volume, slope = there_and_back(values[site.name])
        assert vector.shape == (50, site.size)
        np.testing.assert_allclose(back, values[site.name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(volume, jnp.linalg.slogdet(slope)[1], rtol=1e-3, atol=1e-3)


def test_values_on_the_edge_of_their_interval_stay_finite(intervals):
    model, acquisitions = intervals
    site = read_structure(model, acquisitions(jax.random.key(0), 3)).site("angle")
    assert np.isfinite(site.to_real(jnp.asarray([30.0, 80.0, 55.0]))).all()


def test_simulation_fills_the_values_and_keeps_the_masks(bounded, key):
    model, acquisitions = bounded
    data = acquisitions(key, 400)
    structure = read_structure(model, data)
    sites, simulated = jax.jit(lambda data, key: simulate(structure, model, data, key))(data, key)
    record = simulated["sensor"]
    np.testing.assert_array_equal(record.mask, data["sensor"].mask)
    assert not np.asarray(record.values)[~np.asarray(record.mask)].any()
    assert np.asarray(record.values)[np.asarray(record.mask)].std() > 0.1
    np.testing.assert_allclose(sites["product"], sites["share"] * sites["amount"], rtol=1e-6)
    assert sites["noise"].shape == (3,)


def test_separate_simulation_draws_global_sites_for_every_pixel(bounded, key):
    model, acquisitions = bounded
    data = acquisitions(key, 400)
    structure = read_structure(model, data)
    sites, simulated = jax.jit(lambda data, key: simulate(structure, model, data, key, separately=True))(data, key)
    assert sites["noise"].shape == (400, 3)
    assert sites["pair"].shape == (400, 2)
    assert sites["product"].shape == (400,)
    # The residual of the first band is the noise of its own pixel.
    mask = np.asarray(simulated["sensor"].mask)[:, 0]
    residual = np.asarray((simulated["sensor"].values[:, 0] - sites["product"]) / sites["noise"][:, 0])[mask]
    assert abs(residual.std() - 1.0) < 0.15
