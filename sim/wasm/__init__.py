"""A netlist as one WebAssembly module, which runs wherever WebAssembly does."""
