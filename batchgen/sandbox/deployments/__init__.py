"""Serverless deployments: a person's own ComfyUI workflows, and the instances that run them.

What they have in common with models (submissions, polls, faults, media) is one folder up.
"""
