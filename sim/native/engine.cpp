// Operations of an engine at the speed of compiled code: feeds activations and weight words, takes
// row sums and channels. trilight.sim.native.engine has the other end. Verilator writes ___05F for
// the two underscores in the name of a port.

#include "Vengine.h"
#include "verilated.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

namespace {

constexpr int kChunks = (WORD_BITS + 63) / 64;
using Word = std::array<uint64_t, kChunks>;

template <typename T> void put(T& port, const Word& word) { port = static_cast<T>(word[0]); }

template <std::size_t N> void put(VlWide<N>& port, const Word& word) {
  for (std::size_t k = 0; k < N; ++k) port[k] = static_cast<EData>(word[k / 2] >> (k % 2 * 32));
}

struct Operation {
  uint64_t payload;
  uint32_t rows;
  uint32_t columns;
  uint32_t sequence;
  uint32_t is_short;
};

struct Lookup {
  uint32_t base, stride, token, channels, scale, is_short;
};

// xorshift: pauses have to be the same in every run with a seed
struct Pauses {
  uint64_t state;
  uint32_t share;  // of 256
  bool operator()() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 32 & 255) < share;
  }
};

struct Bench {
  VerilatedContext context;
  Vengine top{&context};
  uint64_t cycles = 0;

  void tick() {
    top.clk = 1, top.eval();
    top.clk = 0;
    ++cycles;
  }
};

}  // namespace

extern "C" {

void* engine_new() {
  auto* bench = new Bench;
  auto& top = bench->top;
  top.rst = 1, bench->tick(), bench->tick();
  top.rst = 0;
  return bench;
}

void engine_delete(void* handle) { delete static_cast<Bench*>(handle); }

// Runs operations to the end; 0, or the number of what went wrong.
int engine_run(void* handle, const Operation* operations, uint64_t count, const int8_t* acts,
               const uint64_t* memory, uint64_t words, const Lookup* lookups, uint64_t look_count,
               uint64_t seed, uint32_t share, uint64_t most_cycles, int64_t* sums,
               int64_t* channels, uint64_t* figures) {
  auto& bench = *static_cast<Bench*>(handle);
  auto& top = bench.top;
  Pauses pause{seed | 1, share};
  const auto word_at = [&](uint64_t at) {
    Word word{};
    if (at < words) std::memcpy(word.data(), memory + kChunks * at, sizeof word);
    return word;
  };
  std::vector<uint64_t> last_of(count, count);  // operation before of the same sequence
  std::vector<const int8_t*> vector_of(count);
  uint64_t rows_wanted = 0;
  for (uint64_t k = 0; k < count; ++k) {
    for (uint64_t j = 0; j < k; ++j)
      if (operations[j].sequence == operations[k].sequence) last_of[k] = j;
    vector_of[k] = acts;
    acts += operations[k].columns;
    rows_wanted += operations[k].rows;
  }
  uint64_t taken = 0, writing = 0, column = 0, rows = 0, op_of_row = 0, row = 0, ended = 0;
  uint64_t address = 0, first = 0, used = 0, looked = 0, channel = 0;
  bool looking = false, expected = false;
  // A word that is asked for now is shown READ_LATENCY cycles later, and set a cycle before.
  constexpr std::size_t kWay = READ_LATENCY ? READ_LATENCY - 1 : 0;
  std::deque<uint64_t> streamed(kWay, words), fetched(kWay, words);
  uint64_t stream_data = words, fetch_data = words;
  const uint64_t begin = bench.cycles;
  top.operations___05Frows_enabled = 0, top.acts___05Facts___05Fvalid = 0, top.embedding___05Fstart = 0;
  while (rows < rows_wanted || looked < look_count || ended < count) {
    if (bench.cycles - begin > most_cycles) return 1;
    // ---- What is registered outside the engine
    top.operations___05Fops___05Fvalid = taken < count && !(share && pause());
    if (taken < count) top.operations___05Fops___05Fpayload = operations[taken].payload;
    // A sequence's next vector comes when every block of the one before has filled.
    const bool may_write = writing < count && (column > 0 || last_of[writing] == count ||
                                               taken > last_of[writing] + 1 ||
                                               op_of_row > last_of[writing] ||
                                               (op_of_row == last_of[writing] && row > 0));
    top.acts___05Facts___05Fvalid = may_write && !(share && pause());
    if (may_write) {
      const auto& op = operations[writing];
      const bool last = column + 1 == op.columns;
      top.acts___05Facts___05Fpayload = static_cast<uint8_t>(vector_of[writing][column]) | last << 8;
      top.acts___05Fshort = op.is_short;
#ifdef SEQUENCES
      top.acts___05Fsequence = op.sequence;
#endif
    }
    if (!expected) expected = ended < count && !(share && pause() && pause());
    top.operations___05Frows_enabled = expected;
    top.embedding___05Fstart = !looking && looked < look_count && !(share && pause());
    if (!looking && looked < look_count) {
      const auto& look = lookups[looked];
      top.embedding___05Fbase = look.base, top.embedding___05Fstride = look.stride, top.embedding___05Ftoken = look.token;
      top.embedding___05Fchannels = look.channels - 1, top.embedding___05Fscale = look.scale;
      top.embedding___05Fshort = look.is_short;
      looking = top.embedding___05Fstart;
    }
    if (READ_LATENCY) {
      put(top.words___05Fpayload, word_at(stream_data));
      put(top.fetch___05Fdata, word_at(fetch_data));
    }
    top.words___05Fvalid = 0;
    top.eval();
    // ---- What answers in the same cycle
    top.words___05Fvalid = !top.fetch___05Fread && !(share && pause());
    if (!READ_LATENCY) {
      put(top.words___05Fpayload, word_at(address));
      put(top.fetch___05Fdata, word_at(top.fetch___05Faddr));
    }
    top.eval();
    const bool transfer = top.words___05Fvalid && top.words___05Fready;
    if (transfer != top.operations___05Fword_used) return 2;
    if (READ_LATENCY) {
      streamed.push_back(transfer ? address : words);
      fetched.push_back(top.fetch___05Fread ? top.fetch___05Faddr : words);
      if (streamed.front() != words) stream_data = streamed.front();
      if (fetched.front() != words) fetch_data = fetched.front();
      streamed.pop_front(), fetched.pop_front();
    }
    used += transfer;
    if (transfer && top.words___05Fopens) first = address;
    if (transfer || (top.words___05Frests && top.words___05Fjumps))
      address = top.words___05Fjumps ? (top.words___05Frewinds ? 0 : first) : address + 1;
    if (top.operations___05Fends) {
      if (!expected) return 3;
      expected = false, ++ended;
    }
    taken += top.operations___05Fops___05Fvalid && top.operations___05Fops___05Fready;
    if (top.acts___05Facts___05Fvalid && ++column == operations[writing].columns) ++writing, column = 0;
    if (top.rows___05Fvalid) {
      if (rows == rows_wanted) return 4;
      const uint64_t bits = top.rows___05Fpayload;
      const int64_t sum = static_cast<int64_t>(bits << (64 - SUM_BITS)) >> (64 - SUM_BITS);
      const bool last = bits >> SUM_BITS & 1;
      sums[rows++] = sum;
      if (last != (++row == operations[op_of_row].rows)) return 5;
      if (last) ++op_of_row, row = 0;
    }
    if (top.channels___05Fvalid) {
      if (!looking) return 6;
      const uint64_t bits = top.channels___05Fpayload;
      *channels++ = static_cast<int64_t>(bits << (64 - CHANNEL_BITS)) >> (64 - CHANNEL_BITS);
      const bool last = bits >> CHANNEL_BITS & 1;
      if (last != (++channel == lookups[looked].channels)) return 7;
      if (last) ++looked, channel = 0, looking = false;
    }
    bench.tick();
  }
  figures[0] = bench.cycles - begin, figures[1] = used;
  return 0;
}
}
