"""What the paper proves, computed: D*, C(G) and the divergences of one-dimensional games, exact by quadrature."""
