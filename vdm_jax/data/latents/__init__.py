"""Latents and texts that were made beforehand."""
