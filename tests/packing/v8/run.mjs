// Runs bundles on V8: reads them from standard input, writes one line for each.
//
// A request: id, how many calls, support?, the lengths of guest and driver, the calls, each u32
// little-endian, then the bytes of both. The first request of all is the support module alone: its length, its bytes.
// An answer: the id, a space, and the trace in the form of trace.rs, or "failed" and why.
import { createHash } from "node:crypto";
import { readSync, writeSync } from "node:fs";
import { isMainThread, Worker } from "node:worker_threads";

if (isMainThread) {
  // Only a worker can be given a stack of its own size; packed modules bound themselves well below.
  new Worker(new URL(import.meta.url), { resourceLimits: { stackSizeMb: 64 } })
    .on("error", (error) => {
      console.error(error);
      process.exit(1);
    });
} else {
  serve();
}

function read(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const got = readSync(0, bytes, at, length - at, null);
    if (got === 0) return null;
    at += got;
  }
  return bytes;
}

function serve() {
  const support = new WebAssembly.Module(read(read(4).readUInt32LE(0)));
  for (let served = 1; ; served += 1) {
    const head = read(20);
    if (head === null) return;
    const [id, count, supported, guest, driver] = [0, 4, 8, 12, 16].map((at) => head.readUInt32LE(at));
    const order = read(4 * count);
    const calls = Array.from({ length: count }, (_, i) => order.readUInt32LE(4 * i));
    const bundle = { calls, support: supported ? support : null, guest: read(guest), driver: read(driver) };
    let line;
    try {
      line = run(bundle).join("; ");
    } catch (error) {
      line = `failed ${String(error).replaceAll("\n", " ")}`;
    }
    writeSync(1, `${id} ${line}\n`);
    // Each memory reserves addresses that only a collection gives back.
    if (served % 32 === 0) globalThis.gc?.();
  }
}

function run({ calls, support, guest, driver }) {
  const imports = {};
  let env = null;
  if (support) {
    env = new WebAssembly.Instance(support).exports;
    imports.env = env;
  }
  const module = new WebAssembly.Module(guest);
  let packed;
  try {
    packed = new WebAssembly.Instance(module, imports).exports;
  } catch (error) {
    return [end(error)];
  }
  const drive = new WebAssembly.Instance(new WebAssembly.Module(driver), { guest: packed }).exports;
  const fuel = () => packed["bayan.fuel"]?.value;
  const step = (end, words) => {
    const results = words.map((word) => BigInt.asUintN(64, word).toString(16)).join(",");
    const slice = end === "returned" ? (packed["bayan.slice"]?.value ?? 0n) : 0n;
    const left = fuel() === undefined ? undefined : fuel() + slice;
    return `${end}${results ? `:${results}` : ""}${left === undefined ? "" : ` fuel ${left}`} state ${state(drive, env)}`;
  };
  const steps = [step("returned", [])];
  for (const call of calls) {
    let how = "returned";
    let words = [];
    try {
      words = list(drive[`call${call}`]());
    } catch (error) {
      how = end(error);
      if (how === "unreachable") how = ownEnd(fuel(), packed["bayan.stop"]?.value);
    }
    steps.push(step(how, words));
    if (["fuel", "stack", "native-stack"].includes(how)) break;
  }
  return steps;
}

// One i64 comes as itself, several as a list, none as undefined.
function list(words) {
  if (words === undefined) return [];
  return typeof words === "bigint" ? [words] : words;
}

function ownEnd(fuel, stop) {
  if (fuel !== undefined && fuel <= 0n) return "fuel";
  if (stop === undefined || stop === 0) return "unreachable";
  return stop === 1 ? "stack" : "other";
}

function state(drive, env) {
  const sha = createHash("sha256");
  const word = Buffer.alloc(8);
  for (const memory of [drive.memory, env?.memory]) {
    if (!memory) continue;
    word.writeBigUInt64LE(BigInt(memory.buffer.byteLength));
    sha.update(word).update(new Uint8Array(memory.buffer));
  }
  const words = list(drive.look());
  if (env) words.push(env.calls.value);
  for (const value of words) {
    word.writeBigUInt64LE(BigInt.asUintN(64, value));
    sha.update(word);
  }
  return sha.digest("hex").slice(0, 16);
}

function end(error) {
  const text = error.message;
  if (error instanceof RangeError && /call stack/.test(text)) return "native-stack";
  if (!(error instanceof WebAssembly.RuntimeError)) throw error;
  if (/unreachable/.test(text)) return "unreachable";
  if (/null function|signature/.test(text)) return "indirect";
  if (/memory access|data segment/.test(text)) return "memory";
  if (/\btable\b|element segment/.test(text)) return "table";
  if (/by zero/.test(text)) return "division";
  if (/unrepresentable/.test(text)) return "range";
  throw error;
}
