"""Algorithm 1 and what surrounds it: losses, schedules, checkpoints, run folders."""
