// What `harness.cpp` uses of Verilator's, for a design that Yosys has written as C++.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cxxrtl_design.h"

struct VerilatedContext {};

struct Vbench {
  // Elements of 64 bits, side by side in one port.
  struct Traces {
    const uint32_t* chunks;

    uint64_t operator[](size_t k) const {
      return chunks[2 * k] | uint64_t{chunks[2 * k + 1]} << 32;
    }
  };

  explicit Vbench(VerilatedContext*) {}

  void eval() {
    design.p_clock.set(clock);
    design.p_rx.set(rx);
    design.step();
    tx = design.p_tx.get<bool>();
  }

  void final() {}

  cxxrtl_design::p_bench design;
  bool clock = false, rx = false, tx = false;
  Traces traces{design.p_traces.data};
};
