"""A tiny diffusion autoencoder, trained for seconds, and drawn pictures to train it on."""

import numpy as np
import pytest

from skfairlatent.encoders import DiffAEConfig, DiffAEEncoder, DiffAETraining

TINY = DiffAEConfig(
    image_size=8,
    model_channels=8,
    channel_mult=(1, 2),
    enc_channel_mult=(1, 2),
    attention_resolutions=(4,),
    num_res_blocks=1,
    enc_num_res_blocks=1,
    embed_channels=12,
    dropout=0.0,
)


def draw(n_images, *, size=8, seed=0):
    """Draw squares of several places, sizes and colours on backgrounds of several colours."""
    rng = np.random.default_rng(seed)
    images = np.empty((n_images, size, size, 3), dtype=np.uint8)
    for image in images:
        image[:] = rng.integers(0, 120, 3)
        top, left = rng.integers(0, size // 2, 2)
        side = rng.integers(size // 4, size // 2 + 1)
        image[top : top + side, left : left + side] = rng.integers(130, 256, 3)
    return images


@pytest.fixture(scope="session")
def pictures():
    return draw(96)


@pytest.fixture(scope="session")
def tiny_config():
    return TINY


@pytest.fixture(scope="session")
def trained(pictures):
    """An encoder after a training long enough to tell from none."""
    training = DiffAETraining(
        max_iter=20, encoder_epochs=10, half_size_epochs=3, batch_size=16,
        learning_rate_init=3e-3, ema_decay=0.98,
    )  # fmt: skip
    encoder = DiffAEEncoder(None, config=TINY, training=training, n_steps=20, device="cpu")
    return encoder.fit(pictures)
