"""Batch runs of prompts through RunComfy's Model API: resumable, and paid once each."""

__version__ = "0.1.0"
