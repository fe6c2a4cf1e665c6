"""Activity, cells and area of a design, and the power that follows from them."""
