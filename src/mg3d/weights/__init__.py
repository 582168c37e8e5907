"""Weights on their way to users: release folders and maps to other projects' names."""
