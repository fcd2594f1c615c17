"""How good samples are: Parzen windows, nearest neighbours."""
