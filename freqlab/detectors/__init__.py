"""Detectors of perturbed images, beside the explanations."""
