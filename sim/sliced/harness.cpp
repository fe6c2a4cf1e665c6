// Runs 64 chips of one circuit in lockstep, by their serial pins.
//
// A net is a word W: bit k belongs to chip k, which is called its lane. Memories hold the rows of
// all lanes side by side, so that lanes which ask for the same row, as they do that run the same
// program, are answered at once. Lanes share nothing but the clock: what one does, and when it is
// looked at, does not depend on the others.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

constexpr unsigned LANES = 64;
typedef uint64_t W;
typedef uint16_t V __attribute__((ext_vector_type(LANES)));  // a number of each lane
typedef bool Mask __attribute__((ext_vector_type(LANES)));

constexpr uint16_t POISON = 0xbadd;  // what must not matter, as in the models of single cells

inline V lanes_of(W bit) { return __builtin_convertvector(__builtin_bit_cast(Mask, bit), V); }

inline W bits_of(V numbers, unsigned bit) {
  return __builtin_bit_cast(W, __builtin_convertvector((numbers & V(uint16_t(1 << bit))) != V(0),
                                                       Mask));
}

// Numbers of all lanes from words of their bits.
template <size_t N>
inline V numbers_of(const uint16_t (&places)[N], const W* p) {
  V numbers = 0;
  for (size_t bit = 0; bit < N; ++bit)
    if (places[bit]) numbers |= lanes_of(p[places[bit]]) << V(bit);
  return numbers;
}

// Whether the lanes of a mask have the same number, and that of one of them.
template <size_t N>
inline bool same(const uint16_t (&places)[N], const W* p, W mask, unsigned& number) {
  W differ = 0;
  unsigned first = std::countr_zero(mask);
  number = 0;
  for (size_t bit = 0; bit < N; ++bit) {
    W word = p[places[bit]], of_first = word >> first & 1;
    number |= of_first << bit;
    differ |= (word ^ (0 - of_first)) & mask;
  }
  return !differ;
}

// Rows of 16 bits of all lanes.
template <size_t ROWS>
struct Rows {
  V rows[ROWS];

  // The rows at the addresses of the lanes of a mask, each shifted by what its address has beyond.
  template <size_t N>
  V get(const uint16_t (&places)[N], const W* p, W mask) const {
    unsigned address;
    if (same(places, p, mask, address)) return rows[address % ROWS] >> V(address / ROWS);
    V addresses = numbers_of(places, p), values = 0;
    for (; mask; mask &= mask - 1) {
      unsigned lane = std::countr_zero(mask);
      values[lane] = rows[addresses[lane] % ROWS][lane] >> addresses[lane] / ROWS;
    }
    return values;
  }

  template <size_t N>
  void put(const uint16_t (&places)[N], const W* p, W mask, V data, V change) {
    unsigned address;
    if (same(places, p, mask, address)) {
      change &= lanes_of(mask) * V(0xffff);
      V& row = rows[address % ROWS];
      row = (row & ~change) | (data & change);
      return;
    }
    V addresses = numbers_of(places, p);
    for (; mask; mask &= mask - 1) {
      unsigned lane = std::countr_zero(mask);
      auto& row = rows[addresses[lane] % ROWS];
      row[lane] = (row[lane] & ~change[lane]) | (data[lane] & change[lane]);
    }
  }
};

// SB_RAM40_4K. In mode M a row is 2^M neighbouring columns, which the address above bit 7 chooses.
template <int READ, int WRITE>
struct BlockRam {
  struct {
    uint16_t raddr[11], re[1], rclke[1], waddr[11], we[1], wclke[1], mask[16], wdata[16];
  } pins;
  Rows<256> rows;

  static constexpr unsigned FIRST[] = {0, 0, 1, 3};  // the lowest data pin that is in use

  void read(const W* p, W* out) {
    W mask = p[pins.re[0]] & p[pins.rclke[0]];
    if (!mask) return;
    uint16_t address[8 + READ];
    std::copy_n(pins.raddr, 8 + READ, address);
    V values = rows.get(address, p, mask);
    for (unsigned bit = 0; bit < 16; bit += 1 << READ)
      out[bit + FIRST[READ]] = (out[bit + FIRST[READ]] & ~mask) | (bits_of(values, bit) & mask);
  }

  void write(const W* p) {
    W mask = p[pins.we[0]] & p[pins.wclke[0]];
    if (!mask) return;
    V data = 0, change = 0;
    if (WRITE == 0) {
      data = numbers_of(pins.wdata, p);
      change = ~numbers_of(pins.mask, p);
    } else {
      constexpr unsigned WIDE = 1 << WRITE, PIN[] = {0, 0, 1, 3};
      for (unsigned bit = 0; bit < 16; bit += WIDE)
        data |= (lanes_of(p[pins.wdata[bit + PIN[WRITE]]]) * V((1 << WIDE) - 1)) << V(bit);
      V column = 0;
      for (unsigned bit = 0; bit < WRITE; ++bit)
        column |= lanes_of(p[pins.waddr[8 + bit]]) << V(bit);
      for (unsigned bit = 0; bit < 16; bit += WIDE) change |= V(1 << bit) << column;
    }
    uint16_t address[8];
    std::copy_n(pins.waddr, 8, address);
    rows.put(address, p, mask, data, change);
  }

  void start(unsigned lane, const uint16_t* values, size_t count) {
    for (size_t row = 0; row < 256; ++row) rows.rows[row][lane] = row < count ? values[row] : 0;
  }

  V* at(unsigned address) { return &rows.rows[address]; }
};

// SB_SPRAM256KA, always awake.
struct Spram {
  struct {
    uint16_t address[14], select[1], write[1], nibbles[4], data[16];
  } pins;
  Rows<16384> rows;

  void read(const W* p, W* out) {
    W mask = p[pins.select[0]];
    if (!mask) return;
    W reading = mask & ~p[pins.write[0]];
    V values = reading ? rows.get(pins.address, p, reading) : V(0);
    for (unsigned bit = 0; bit < 16; ++bit) {
      W poison = POISON >> bit & 1 ? mask & ~reading : 0;
      out[bit] = (out[bit] & ~mask) | (bits_of(values, bit) & reading) | poison;
    }
  }

  void write(const W* p) {
    W mask = p[pins.select[0]] & p[pins.write[0]];
    if (!mask) return;
    V change = 0;
    for (unsigned nibble = 0; nibble < 4; ++nibble)
      change |= lanes_of(p[pins.nibbles[nibble]]) * V(0xf << 4 * nibble);
    rows.put(pins.address, p, mask, numbers_of(pins.data, p), change);
  }

  void start(unsigned lane, const uint16_t*, size_t) {
    for (V& row : rows.rows) row[lane] = POISON;
  }

  V* at(unsigned address) { return &rows.rows[address]; }
};

#include "circuit.h"

constexpr size_t TRACE_COUNT = sizeof TRACES / sizeof *TRACES;
constexpr unsigned BITS = 10;  // of a byte on the line: start, data, stop

struct Recorder {
  uint32_t valid, value;
  std::vector<uint64_t> rows;  // cycle and value
};

// What belongs to a lane besides its bits.
struct Lane {
  std::deque<uint8_t> to_send;
  std::vector<uint8_t> received;
  std::vector<Recorder> recorders;
  uint64_t began = 0, last_byte = 0, last_work = 0;  // cycles
  // The cycle, and the stillness of its line and of itself, at which it wants to be looked at.
  uint64_t until = 0, quiet = 0, idle = 0;
};

}  // namespace

struct Chips {
  Memories memories;
  Lane lanes[LANES];
  W states[2][FLIP_FLOPS], memory_outputs[MEMORIES + 1][16], pins[PINS], crossing[CROSSING + 1];
  W* now = states[0];
  W* next = states[1];
  W line[BITS];  // what is sent in this byte's time
  W sending = 0, receiving = 0, waiting = 0;
  std::vector<W> levels, due;  // of the transmit pins, and whose bytes are over, by cycle
  size_t ring;
  uint64_t cycles = 0;
  uint32_t clocks_per_bit;
  int32_t busy, checking;

  bool trace(W word, unsigned lane) const { return word >> lane & 1; }

  W working() const {
    return (busy < 0 ? 0 : pins[TRACES[busy][0]]) | (checking < 0 ? 0 : pins[TRACES[checking][0]]);
  }

  uint64_t value(uint32_t trace, unsigned lane) const {
    uint64_t number = 0;
    for (size_t bit = 0; bit < TRACES[trace].size(); ++bit)
      number |= (pins[TRACES[trace][bit]] >> lane & 1) << bit;
    return number;
  }

  void receive(W tx) {
    levels[cycles % ring] = tx;
    if (W begins = ~tx & ~receiving) {
      receiving |= begins;
      due[(cycles + (BITS - 1) * clocks_per_bit + clocks_per_bit / 2) % ring] |= begins;
    }
    W& over = due[cycles % ring];
    for (; over; over &= over - 1) {
      unsigned lane = std::countr_zero(over);
      receiving &= ~(W(1) << lane);
      uint32_t byte = 0;
      for (unsigned bit = 0; bit < BITS; ++bit)
        byte |= (levels[(cycles - (BITS - 1 - bit) * clocks_per_bit) % ring] >> lane & 1) << bit;
      // Without a stop bit it is none.
      if (byte >> (BITS - 1)) lanes[lane].received.push_back(byte >> 1);
      lanes[lane].last_byte = cycles;
    }
  }

  void record(W recording) {
    W seen = 0;
    for (size_t trace = 0; trace < TRACE_COUNT; ++trace)
      if (validates[trace]) seen |= pins[TRACES[trace][0]];
    for (seen &= recording; seen; seen &= seen - 1) {
      unsigned lane = std::countr_zero(seen);
      for (Recorder& recorder : lanes[lane].recorders)
        if (value(recorder.valid, lane)) {
          recorder.rows.push_back(cycles - lanes[lane].began);
          recorder.rows.push_back(value(recorder.value, lane));
        }
    }
  }

  bool validates[TRACE_COUNT] = {};
  W recording = 0;

  void cycle(W rx) {
    logic(now, memory_outputs, rx, crossing, next, pins);
    receive(pins[TX]);
    if (recording) record(recording);
    memories.clock(pins, memory_outputs);
    std::swap(now, next);
    ++cycles;
  }

  // The time of a byte, in which each lane that has one to send sends it.
  void byte() {
    std::fill(line, line + BITS, ~W(0));
    sending = 0;
    for (unsigned lane = 0; lane < LANES; ++lane) {
      std::deque<uint8_t>& bytes = lanes[lane].to_send;
      if (bytes.empty()) continue;
      W own = W(1) << lane;
      uint32_t bits = (0x100u | bytes.front()) << 1;
      bytes.pop_front();
      sending |= own;
      for (unsigned bit = 0; bit < BITS; ++bit)
        if (!(bits >> bit & 1)) line[bit] &= ~own;
    }
    for (W word : line)
      for (uint32_t part = 0; part < clocks_per_bit; ++part) cycle(word);
  }

  // The lanes that wait no longer.
  W woken() {
    W working_now = working() | sending | receiving, found = 0;
    for (W rest = waiting; rest; rest &= rest - 1) {
      unsigned number = std::countr_zero(rest);
      Lane& lane = lanes[number];
      if (trace(working_now, number) || !lane.to_send.empty()) lane.last_work = cycles;
      bool over = cycles >= lane.until || cycles - lane.last_work >= lane.idle
          || (!lane.received.empty() && !trace(receiving, number)
              && cycles - lane.last_byte >= lane.quiet);
      if (over) found |= W(1) << number;
    }
    waiting &= ~found;
    return found;
  }

  void start(unsigned number) {
    W own = W(1) << number;
    for (size_t k = 0; k < FLIP_FLOPS; ++k)
      now[k] = INITIAL[k] ? now[k] | own : now[k] & ~own;
    for (auto& words : memory_outputs)
      for (W& word : words) word &= ~own;
    memories.start(number);
    receiving &= ~own;
    recording &= ~own;
    waiting &= ~own;
    for (W& word : due) word &= ~own;
    lanes[number] = Lane();
    lanes[number].began = lanes[number].last_work = lanes[number].last_byte = cycles;
  }
};

extern "C" {

Chips* chips_new(uint32_t clocks_per_bit, int32_t busy, int32_t checking) {
  Chips* chips = new Chips();
  chips->clocks_per_bit = clocks_per_bit;
  chips->busy = busy;
  chips->checking = checking;
  chips->ring = std::bit_ceil(BITS * clocks_per_bit + 1);
  chips->levels.resize(chips->ring);
  chips->due.resize(chips->ring);
  for (unsigned lane = 0; lane < LANES; ++lane) chips->start(lane);
  return chips;
}

void chips_delete(Chips* chips) { delete chips; }

uint64_t chips_cycles(const Chips* chips) { return chips->cycles; }

// Power-on of a lane.
void chips_start(Chips* chips, uint32_t lane) { chips->start(lane); }

// Has a lane wait until it has run for `most` cycles, or bytes have come and none has followed for
// `quiet` cycles, or nothing has happened for `idle` cycles.
void chips_wait(Chips* chips, uint32_t lane, uint64_t most, uint64_t quiet, uint64_t idle) {
  Lane& own = chips->lanes[lane];
  own.until = chips->cycles + std::min(most, UINT64_MAX - chips->cycles);
  own.quiet = quiet;
  own.idle = idle;
  own.last_work = chips->cycles;
  chips->waiting |= W(1) << lane;
}

// Runs all lanes until at least one of those that wait is done, and returns which are.
uint64_t chips_run(Chips* chips) {
  W found = 0;
  while (chips->waiting && !found) {
    chips->byte();
    found = chips->woken();
  }
  return found;
}

uint64_t bench_cycles(const Chips* chips, uint32_t lane) {
  return chips->cycles - chips->lanes[lane].began;
}

void bench_write(Chips* chips, uint32_t lane, const uint8_t* data, uint64_t size) {
  std::deque<uint8_t>& bytes = chips->lanes[lane].to_send;
  bytes.insert(bytes.end(), data, data + size);
}

uint64_t bench_read(Chips* chips, uint32_t lane, uint8_t* data, uint64_t size) {
  std::vector<uint8_t>& bytes = chips->lanes[lane].received;
  size = std::min<uint64_t>(size, bytes.size());
  std::copy_n(bytes.begin(), size, data);
  bytes.erase(bytes.begin(), bytes.begin() + size);
  return size;
}

int bench_idle(const Chips* chips, uint32_t lane) {
  return chips->lanes[lane].to_send.empty()
      && !chips->trace(chips->working() | chips->receiving, lane);
}

void bench_values(const Chips* chips, uint32_t lane, uint64_t* values, uint64_t count) {
  for (uint64_t k = 0; k < count; ++k) values[k] = chips->value(k, lane);
}

void bench_record(Chips* chips, uint32_t lane, uint32_t valid, uint32_t value) {
  chips->lanes[lane].recorders.push_back({valid, value, {}});
  chips->validates[valid] = true;
  chips->recording |= W(1) << lane;
}

uint64_t bench_recorded(const Chips* chips, uint32_t lane, uint32_t recorder) {
  return chips->lanes[lane].recorders[recorder].rows.size();
}

void bench_take(Chips* chips, uint32_t lane, uint32_t recorder, uint64_t* rows) {
  std::vector<uint64_t>& from = chips->lanes[lane].recorders[recorder].rows;
  std::copy(from.begin(), from.end(), rows);
  from.clear();
}

// Inverts bits of a memory's word.
void bench_upset(Chips* chips, uint32_t lane, uint32_t memory, uint32_t address, uint64_t mask) {
  (*chips->memories.at(memory, address))[lane] ^= mask;
}

// Writes `count` words of a memory, from `address` on.
void bench_place(Chips* chips, uint32_t lane, uint32_t memory, uint32_t address,
                 const uint64_t* values, uint64_t count) {
  for (uint64_t k = 0; k < count; ++k) (*chips->memories.at(memory, address + k))[lane] = values[k];
}

}  // extern "C"
