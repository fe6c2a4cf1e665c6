"""What any set of boards would do with a MatMul-free model: fit, speed, bound, energy."""
