// Runs a compiled design by its pins: clock, receive and transmit.
//
// Bytes go in and out here, bit by bit, so that the caller deals with bytes and with many cycles
// at once. A cycle is: receive pin changes, everything settles, traces are looked at, clock rises.

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
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
  std::vector<uint64_t> nets, transitions;
  std::vector<std::vector<uint32_t>> events;
  std::vector<uint64_t> event_counts;
  std::vector<std::vector<uint32_t>> groups;
  std::vector<uint64_t> group_counts;
  bool counting = false;

  bool net(uint32_t index) const { return nets[index / 64] >> (index % 64) & 1; }

  void count() {
    for (size_t k = 0; k < events.size(); ++k) {
      bool all = true;
      for (uint32_t index : events[k]) all = all && net(index);
      event_counts[k] += all;
    }
  }

  // Takes the settled values over, counting those that changed since the last cycle.
  void settle() {
    std::vector<uint64_t> changed(nets.size());
    for (size_t word = 0; word < nets.size(); ++word) {
      changed[word] = nets[word] ^ top.nets[word];
      nets[word] = top.nets[word];
      if (!counting) continue;
      for (uint64_t rest = changed[word]; rest; rest &= rest - 1)
        ++transitions[word * 64 + std::countr_zero(rest)];
    }
    if (!counting) return;
    for (size_t k = 0; k < groups.size(); ++k)
      for (uint32_t index : groups[k])
        if (changed[index / 64] >> (index % 64) & 1) {
          ++group_counts[k];
          break;
        }
    count();
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
    settle();
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
  memcpy(data, bytes.data(), size);
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

void bench_record(Bench* bench, uint32_t valid, uint32_t value) {
  bench->recorders.push_back({valid, value, {}});
}

uint64_t bench_recorded(const Bench* bench, uint32_t recorder) {
  return bench->recorders[recorder].rows.size();
}

void bench_take(Bench* bench, uint32_t recorder, uint64_t* rows) {
  std::vector<uint64_t>& from = bench->recorders[recorder].rows;
  memcpy(rows, from.data(), from.size() * sizeof *rows);
  from.clear();
}

}  // extern "C"
