"""The optimizer: Adam as torch's, without its compiler."""

import subprocess
import sys

import torch

from skfairlatent._training.optimizer import MAX_GRADIENT_NORM, RecordableAdam

FIT = """
import sys
from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
rows = make_biased_embeddings(60, n_features=6, random_state=0)
fair = FairLatentTransformer(max_iter=2, random_state=0)
fair.fit_transform(rows.data, rows.target, sensitive_features=rows.sensitive_features)
assert "torch._dynamo" not in sys.modules
"""


def test__minimize__is_a_step_of_adam_on_clipped_gradients():
    data, start = torch.randn(20, 3), torch.randn(3)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer = RecordableAdam([ours], 0.1, data.device)
    expected = torch.optim.Adam([theirs], lr=0.1)
    for _ in range(3):
        optimizer.minimize((data @ ours).exp().sum())
        expected.zero_grad()
        (data @ theirs).exp().sum().backward()
        torch.nn.utils.clip_grad_norm_([theirs], MAX_GRADIENT_NORM)
        expected.step()
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, start, atol=0.1)


def test__fit__does_not_load_the_compiler_of_torch():
    # It takes two seconds to import, in every process that fits.
    subprocess.run([sys.executable, "-c", FIT], check=True)  # noqa: S603
