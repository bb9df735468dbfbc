"""Weights of the diffusion autoencoder: finding, downloading, checking, reading, writing."""
