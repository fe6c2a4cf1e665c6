"""cocotb benches of blocks and chip, and what they share."""
