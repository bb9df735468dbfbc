"""Training of the flow: batches, losses, objective, optimizer, loop and checkpoints."""
