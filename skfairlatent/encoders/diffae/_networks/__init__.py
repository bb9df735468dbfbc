"""Networks of the diffusion autoencoder, and their faster kernels."""
