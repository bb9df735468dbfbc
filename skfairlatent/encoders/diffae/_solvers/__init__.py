"""Noise schedule and solvers of the diffusion process."""
