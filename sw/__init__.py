"""Host side of Trilight: reference numerics, model files, driver, energy model, command line."""
