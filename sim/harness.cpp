// Runs a compiled design by its pins: clock, receive and transmit.
//
// Bytes go in and out here, bit by bit, so that the caller deals with bytes and with many cycles
// at once. A cycle is: receive pin changes, everything settles, traces are looked at, clock rises.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <deque>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

namespace {

// Sends bytes as 8N1, one bit for each `clocks` cycles.
struct Sender {
  std::deque<uint8_t> bytes;
  uint32_t bits = 0;  // what is left of start bit, data and stop bit; the lowest is on the line
  uint32_t left = 0;  // bits
  uint32_t wait = 0;  // cycles

  bool idle() const { return left == 0 && bytes.empty(); }

  bool level(uint32_t clocks) {
    if (left == 0) {
      if (bytes.empty()) return true;
      bits = (0x100u | bytes.front()) << 1;
      bytes.pop_front();
      left = 10;
      wait = clocks;
    }
    bool line = bits & 1;
    if (--wait == 0) {
      bits >>= 1;
      --left;
      wait = clocks;
    }
    return line;
  }
};

// Receives 8N1, each bit sampled in its middle. A byte without a stop bit is dropped.
struct Receiver {
  std::vector<uint8_t> bytes;
  uint64_t edges = 0;
  uint64_t quiet = 0;  // cycles since the line was last busy
  uint32_t bits = 0;
  uint32_t left = 0;
  uint32_t wait = 0;
  bool last = true;

  void sample(bool line, uint32_t clocks) {
    edges += line != last;
    last = line;
    if (left == 0) {
      if (line) {
        ++quiet;
        return;
      }
      bits = 0;
      left = 10;
      wait = clocks / 2;
    }
    quiet = 0;
    if (wait-- != 0) return;
    bits = bits >> 1 | line << 9;
    wait = clocks - 1;
    if (--left == 0 && line) bytes.push_back(bits >> 1);
  }
};

// Notes one trace down whenever another is 1.
struct Recorder {
  uint32_t valid;
  uint32_t value;
  std::vector<uint64_t> rows;  // cycle and value
};

}  // namespace

struct Bench {
  VerilatedContext context;
  Vbench top{&context};
  Sender sender;
  Receiver receiver;
  std::vector<Recorder> recorders;
  std::atomic<bool> stopped{false};
  uint64_t cycles = 0;
  uint32_t clocks_per_bit;
  int32_t busy;  // trace that is 1 while the device works; -1 without one
#ifdef NETS
  // Value changes per net, and windows of sums: all changes, then events, then groups.
  std::vector<uint64_t> nets, changes, transitions, sums, windows;
  std::vector<std::vector<int32_t>> events, groups;
  bool counts_busy = false;
  uint64_t length = 0;  // of a window, in cycles that count
  uint64_t counted = 0;

  bool holds(int32_t literal) const {
    uint32_t index = literal < 0 ? ~literal : literal;
    return (nets[index / 64] >> (index % 64) & 1) == (literal >= 0);
  }

  bool changed(int32_t index) const { return changes[index / 64] >> (index % 64) & 1; }

  // Looks at the settled values, once per cycle.
  void count() {
    for (size_t word = 0; word < nets.size(); ++word) {
      changes[word] = nets[word] ^ top.nets[word];
      nets[word] = top.nets[word];
    }
    if (length == 0 || counts_busy != (busy >= 0 && top.traces[busy])) return;
    uint64_t* sum = sums.data();
    for (size_t word = 0; word < nets.size(); ++word) {
      *sum += std::popcount(changes[word]);
      for (uint64_t rest = changes[word]; rest; rest &= rest - 1)
        ++transitions[word * 64 + std::countr_zero(rest)];
    }
    for (const std::vector<int32_t>& event : events) {
      bool all = true;
      for (int32_t literal : event) all = all && holds(literal);
      *++sum += all;
    }
    for (const std::vector<int32_t>& group : groups) {
      bool any = false;
      for (int32_t index : group) any = any || changed(index);
      *++sum += any;
    }
    if (++counted == length) {
      counted = 0;
      windows.insert(windows.end(), sums.begin(), sums.end());
      std::fill(sums.begin(), sums.end(), 0);
    }
  }
#endif

  bool idle() const {
    return sender.idle() && receiver.left == 0 && (busy < 0 || !top.traces[busy]);
  }

  void cycle() {
    top.rx = sender.level(clocks_per_bit);
    top.clock = 0;
    top.eval();
    receiver.sample(top.tx, clocks_per_bit);
    for (Recorder& recorder : recorders)
      if (top.traces[recorder.valid]) {
        recorder.rows.push_back(cycles);
        recorder.rows.push_back(top.traces[recorder.value]);
      }
#ifdef NETS
    count();
#endif
    top.clock = 1;
    top.eval();
    ++cycles;
  }
};

extern "C" {

Bench* bench_new(uint32_t clocks_per_bit, int32_t busy) {
  Bench* bench = new Bench;
  bench->clocks_per_bit = clocks_per_bit;
  bench->busy = busy;
  bench->top.eval();  // the first one also zeroes the pins
#ifdef NETS
  bench->nets.resize(NETS);
  bench->changes.resize(NETS);
  bench->transitions.resize(64 * NETS);
#endif
  return bench;
}

void bench_delete(Bench* bench) {
  bench->top.final();
  delete bench;
}

void bench_stop(Bench* bench) { bench->stopped = true; }

uint64_t bench_cycles(const Bench* bench) { return bench->cycles; }

void bench_write(Bench* bench, const uint8_t* data, uint64_t size) {
  bench->sender.bytes.insert(bench->sender.bytes.end(), data, data + size);
}

uint64_t bench_read(Bench* bench, uint8_t* data, uint64_t size) {
  std::vector<uint8_t>& bytes = bench->receiver.bytes;
  if (size > bytes.size()) size = bytes.size();
  std::copy_n(bytes.begin(), size, data);
  bytes.erase(bytes.begin(), bytes.begin() + size);
  return size;
}

int bench_idle(const Bench* bench) { return bench->idle(); }

// Runs until `most` cycles are over, or bytes have come and the line has since been quiet for
// `quiet` cycles, or nothing has happened for `idle` cycles, or `bench_stop`.
void bench_run(Bench* bench, uint64_t most, uint64_t quiet, uint64_t idle) {
  uint64_t end = bench->cycles + most;
  uint64_t idle_for = 0;
  while (bench->cycles < end && !bench->stopped.load(std::memory_order_relaxed)) {
    bench->cycle();
    idle_for = bench->idle() ? idle_for + 1 : 0;
    if (idle_for >= idle) break;
    if (!bench->receiver.bytes.empty() && bench->receiver.quiet >= quiet) break;
  }
}

void bench_values(const Bench* bench, uint64_t* values) {
  for (const uint64_t value : bench->top.traces.m_storage) *values++ = value;
}

void bench_record(Bench* bench, uint32_t valid, uint32_t value) {
  bench->recorders.push_back({valid, value, {}});
}

uint64_t bench_recorded(const Bench* bench, uint32_t recorder) {
  return bench->recorders[recorder].rows.size();
}

void bench_take(Bench* bench, uint32_t recorder, uint64_t* rows) {
  std::vector<uint64_t>& from = bench->recorders[recorder].rows;
  std::copy(from.begin(), from.end(), rows);
  from.clear();
}

#ifdef NETS

void bench_probe(Bench* bench, int group, const int32_t* indices, uint32_t count) {
  (group ? bench->groups : bench->events).push_back({indices, indices + count});
}

// Starts to count, in the cycles in which the device works or in those in which it does not.
void bench_count(Bench* bench, int busy, uint64_t length) {
  bench->counts_busy = busy;
  bench->length = length;
  bench->counted = 0;
  bench->windows.clear();
  bench->sums.assign(1 + bench->events.size() + bench->groups.size(), 0);
  std::fill(bench->transitions.begin(), bench->transitions.end(), 0);
}

uint64_t bench_windows(const Bench* bench, uint64_t* windows) {
  if (windows) std::copy(bench->windows.begin(), bench->windows.end(), windows);
  return bench->windows.size();
}

void bench_transitions(const Bench* bench, uint64_t* transitions) {
  std::copy(bench->transitions.begin(), bench->transitions.end(), transitions);
}

#endif

}  // extern "C"
