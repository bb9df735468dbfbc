"""Training of the flow: batches, losses, objective, optimizer, loop and checkpoints."""

__all__ = ["Trainer"]

from skfairlatent._training.loop import Trainer
