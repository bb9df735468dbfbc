"""Training of the diffusion autoencoder."""
