import numpy as np
import pytest
import torch

from skfairlatent.encoders.diffae._solvers.ddim import DDIM, spaced_steps
from skfairlatent.encoders.diffae._solvers.dpm_solver import DPMSolver, steps_even_in
from skfairlatent.encoders.diffae._solvers.registry import SOLVERS, make_solver
from skfairlatent.encoders.diffae._solvers.schedule import alphas_cumprod

ALPHAS = torch.from_numpy(alphas_cumprod(1000))
# Mean and standard deviation of normally distributed pixels, well inside (-1, 1).
MEAN, SPREAD = 0.1, 0.15


def alpha_at(t):
    return ALPHAS[t][:, None, None, None]


def noise_of_normal_pixels(x, t):
    """Predict as well as can be what noise is in normally distributed pixels."""
    alpha = alpha_at(t)
    return (1 - alpha).sqrt() * (x - alpha.sqrt() * MEAN) / (alpha * SPREAD**2 + 1 - alpha)


def exact_images(x_T, alpha):
    """Solve the differential equation: the distance from the mean scales with the spread."""
    return MEAN + SPREAD * (x_T - alpha**0.5 * MEAN) / (alpha * SPREAD**2 + 1 - alpha) ** 0.5


def draw(n=8):
    return torch.randn(n, 3, 4, 4, dtype=torch.float64)


def decoding_error(solver):
    x_T = draw()
    found = solver.decode(noise_of_normal_pixels, x_T)
    return float((found - exact_images(x_T, solver.alphas[-1])).abs().mean())


def test__dpm_solver__error_falls_with_the_square_of_the_steps():
    errors = [decoding_error(DPMSolver(1000, n_steps)) for n_steps in (6, 12, 24)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test__dpm_solver__is_nearer_to_the_solution_in_ten_steps_than_ddim_in_a_hundred():
    assert decoding_error(DPMSolver(1000, 10)) < decoding_error(DDIM(1000, 100))


@pytest.mark.parametrize("solver", [DPMSolver(1000, 20), DDIM(1000, 1000)])
def test__invert__undoes_decode(solver):
    images = MEAN + SPREAD * draw()
    again = solver.decode(noise_of_normal_pixels, solver.invert(noise_of_normal_pixels, images))
    # A level of 255 in [-1, 1]: neither is exact, and one takes fifty times the steps.
    assert float((again - images).abs().mean()) < 2 / 255


def test__dpm_solver__without_curvature_is_ddim():
    """Where the predicted image stays what it is there is nothing for a second order to see."""
    image = (torch.rand(2, 3, 4, 4, dtype=torch.float64) * 2 - 1) * 0.9

    def predict(x, t):
        return (x - alpha_at(t).sqrt() * image) / (1 - alpha_at(t)).sqrt()

    for solver in (DPMSolver(1000, 5), *(DDIM(1000, n_steps) for n_steps in (2, 7, 50))):
        torch.testing.assert_close(solver.decode(predict, draw(2)), image)


def test__ddim__of_known_noise_finds_it():
    """Who knows the noise walks a straight line to it, in any number of steps."""
    image, noise = torch.rand(2, 3, 4, 4, dtype=torch.float64) - 0.5, draw(2)
    for n_steps in (2, 7, 50):
        found = DDIM(1000, n_steps).invert(lambda _x, _t: noise, image)
        torch.testing.assert_close(found, noise)


@pytest.mark.parametrize("name", SOLVERS)
def test__solvers__predict_as_often_as_there_are_steps(name):
    times = []

    def predict(x, t):
        times.append(int(t[0]))
        return torch.zeros_like(x)

    make_solver(name, 1000, 10).decode(predict, draw(1))
    assert len(times) == 10
    assert times == sorted(times, reverse=True)
    assert times[-1] == 0


@pytest.mark.parametrize("n_steps", [2, 3, 10, 30, 50, 250, 600, 999, 1000])
def test__even_steps__are_as_many_different_ones_from_first_to_last(n_steps):
    steps = steps_even_in(np.log(ALPHAS.numpy() / (1 - ALPHAS.numpy())), n_steps)
    assert len(steps) == n_steps
    assert (np.diff(steps) > 0).all()
    assert steps[0] == 0
    assert steps[-1] == 999


@pytest.mark.parametrize("n_steps", [0, 1, 1001])
def test__dpm_solver__number_of_steps_out_of_range(n_steps):
    with pytest.raises(ValueError, match=f"n_steps={n_steps}: expected 2 to 1000"):
        DPMSolver(1000, n_steps)


@pytest.mark.parametrize("n_steps", [2, 3, 7, 10, 20, 30, 50, 100, 250, 333, 600, 999, 1000])
def test__spaced_steps__any_number(n_steps):
    steps = spaced_steps(1000, n_steps)
    assert len(steps) == n_steps
    assert steps[0] == 0
    assert steps[-1] < 1000
    assert (np.diff(steps) > 0).all()


@pytest.mark.parametrize(("n_steps", "stride"), [(10, 100), (20, 50), (50, 20), (30, 34)])
def test__spaced_steps__are_the_official_ones(n_steps, stride):
    np.testing.assert_array_equal(spaced_steps(1000, n_steps), np.arange(0, 1000, stride))


@pytest.mark.parametrize("n_steps", [0, 1, 1001])
def test__spaced_steps__out_of_range(n_steps):
    with pytest.raises(ValueError, match=f"n_steps={n_steps}: expected 2 to 1000"):
        spaced_steps(1000, n_steps)


def test__schedule__signal_falls_from_nearly_one_to_nearly_nothing():
    alphas = alphas_cumprod(1000)
    assert (np.diff(alphas) < 0).all()
    assert alphas[0] == pytest.approx(1 - 1e-4)
    assert alphas[-1] == pytest.approx(4e-5, rel=0.02)
