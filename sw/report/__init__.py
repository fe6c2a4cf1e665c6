"""Reports of runs, of predicted cycles, and of the checks of a build."""
