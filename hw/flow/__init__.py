"""Build flow: a board's design to Verilog, netlist and bitstream, every step cached."""
