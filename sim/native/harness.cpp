// Runs a compiled design by its pins: clock, receive and transmit.
//
// Bytes go in and out here, bit by bit, so that the caller deals with bytes and with many cycles
// at once. A cycle is: receive pin changes, everything settles, traces are looked at, clock rises.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "Vbench.h"
#ifdef WAVES
#include "verilated_vcd_c.h"
#endif

namespace {

// Of a clock cycle, the unit of a bit's length: the host's clock need not be the chip's.
constexpr uint32_t PARTS = 256;

// Sends bytes as 8N1, one bit for each `period` parts of a cycle.
struct Sender {
  std::deque<uint8_t> bytes;
  uint32_t bits = 0;  // what is left of start bit, data and stop bit; the lowest is on the line
  uint32_t left = 0;  // bits
  int32_t wait = 0;  // parts

  bool idle() const { return left == 0 && bytes.empty(); }

  bool level(uint32_t period) {
    if (left == 0) {
      if (bytes.empty()) return true;
      bits = (0x100u | bytes.front()) << 1;
      bytes.pop_front();
      left = 10;
      wait = period;
    }
    bool line = bits & 1;
    wait -= PARTS;
    if (wait <= 0) {
      bits >>= 1;
      --left;
      wait += period;
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
  uint32_t wait = 0;  // parts of a cycle
  bool last = true;

  void sample(bool line, uint32_t period) {
    edges += line != last;
    last = line;
    if (left == 0) {
      if (line) {
        ++quiet;
        return;
      }
      bits = 0;
      left = 10;
      wait = period / 2;
    }
    quiet = 0;
    if (wait >= PARTS) {
      wait -= PARTS;
      return;
    }
    bits = bits >> 1 | line << 9;
    wait += period - PARTS;
    if (--left == 0 && line) bytes.push_back(bits >> 1);
  }
};

// Holds a pin at a level for some cycles.
struct Glitch {
  uint64_t begin = 0, end = 0;
  bool level = false;

  bool apply(bool line, uint64_t cycle) const {
    return begin <= cycle && cycle < end ? level : line;
  }
};

// Notes one trace down whenever another is 1.
struct Recorder {
  uint32_t valid;
  uint32_t value;
  std::vector<uint64_t> rows;  // cycle and value
};

// Part of a window: it ends when a trace has been 1 in this many cycles.
struct Stage {
  uint32_t trace;
  uint64_t pulses;
};

#ifdef NETS
// What was counted in one kind of cycles.
struct Slot {
  std::vector<uint64_t> sums, transitions;

  explicit Slot(size_t columns) : sums(columns), transitions(64 * NETS) {}

  void add(const Slot& more) {
    std::transform(sums.begin(), sums.end(), more.sums.begin(), sums.begin(), std::plus<>());
    std::transform(transitions.begin(), transitions.end(), more.transitions.begin(),
                   transitions.begin(), std::plus<>());
  }
};
#endif

}  // namespace

struct Bench {
  VerilatedContext context;
  Vbench top{&context};
#ifdef WAVES
  VerilatedVcdC waves;
  bool drawing = false;  // this cycle
#endif
  Sender sender;
  Receiver receiver;
  std::vector<Recorder> recorders;
  std::atomic<bool> stopped{false};
  Glitch glitches[2];  // of the receive pin, of the transmit pin
  uint64_t cycles = 0;
  uint32_t period;  // of a bit, as the host has it
  // Traces that are 1 while the device runs, and while it checks its memory; -1 without one.
  int32_t busy, checking;
#ifdef PULSES
  // In how many cycles each trace was not 0.
  std::vector<uint64_t> pulses = std::vector<uint64_t>(top.traces.size());
#endif
#ifdef NETS
  // What is counted, in this order: all value changes, events, groups, repeats, and the cycles.
  std::vector<uint64_t> nets, changes, sums, windows;
  std::vector<std::vector<int32_t>> events, groups, repeats;
  std::vector<int32_t> apart;
  std::vector<uint8_t> happened;  // events of this cycle
  std::vector<uint8_t> moved;  // whether a repeat's nets have changed since its event, and do now
  std::vector<Stage> stages;
  // Two for each stage, without and with an event of `apart`: of this window, of all before it.
  std::vector<Slot> slots, totals;
  size_t stage = 0;
  size_t once = 0;  // stages that come only once, at the beginning, as a window of their own
  uint64_t seen = 0;  // pulses of the stage
  bool counts_busy = false;
  uint64_t length = 0;  // of a window, in cycles that count; 0: none is counted
  uint64_t skip = 0;  // windows still to be forgotten

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
    if (length == 0) return;
    for (size_t k = 0; k < events.size(); ++k) {
      happened[k] = true;
      for (int32_t literal : events[k]) happened[k] &= holds(literal);
    }
    for (size_t r = 0; r < repeats.size(); ++r) {
      for (size_t k = 1; k < repeats[r].size(); ++k) moved[r] |= changed(repeats[r][k]);
    }
    if (counts_busy == (busy >= 0 && top.traces[busy])) add_up();
    for (size_t r = 0; r < repeats.size(); ++r) moved[r] &= !happened[repeats[r].front()];
  }

  void add_up() {
    bool with = false;
    for (int32_t event : apart) with |= happened[event];
    Slot& slot = slots[2 * stage + with];

    size_t at = 0;
    auto add = [&](uint64_t number) {
      sums[at] += number;
      slot.sums[at++] += number;
    };
    uint64_t total = 0;
    for (size_t word = 0; word < nets.size(); ++word) {
      total += std::popcount(changes[word]);
      for (uint64_t rest = changes[word]; rest; rest &= rest - 1)
        ++slot.transitions[word * 64 + std::countr_zero(rest)];
    }
    add(total);
    for (uint8_t event : happened) add(event);
    for (const std::vector<int32_t>& group : groups) {
      bool any = false;
      for (int32_t index : group) any |= changed(index);
      add(any);
    }
    for (size_t r = 0; r < repeats.size(); ++r) add(happened[repeats[r].front()] && !moved[r]);
    add(1);

    bool over = sums.back() == length;
    if (!stages.empty()) {
      over = false;
      if (top.traces[stages[stage].trace] && ++seen == stages[stage].pulses) {
        seen = 0;
        over = ++stage == once || stage == stages.size();
        if (stage == stages.size()) stage = once;
      }
    }
    if (over) end_window();
  }

  void end_window() {
    if (skip) {
      --skip;
    } else {
      windows.insert(windows.end(), sums.begin(), sums.end());
      for (size_t k = 0; k < slots.size(); ++k) totals[k].add(slots[k]);
    }
    for (Slot& slot : slots) slot = Slot(sums.size());
    std::fill(sums.begin(), sums.end(), 0);
  }
#endif

  bool idle() const {
    return sender.idle() && receiver.left == 0 && (busy < 0 || !top.traces[busy])
        && (checking < 0 || !top.traces[checking]);
  }

  void cycle() {
    top.rx = glitches[0].apply(sender.level(period), cycles);
    top.clock = 0;
    top.eval();
#ifdef WAVES
    drawing = waves.isOpen() && (busy < 0 || top.traces[busy]);
    if (drawing) waves.dump(2 * cycles);
#endif
    receiver.sample(glitches[1].apply(top.tx, cycles), period);
    for (Recorder& recorder : recorders)
      if (top.traces[recorder.valid]) {
        recorder.rows.push_back(cycles);
        recorder.rows.push_back(top.traces[recorder.value]);
      }
#ifdef PULSES
    for (size_t trace = 0; trace < pulses.size(); ++trace)
      pulses[trace] += top.traces[trace] != 0;
#endif
#ifdef NETS
    count();
#endif
    top.clock = 1;
    top.eval();
#ifdef WAVES
    if (drawing) waves.dump(2 * cycles + 1);
#endif
    ++cycles;
  }
};

extern "C" {

Bench* bench_new(uint32_t clocks_per_bit, int32_t busy, int32_t checking) {
  Bench* bench = new Bench;
  bench->period = clocks_per_bit * PARTS;
  bench->busy = busy;
  bench->checking = checking;
  bench->top.eval();  // the first one also zeroes the pins
#ifdef NETS
  bench->nets.resize(NETS);
  bench->changes.resize(NETS);
#endif
  return bench;
}

#ifdef MUTANTS
// Makes a fault of a mutated design active, before its first cycle.
void bench_mutate(Bench* bench, uint32_t mutant) { bench->top.mutant = mutant; }

// Whether the clock of a mutated design may be relied on; while not, and for a time after, it is
// reset.
void bench_lock(Bench* bench, int locked) { bench->top.lock = locked != 0; }
#endif

void bench_delete(Bench* bench) {
#ifdef WAVES
  bench->waves.close();
#endif
  bench->top.final();
  delete bench;
}

#ifdef WAVES
// Draws every signal into a file, from now on, in the cycles in which the device runs.
void bench_waves(Bench* bench, const char* path) {
  bench->context.traceEverOn(true);
  bench->top.trace(&bench->waves, 99);
  bench->waves.open(path);
}
#endif

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

// Length of the host's bits in parts of a cycle, from now on.
void bench_period(Bench* bench, uint32_t period) { bench->period = period; }

void bench_glitch(Bench* bench, uint32_t pin, uint64_t wait, uint64_t length, int level) {
  uint64_t begin = bench->cycles + wait;
  bench->glitches[pin] = {begin, begin + length, level != 0};
}

#ifdef REACH
// Writes a word of a memory from outside during one cycle: its old value, or 0, and then inverts
// the bits of `value` in it.
static void reach(Bench* bench, uint32_t memory, uint32_t address, bool keeps, uint64_t value) {
  bench->top.reach = 1;
  bench->top.reach_memory = memory;
  bench->top.reach_address = address;
  bench->top.reach_keeps = keeps;
  bench->top.reach_value = value;
  bench->cycle();
  bench->top.reach = 0;
}

// Inverts bits of a memory's word.
void bench_upset(Bench* bench, uint32_t memory, uint32_t address, uint64_t mask) {
  reach(bench, memory, address, true, mask);
}

// Writes `count` words of a memory, from `address` on.
void bench_place(Bench* bench, uint32_t memory, uint32_t address, const uint64_t* values,
                 uint64_t count) {
  for (uint64_t k = 0; k < count; ++k) reach(bench, memory, address + k, false, values[k]);
}
#endif

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

void bench_values(const Bench* bench, uint64_t* values, uint64_t count) {
  for (uint64_t k = 0; k < count; ++k) values[k] = bench->top.traces[k];
}

#ifdef PULSES
void bench_pulses(const Bench* bench, uint64_t* counts, uint64_t count) {
  std::copy_n(bench->pulses.begin(), count, counts);
}
#endif

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

void bench_probe(Bench* bench, int kind, const int32_t* indices, uint32_t count) {
  std::vector<int32_t> list(indices, indices + count);
  if (kind == 0) bench->events.push_back(list);
  if (kind == 1) bench->groups.push_back(list);
  if (kind == 2) bench->repeats.push_back(list);
  if (kind == 3) bench->apart = list;
}

void bench_stage(Bench* bench, uint32_t trace, uint64_t pulses) {
  bench->stages.push_back({trace, pulses});
}

// Starts to count, in the cycles in which the device works or in those in which it does not.
// Windows have `length` cycles or, after calls of `bench_stage`, are as long as all the stages but
// those that come once.
void bench_count(Bench* bench, int busy, uint64_t length, uint64_t once, uint64_t skip) {
  size_t columns = 2 + bench->events.size() + bench->groups.size() + bench->repeats.size();
  bench->counts_busy = busy;
  bench->length = length;
  bench->once = once;
  bench->skip = skip;
  bench->stage = bench->seen = 0;
  bench->windows.clear();
  bench->happened.assign(bench->events.size(), 0);
  bench->sums.assign(columns, 0);
  bench->moved.assign(bench->repeats.size(), true);
  bench->slots.assign(2 * std::max<size_t>(bench->stages.size(), 1), Slot(columns));
  bench->totals = bench->slots;
}

void bench_stop_counting(Bench* bench) {
  bench->length = 0;
  bench->stages.clear();
}

uint64_t bench_windows(const Bench* bench, uint64_t* windows) {
  if (windows) std::copy(bench->windows.begin(), bench->windows.end(), windows);
  return bench->windows.size();
}

uint64_t bench_slots(const Bench* bench) { return bench->totals.size(); }

void bench_slot(const Bench* bench, uint32_t slot, uint64_t* sums, uint64_t* transitions) {
  const Slot& from = bench->totals[slot];
  std::copy(from.sums.begin(), from.sums.end(), sums);
  std::copy(from.transitions.begin(), from.transitions.end(), transitions);
}

#endif

}  // extern "C"
