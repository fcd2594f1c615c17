"""One page about trained runs: a single HTML file that opens from disk and asks no network for anything."""
