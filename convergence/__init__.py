"""Convergence Data Pipeline: every tenant's cloud bill, once, on time and right to the cent."""

__version__ = "1.0.0"
