// Runs the chip: a WebAssembly module that simulates its cells, cycle by cycle, driven by its pins.
//
// In: { start }, { write }, { place }. Out: { ready }, { bytes, cycles, lights }, { placed }.

const STEP = 256; // cycles between two looks at how far a token is
const SLICE_MS = 12; // of simulation between two looks at messages
const QUIET_BITS = 12; // a frame is whole when the line has been quiet for longer than a byte
const IDLE = 2000; // cycles after which nothing more happens by itself

let chip, memory, bench, build_info, stages, stage;
let asleep = true;
const wake = new MessageChannel();
wake.port1.onmessage = () => simulate();

const NEVER = -1n; // of an unsigned 64-bit number, the largest

// The module asks an operating system for nothing but an empty environment.
function imports(module) {
  const wasi = {};
  for (const { name } of WebAssembly.Module.imports(module)) wasi[name] = () => 52; // ENOSYS
  wasi.environ_get = () => 0;
  wasi.environ_sizes_get = (count, size) => {
    const view = new DataView(chip.memory.buffer);
    view.setUint32(count, 0, true);
    view.setUint32(size, 0, true);
    return 0;
  };
  wasi.proc_exit = (code) => { throw new Error(`the simulation has ended with ${code}`); };
  return { wasi_snapshot_preview1: wasi };
}

async function start({ bytes, first, rest }) {
  const module = await WebAssembly.compile(bytes);
  const [section] = WebAssembly.Module.customSections(module, "trilight");
  build_info = JSON.parse(new TextDecoder().decode(section));
  const names = build_info.traces.map(([name]) => name);
  const instance = await WebAssembly.instantiate(module, imports(module));
  chip = instance.exports;
  chip._initialize();
  memory = chip.malloc(1 << 20);
  bench = chip.bench_new(build_info.clocks_per_bit, names.indexOf("running"), names.indexOf("checking"));
  chip.bench_run(bench, BigInt(build_info.reset_cycles), NEVER, NEVER);
  const number = (list) => list.map(([name, pulses]) => [names.indexOf(name), pulses]);
  stages = { first: number(first), rest: number(rest) };
  stage = { index: -1, seen: 0, cycles: new Array(rest.length).fill(0) };
  postMessage({ ready: build_info });
}

function pulses() {
  chip.bench_pulses(bench, memory, BigInt(build_info.traces.length));
  return Array.from(new BigUint64Array(chip.memory.buffer, memory, build_info.traces.length), Number);
}

// Which stage of a token the chip is in, from the vectors that have been written. Negative before
// the first operation.
function follow(before, after) {
  const running = build_info.traces.findIndex(([name]) => name === "running");
  const ran = after[running] - before[running];
  if (!ran) {
    stage.index = -stages.first.length;
    stage.seen = 0;
    return;
  }
  const { first, rest } = stages;
  const moved = after.map((count, trace) => count - before[trace]);
  if (stage.index >= 0) stage.cycles[stage.index] += ran;
  for (;;) {
    const [trace, wanted] = stage.index < 0 ? first[first.length + stage.index] : rest[stage.index];
    const more = Math.min(moved[trace], wanted - stage.seen);
    moved[trace] -= more;
    stage.seen += more;
    if (stage.seen < wanted) {
      // A token that is only fed has no logits: its successor's embedding follows at once.
      const [other] = rest[0];
      if (trace === other || !moved[other] || stage.seen) return;
    }
    stage.seen = 0;
    stage.index = stage.index + 1 === rest.length ? 0 : stage.index + 1;
  }
}

function simulate() {
  const quiet = BigInt(QUIET_BITS * build_info.clocks_per_bit);
  const began = performance.now();
  const before = pulses();
  const cycles = Number(chip.bench_cycles(bench));
  let last = before, now = cycles, count = 0, idle = 0;
  stage.cycles.fill(0);
  do {
    chip.bench_run(bench, BigInt(STEP), quiet, NEVER);
    const after = pulses();
    follow(last, after);
    last = after;
    const reached = Number(chip.bench_cycles(bench));
    idle = chip.bench_idle(bench) ? idle + reached - now : 0;
    now = reached;
    count = Number(chip.bench_read(bench, memory, 4096n));
    asleep = !count && idle >= IDLE;
  } while (!count && !asleep && performance.now() - began < SLICE_MS);
  const names = build_info.traces.map(([name]) => name);
  const lights = Object.fromEntries(names.map((name, trace) => [name, last[trace] - before[trace]]));
  postMessage({
    bytes: new Uint8Array(chip.memory.buffer, memory, count).slice(),
    cycles: now, ran: now - cycles, lights, stages: stage.cycles.slice(),
  });
  if (!asleep) wake.port2.postMessage(null);
}

function write(bytes) {
  new Uint8Array(chip.memory.buffer, memory, bytes.length).set(bytes);
  chip.bench_write(bench, memory, BigInt(bytes.length));
  if (asleep) {
    asleep = false;
    wake.port2.postMessage(null);
  }
}

// Puts 16-bit units into the weight memory from outside, as a boot from flash does.
function place(bytes) {
  const units = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const lanes = build_info.weights;
  for (let lane = 0; lane < lanes; lane++) {
    const values = BigUint64Array.from(
      { length: Math.ceil((units.length - lane) / lanes) }, (_, k) => BigInt(units[k * lanes + lane]));
    new BigUint64Array(chip.memory.buffer, memory, values.length).set(values);
    chip.bench_place(bench, lane, 0, memory, BigInt(values.length));
  }
  postMessage({ placed: units.length });
}

onmessage = ({ data }) => {
  if (data.start) start(data.start);
  else if (data.write) write(data.write);
  else if (data.place) place(data.place);
};
