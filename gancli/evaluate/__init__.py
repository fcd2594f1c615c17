"""How good samples are: Parzen windows, a bound on JSD, precision and recall, MMD, nearest neighbours."""
