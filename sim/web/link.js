// The host's end of the link: frames, requests that are repeated until they are answered, and a
// board that loads a model and generates. PROTOCOL holds the constants of hw/contract/protocol.py.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let k = 0; k < 8; k++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

// CRC-32 as in zlib.
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Fields of one of Python's struct formats, little endian, without padding: [letter, bytes] each.
function fields(format) {
  return [...format.matchAll(/(\d*)([BHIs])/g)].flatMap(([, count, letter]) =>
    letter === "s" ? [[letter, Number(count || 1)]]
      : Array.from({ length: Number(count || 1) }, () => [letter, { B: 1, H: 2, I: 4 }[letter]]));
}

function sizeOf(format) {
  return fields(format).reduce((sum, [, size]) => sum + size, 0);
}

function pack(format, ...values) {
  const bytes = [];
  fields(format).forEach(([, size], index) => {
    for (let k = 0; k < size; k++) bytes.push((values[index] / 2 ** (8 * k)) & 0xff);
  });
  return Uint8Array.from(bytes);
}

function unpack(format, bytes) {
  if (bytes.length !== sizeOf(format))
    throw new Error(`the chip answered ${bytes.length} bytes where ${sizeOf(format)} were asked for`);
  let place = 0;
  return fields(format).map(([letter, size]) => {
    const part = bytes.subarray(place, (place += size));
    return letter === "s" ? String.fromCharCode(...part)
      : part.reduceRight((value, byte) => value * 256 + byte, 0);
  });
}

function joined(...parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    bytes.set(part, place);
    place += part.length;
  }
  return bytes;
}

function encodeFrame(sequence, command, payload) {
  const { END, ESC, ESC_END, ESC_ESC } = PROTOCOL.slip;
  const body = joined([sequence, command], payload);
  const line = [END];
  for (const byte of joined(body, pack("<I", crc32(body)))) {
    if (byte === END) line.push(ESC, ESC_END);
    else if (byte === ESC) line.push(ESC, ESC_ESC);
    else line.push(byte);
  }
  line.push(END);
  return Uint8Array.from(line);
}

// Finds the frames in a stream of bytes that may be damaged.
class FrameReader {
  constructor() {
    this.bytes = [];
    this.escaped = this.bad = false;
  }

  feed(data) {
    const { END, ESC, ESC_END, ESC_ESC } = PROTOCOL.slip;
    const frames = [];
    for (const byte of data) {
      if (byte === END) {
        const body = Uint8Array.from(this.bytes);
        const content = body.subarray(0, -PROTOCOL.crcBytes);
        if (!this.bad && !this.escaped && body.length >= PROTOCOL.minFrameBytes
            && crc32(content) === unpack("<I", body.subarray(-PROTOCOL.crcBytes))[0])
          frames.push({ sequence: body[0], command: body[1], payload: content.subarray(2) });
        this.bytes = [];
        this.escaped = this.bad = false;
      } else if (this.escaped) {
        this.bad ||= byte !== ESC_END && byte !== ESC_ESC;
        this.bytes.push(byte === ESC_END ? END : ESC);
        this.escaped = false;
      } else if (byte === ESC) this.escaped = true;
      else if (this.bytes.length < PROTOCOL.maxFrameBytes) this.bytes.push(byte);
      else this.bad = true;
    }
    return frames;
  }
}

const ATTEMPTS = 12;
const WINDOW = 4; // WRITEs on their way at once, whose answers are much shorter

// Requests and answers over a transport: { write(bytes), onbytes, timeout }, timeout in ms.
class Link {
  constructor(transport) {
    this.transport = transport;
    this.reader = new FrameReader();
    this.waiting = new Map();
    this.sequence = 0;
    this.lastRun = 0;
    this.ontoken = () => {};
    transport.onbytes = (bytes) => this.reader.feed(bytes).forEach((frame) => this.take(frame));
  }

  take({ sequence, command, payload }) {
    if (sequence === 0 && command >= PROTOCOL.event && command < PROTOCOL.response) {
      const [position, token] = unpack(PROTOCOL.formats.event, payload);
      this.ontoken(position, token);
      return;
    }
    const sent = this.waiting.get(sequence);
    if (!sent || command !== (sent.command | PROTOCOL.response) || !payload.length) return;
    this.waiting.delete(sequence);
    clearTimeout(sent.timer);
    const name = Object.keys(PROTOCOL.result).find((key) => PROTOCOL.result[key] === payload[0]);
    if (payload[0] === PROTOCOL.result.OK) sent.resolve(payload.slice(1));
    else sent.reject(new Error(`the chip refused command ${sent.command}: ${name ?? payload[0]}`));
  }

  // A RUN under the number of the last RUN would be taken for its repeat.
  next() {
    do this.sequence = (this.sequence % 255) + 1;
    while (this.sequence === this.lastRun || this.waiting.has(this.sequence));
    return this.sequence;
  }

  request(command, payload = [], sequence = this.next()) {
    if (command === PROTOCOL.command.RUN) this.lastRun = sequence;
    const frame = encodeFrame(sequence, command, payload);
    return new Promise((resolve, reject) => {
      const sent = { command, resolve, reject, attempts: 0 };
      const send = () => {
        if (sent.attempts++ === ATTEMPTS) {
          this.waiting.delete(sequence);
          reject(new Error("the chip does not answer; is it powered, and running this release?"));
          return;
        }
        this.transport.write(frame);
        sent.timer = setTimeout(send, this.transport.timeout);
      };
      this.waiting.set(sequence, sent);
      send();
    });
  }

  close() {
    for (const { timer, reject } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new Error("the link was closed"));
    }
    this.waiting.clear();
  }

  read(address, units) {
    return this.request(PROTOCOL.command.READ,
      pack(PROTOCOL.formats.access, address, units));
  }

  // Writes bytes, two to a unit, in frames of which a few are on their way at once.
  async write(address, data, progress = () => {}) {
    const pieces = [];
    for (let unit = 0; 2 * unit < data.length; unit += PROTOCOL.maxWords) pieces.push(unit);
    const lane = async () => {
      for (let unit; (unit = pieces.shift()) !== undefined;) {
        const piece = data.subarray(2 * unit, 2 * (unit + PROTOCOL.maxWords));
        await this.request(PROTOCOL.command.WRITE,
          joined(pack(PROTOCOL.formats.address, address + unit), piece));
        progress(piece.length);
      }
    };
    await Promise.all(Array.from({ length: WINDOW }, lane));
  }
}

const POLL_MS = 20;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A board that runs the page's model.
class Board {
  constructor(transport) {
    this.transport = transport;
    this.link = new Link(transport);
  }

  // Sequence number 0 makes the chip forget the last RUN of a former host.
  async identify() {
    const names = PROTOCOL.fields.identity;
    const values = unpack(PROTOCOL.formats.identity,
      await this.link.request(PROTOCOL.command.IDENTIFY, [], 0));
    this.identity = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    const { magic, version } = this.identity;
    if (magic !== PROTOCOL.magic || version !== PROTOCOL.version)
      throw new Error(`this is protocol ${version} of ${magic}, and the page speaks ${PROTOCOL.version}`);
    await this.stop();
    return this.identity;
  }

  async status() {
    const values = unpack(PROTOCOL.formats.status,
      await this.link.request(PROTOCOL.command.STATUS));
    return Object.fromEntries(PROTOCOL.fields.status.map((name, index) => [name, values[index]]));
  }

  async stop() {
    let status = await this.status();
    if (status.running) await this.link.request(PROTOCOL.command.STOP);
    while (status.running) {
      await pause(POLL_MS);
      status = await this.status();
    }
    return status;
  }

  // A transport that can place the weights in the memory, as a boot from flash does, is asked to.
  // Either way the chip is then asked for the CRC of what it holds.
  async load(image, progress = () => {}) {
    const [[address, weights], ...others] = image;
    const placed = await this.transport.place?.(weights);
    this.crc = crc32(weights);
    const last = weights.length / PROTOCOL.weightWordBytes - 1;
    await this.link.write(PROTOCOL.region.WEIGHT_CRC, pack("<I", last));
    const parts = placed ? others : image;
    const total = parts.reduce((sum, [, data]) => sum + data.length, 0);
    let done = 0;
    for (const [start, data] of parts)
      await this.link.write(start, data, (bytes) => progress((done += bytes), total));
    await this.confirm();
    return { placed: placed ? weights.length : 0, sent: total };
  }

  async confirm() {
    for (;;) {
      const answer = await this.link.read(PROTOCOL.region.WEIGHT_CRC, sizeOf(PROTOCOL.formats.weightCrc) / 2);
      const [complete, crc] = unpack(PROTOCOL.formats.weightCrc, answer);
      if (complete && crc === this.crc) return;
      if (complete)
        throw new Error(`the chip's weights have the CRC ${crc.toString(16)}, not ${this.crc.toString(16)}`);
      await pause(POLL_MS);
    }
  }

  async run(flags, feed, generate, temperature, seed) {
    const { CLEAR } = PROTOCOL.runFlag;
    await this.link.request(PROTOCOL.command.RUN,
      pack(PROTOCOL.formats.run, flags | CLEAR, 0, feed, generate, temperature, seed));
  }

  writeTape(position, tokens) {
    const size = this.identity.tapeTokens;
    const writes = tokens.map((token, index) => this.link.write(
      PROTOCOL.region.TAPE + ((position + index) % size), pack("<H", token)));
    return Promise.all(writes);
  }

  async readTape(position) {
    const place = PROTOCOL.region.TAPE + (position % this.identity.tapeTokens);
    return (await this.link.read(place, 1))[0];
  }

  async ended() {
    let status;
    while ((status = await this.status()).running) await pause(POLL_MS);
    return status;
  }

  // Generates tokens after those of a prompt, and returns the chip's counters over them.
  // `stopped` is asked before each run whether to go on; `ontoken` is called with each token.
  async generate({ prompt, tokens, temperature, seed, ontoken, stopped = () => false }) {
    const { RESET, SEED } = PROTOCOL.runFlag;
    const fixed = Math.round(temperature * 2 ** PROTOCOL.temperatureFrac);
    const tape = this.identity.tapeTokens;
    let fed = 0;
    while (fed < prompt.length - 1) {
      const piece = prompt.slice(fed, Math.min(fed + tape, prompt.length - 1));
      await this.writeTape(fed, piece);
      await this.run((fed ? 0 : RESET) | SEED, piece.length, 0, 0, seed);
      await this.ended();
      fed += piece.length;
    }
    await this.writeTape(fed, prompt.slice(-1));
    const total = { cycles: 0, words: 0, tokens: 0 };
    let made = 0;
    while (made < tokens && !stopped()) {
      const end = made + Math.min(tokens - made, tape - 1);
      const flags = (fed ? 0 : RESET) | (made ? 0 : SEED);
      let news = () => {};
      const heard = [];
      this.link.ontoken = (position, token) => {
        heard.push([position, token]);
        news();
      };
      await this.run(flags, 1, end - made, fixed, seed);
      const first = made;
      while (made < end) {
        if (!heard.length) {
          await Promise.race([new Promise((resolve) => (news = resolve)),
                              pause(this.transport.timeout)]);
          if (!heard.length && !(await this.status()).running && !heard.length) break;
        }
        for (const [position, token] of heard.splice(0)) {
          // What a lost event would have said is on the tape.
          const ahead = (position - (prompt.length + made)) & 0xffff;
          if (ahead >= end - made) continue;
          for (let k = 0; k < ahead; k++) ontoken(await this.readTape(prompt.length + made++));
          ontoken(token);
          made++;
        }
        if (stopped()) {
          await this.stop();
          break;
        }
      }
      const status = await this.ended();
      const stop = first + status.tokens;
      while (made < Math.min(stop, end)) ontoken(await this.readTape(prompt.length + made++));
      fed += status.tokens;
      for (const name of Object.keys(total)) total[name] += status[name];
    }
    await this.confirm();
    return { ...total, made };
  }
}
