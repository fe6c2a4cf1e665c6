// Tokens of a core for imported models at the speed of compiled code: feeds the residual stream,
// parameters and weight words, and keeps what the probes show. trilight.sim.native.imported has the
// other end. Verilator writes ___05F for the two underscores in the name of a port.

#include "Vimportedcore.h"
#include "verilated.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace {

constexpr int kChunks = (WORD_BITS + 63) / 64;
using Word = std::array<uint64_t, kChunks>;

template <typename T> void put(T& port, const uint64_t* parts) { port = static_cast<T>(parts[0]); }

template <std::size_t N> void put(VlWide<N>& port, const uint64_t* parts) {
  for (std::size_t k = 0; k < N; ++k) port[k] = static_cast<EData>(parts[k / 2] >> (k % 2 * 32));
}

// xorshift: pauses have to be the same in every run with a seed
struct Pauses {
  uint64_t state;
  uint32_t share;  // of 256
  bool operator()() {
    if (!share) return false;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 32 & 255) < share;
  }
};

struct Bench {
  VerilatedContext context;
  Vimportedcore top{&context};

  void tick() {
    top.clk = 1, top.eval();
    top.clk = 0;
  }
};

}  // namespace

extern "C" {

void* imported_new() {
  auto* bench = new Bench;
  bench->top.rst = 1, bench->tick(), bench->tick();
  bench->top.rst = 0;
  return bench;
}

void imported_delete(void* handle) { delete static_cast<Bench*>(handle); }

// Runs a token; 0, or the number of what went wrong.
int imported_token(void* handle, const uint64_t* shape, uint32_t zero_state,
                   const int64_t* embedding, uint64_t channels, const uint64_t* parameters,
                   uint64_t parameter_count, const uint64_t* memory, uint64_t words, uint64_t seed,
                   uint32_t share, uint64_t most_cycles, int64_t** values,
                   const uint64_t* capacities, uint64_t* counts, uint64_t* figures) {
  auto& bench = *static_cast<Bench*>(handle);
  auto& top = bench.top;
  Pauses pause{seed | 1, share};
  put(top.shape, shape);
  uint64_t cycle = 0, channel = 0, parameter = 0, address = 0;
  bool begun = false;
  const Word nothing{};
  for (;; ++cycle) {
    if (cycle > most_cycles) return 1;
    top.tokens___05Fvalid = !begun, top.tokens___05Fpayload = zero_state;
    top.embedding___05Fvalid = channel < channels && !pause();
    if (channel < channels) top.embedding___05Fpayload = embedding[channel] & ((1ull << RESIDUAL_BITS) - 1);
    top.parameters___05Fvalid = parameter < parameter_count && !pause();
    if (parameter < parameter_count) top.parameters___05Fpayload = parameters[parameter];
    top.words___05Fvalid = !pause();
    put(top.words___05Fpayload, address < words ? memory + kChunks * address : nothing.data());
    top.eval();
    begun |= top.tokens___05Fvalid && top.tokens___05Fready;
    channel += top.embedding___05Fvalid && top.embedding___05Fready;
    parameter += top.parameters___05Fvalid && top.parameters___05Fready;
    const bool transfer = top.words___05Fvalid && top.words___05Fready;
    if (transfer && address >= words) return 2;
    if (transfer || (top.words___05Frests && top.words___05Fjumps))
      address = top.words___05Fjumps ? 0 : address + 1;
    if (top.fetch___05Fread) return 3;
    int number = 0;
#define PROBE(name, bits)                                                                     \
  if (top.trace_##name##_valid) {                                                             \
    if (counts[number] == capacities[number]) return 10 + number;                             \
    values[number][counts[number]++] =                                                        \
        static_cast<int64_t>(static_cast<uint64_t>(top.trace_##name) << (64 - (bits))) >> (64 - (bits)); \
  }                                                                                           \
  ++number;
    PROBES
#undef PROBE
    bench.tick();
    if (top.done) break;
  }
  if (parameter != parameter_count) return 4;
  if (address != words) return 5;
  figures[0] = top.cycles, figures[1] = top.used, figures[2] = top.best;
  figures[3] = top.saturations;
  return 0;
}
}
