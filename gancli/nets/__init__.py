"""Generators, discriminators and the maxout layers they are made of."""
