"""From a board's design to Verilog, netlist and bitstream, with every step kept in a cache."""
