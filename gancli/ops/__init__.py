"""The hot operations, each with its plain-torch reference beside it."""
