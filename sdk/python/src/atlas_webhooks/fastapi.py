"""Receives webhooks in FastAPI: see :mod:`atlas_webhooks.starlette`."""

from .starlette import webhook

__all__ = ["webhook"]
