// The page: a chip in a worker or a board on a serial port, a text that grows, and what it took.

const BUILD_INFO = JSON.parse(document.getElementById("build-info").textContent);
const $ = (id) => document.getElementById(id);
const LOOK_MS = 90; // between two changes of the lights
const results = { runs: [] };

async function unzipped(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The chip in this page: simulated in a worker, so that the page stays alive.
class SimulatedChip {
  constructor(onnews) {
    this.timeout = 60_000; // its time is not ours
    this.onbytes = () => {};
    const source = new Blob([$("worker").textContent], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(source));
    this.answers = {};
    this.worker.onmessage = ({ data }) => {
      for (const kind of ["ready", "placed"]) if (kind in data) this.answers[kind]?.(data[kind]);
      if (data.bytes) {
        onnews(data);
        if (data.bytes.length) this.onbytes(data.bytes);
      }
    };
    this.worker.onerror = ({ message }) => show(`The simulation has failed: ${message}`, true);
  }

  ask(kind, message) {
    return new Promise((resolve) => {
      this.answers[kind] = resolve;
      this.worker.postMessage(message);
    });
  }

  async start() {
    const bytes = await unzipped($("module").textContent);
    return this.ask("ready", { start: { bytes, first: BUILD_INFO.stages.first, rest: BUILD_INFO.stages.rest.map(
      ([, trace, pulses]) => [trace, pulses]) } });
  }

  place(bytes) { return this.ask("placed", { place: bytes }); }

  write(bytes) { this.worker.postMessage({ write: bytes }); }
}

// A board behind a serial port, where the browser has WebSerial.
class SerialBoard {
  constructor(port) {
    this.port = port;
    this.timeout = 250;
    this.onbytes = () => {};
  }

  static async open() {
    if (!navigator.serial)
      throw new Error("this browser has no WebSerial; Chrome and Edge have it");
    const port = await navigator.serial.requestPort();
    await port.open({ baudRate: BUILD_INFO.baud, bufferSize: 1 << 16 });
    const board = new SerialBoard(port);
    board.writer = port.writable.getWriter();
    board.listen();
    return board;
  }

  async listen() {
    this.reader = this.port.readable.getReader();
    for (;;) {
      const { value, done } = await this.reader.read().catch(() => ({ done: true }));
      if (done) return;
      this.onbytes(value);
    }
  }

  write(bytes) {
    this.writer.write(bytes).catch((error) => show(`The board has gone: ${error.message}`, true));
  }

  async close() {
    await this.reader?.cancel().catch(() => {});
    this.reader?.releaseLock();
    this.writer.releaseLock();
    await this.port.close().catch(() => {});
  }
}

function show(message, wrong = false) {
  $("state").textContent = message;
  $("state").classList.toggle("wrong", wrong);
}

const number = (value, digits = 0) => value.toLocaleString("en", {
  minimumFractionDigits: digits, maximumFractionDigits: digits });

// Energy of a token at the clock of the release: power while it computes, times its time.
function energy(cycles) {
  return BUILD_INFO.power_mw?.map((power) => (1e3 * power * cycles) / BUILD_INFO.clock_hz);
}

// Strips of the stages, and how long ago each was lit.
const strips = BUILD_INFO.stages.rest.map(([name, , , words], index) => {
  const strip = document.createElement("div");
  strip.style.flexGrow = Math.max(words, BUILD_INFO.stages.total / 100);
  strip.title = name;
  if (index && name.startsWith("mix")) strip.classList.add("begins");
  $("token").append(strip);
  return strip;
});
const parts = Object.fromEntries(
  [...document.querySelectorAll("#path li")].map((part) => [part.dataset.part, part]));
const dark = () => ({ ran: 0, bytes: 0, counts: {}, stages: strips.map(() => 0) });
let light = dark(), whole = dark(); // since the last look, and since the request began
let looked = 0;

// What the worker tells of each few milliseconds, shown when enough of them have come.
function news({ bytes, cycles, ran, lights, stages }) {
  for (const sum of [light, whole]) {
    sum.ran += ran;
    sum.bytes += bytes.length;
    for (const [name, count] of Object.entries(lights))
      sum.counts[name] = (sum.counts[name] ?? 0) + count;
    stages.forEach((count, index) => { sum.stages[index] += count; });
  }
  results.cycles = cycles;
  const now = performance.now();
  if (now - looked < LOOK_MS) return;
  $("total").textContent = number(cycles);
  if (document.body.classList.contains("busy") && looked)
    $("clock").textContent = number((1e3 * light.ran) / (now - looked));
  look(now);
}

function look(now) {
  const { ran, counts, stages } = light;
  const share = (...names) => names.reduce((sum, name) => sum + (counts[name] ?? 0), 0) / (ran || 1);
  const shares = {
    link: Math.min(1, (light.bytes * 10 * BUILD_INFO.clocks_per_bit) / (ran || 1)),
    sequencer: share("running"), memory: share("reading"), engine: share("reading"),
    vector: share("act_valid", "h_valid", "x_valid"), sampler: share("logit_valid"),
  };
  for (const [name, value] of Object.entries(shares)) {
    parts[name].style.setProperty("--lit", Math.sqrt(value).toFixed(3));
    parts[name].querySelector("i").textContent = value ? `${number(100 * value, 1)} %` : "";
  }
  const most = Math.max(...stages, 1);
  strips.forEach((strip, index) =>
    strip.style.setProperty("--lit", (stages[index] / most).toFixed(2)));
  light = dark();
  looked = now;
}

const chip = new SimulatedChip(news);
let board, current, stopping = false;

function image() {
  return Promise.all(BUILD_INFO.image.map(async ([address, data]) => [address, await unzipped(data)]));
}

// The board of the target that is chosen, with the model in it.
async function connect() {
  const target = $("target").value;
  if (current === target) {
    show("Generating");
    return board;
  }
  board?.link.close();
  if (current === "board") await board.transport.close();
  current = undefined;
  board = new Board(target === "chip" ? chip : await SerialBoard.open());
  show(target === "chip" ? "Asking the chip who it is" : "Asking the board who it is");
  await board.identify();
  const what = target === "chip" ? "Loading what is not weights through the pins"
    : "Loading the model through the serial port";
  const loaded = await board.load(await image(), (done, total) =>
    show(`${what}: ${number((100 * done) / total)} %`));
  current = target;
  results.loaded = loaded;
  show((loaded.placed ? `${number(loaded.placed / 1024)} KB of weights were put into the memory, as `
    + `a boot from flash does, and ${number(loaded.sent)} bytes went through the pins`
    : `${number(loaded.sent)} bytes went through the serial port`)
    + `; the chip says their CRC is ${board.crc.toString(16).padStart(8, "0")}, which is right.`);
  return board;
}

function encoded(text) {
  const tokens = [...text].map((letter) => BUILD_INFO.vocabulary.indexOf(letter));
  const unknown = [...text].filter((_, index) => tokens[index] < 0);
  if (!tokens.length) throw new Error("the prompt must have at least one character");
  if (unknown.length)
    throw new Error(`the model does not know ${JSON.stringify(unknown[0])}; it was trained on `
      + JSON.stringify(BUILD_INFO.vocabulary.join("")));
  return tokens;
}

// What a token takes, in cycles and in what follows from them.
function tell(cycles) {
  const joules = energy(cycles);
  $("cycles").textContent = number(cycles);
  $("fast").textContent = number(BUILD_INFO.clock_hz / cycles);
  $("energy").textContent = joules ? number(joules[1], 1) : "–";
  $("interval").textContent = joules ? `${number(joules[0], 1)} to ${number(joules[2], 1)}`
    : "not known of a design that was not released";
}

async function generate() {
  const prompt = $("prompt").value;
  const request = { prompt: encoded(prompt), tokens: Number($("tokens").value),
    temperature: Number($("temperature").value), seed: Number($("seed").value) };
  const device = await connect();
  $("given").textContent = prompt;
  $("made").textContent = "";
  whole = dark();
  let began, cycles, ids = [];
  const ontoken = (token) => {
    ids.push(token);
    const box = $("text");
    const follows = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
    $("made").append(BUILD_INFO.vocabulary[token]);
    if (follows) box.scrollTop = box.scrollHeight;
    const now = performance.now();
    const running = whole.counts.running ?? 0;
    if (ids.length === 1) [began, cycles] = [now, running];
    else {
      $("speed").textContent = number((1e3 * (ids.length - 1)) / (now - began), 1);
      if (running) tell((running - cycles) / (ids.length - 1));
    }
  };
  const start = performance.now();
  const counted = await device.generate({ ...request, ontoken, stopped: () => stopping });
  const seconds = (performance.now() - start) / 1e3;
  if (counted.tokens) tell(counted.cycles / counted.tokens);
  results.runs.push({ ...request, ids, text: ids.map((id) => BUILD_INFO.vocabulary[id]).join(""), seconds,
    ...counted, target: current });
  const ended = stopping ? "Stopped after" : "Generated";
  show(`${ended} ${number(ids.length)} characters in ${number(seconds, 1)} s; the chip says that its `
    + "weights are unchanged.");
}

async function submit() {
  if (document.body.classList.contains("busy")) {
    stopping = true;
    return;
  }
  document.body.classList.add("busy");
  $("go").textContent = "Stop";
  stopping = false;
  try {
    await generate();
  } catch (error) {
    results.error = error.message;
    current = undefined;
    show(`${error.message[0].toUpperCase()}${error.message.slice(1)}.`, true);
  }
  document.body.classList.remove("busy");
  $("go").textContent = "Generate";
  light = whole;
  look(performance.now());
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

// A link to this page may hold a request: #prompt=ROMEO:&seed=7&run
async function begin() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const name of ["prompt", "temperature", "seed", "tokens"])
    if (asked.has(name)) $(name).value = asked.get(name);
  $("go").disabled = true;
  await chip.start();
  $("go").disabled = false;
  show("The chip is on. Nothing runs until you ask it to.");
  results.ready = true;
  if (asked.has("run")) submit();
}

begin().catch((error) => show(`The chip does not start: ${error.message}.`, true));
window.trilight = { Board, FrameReader, Link, crc32, encodeFrame, pack, results, unpack };
