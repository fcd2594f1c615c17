"""Build hook for the native modules; everything else about the package stands in pyproject.toml."""

from setuptools import setup

setup()
