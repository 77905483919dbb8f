// Files with their progress, and models that run from them. Addresses are relative to this
// file, so that the site may lie in any folder of any host.

/**
 * @typedef {{address: string, bytes: number, hash: string}} File
 * @typedef {{files: Record<string, File>, runtime: string[],
 *   parts: Record<string, string[]>, threshold: number}} Manifest
 * @typedef {(done: number, all: number) => void} Progress
 */

const here = (address) => new URL(address, import.meta.url).href;

/** @type {Map<string, Promise<Uint8Array>>} what is loaded, or on its way */
const kept = new Map();
/** @type {Promise<any> | undefined} */
let runtime;

/** @returns {Promise<Manifest>} what there is to load, with sizes */
export const readManifest = async () => {
  const reply = await fetch(here("files.json"));
  if (!reply.ok) throw new Error(`files.json: ${reply.status}`);
  return reply.json();
};

/** @param {Manifest} manifest @param {string} part @returns {string[]} files not yet there */
export const missing = (manifest, part) =>
  [...manifest.runtime, ...manifest.parts[part]].filter((name) => !kept.has(name));

/** @param {Manifest} manifest @param {string[]} names */
export const totalBytes = (manifest, names) =>
  names.reduce((sum, name) => sum + manifest.files[name].bytes, 0);

/** @param {File} file */
export const address = (file) => here(`${file.address}?${file.hash}`);

/** Unpack what is packed; a server may have unpacked it on the way. @param {Blob} blob */
const unpack = async (blob) => {
  const [one, two] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const packed = one === 0x1f && two === 0x8b;
  const plain = blob.stream();
  const stream = packed ? plain.pipeThrough(new DecompressionStream("gzip")) : plain;
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

/**
 * Fetch a file, or take it from what the browser kept of an earlier visit; keep it.
 * @param {File} file @param {(bytes: number) => void} came
 */
const download = async (file, came) => {
  const url = address(file);
  const store = "caches" in globalThis ? await caches.open("ask-the-page") : undefined;
  const stored = await store?.match(url);
  const reply = stored ?? await fetch(url);
  if (!reply.ok || !reply.body) throw new Error(`${file.address}: ${reply.status}`);
  const chunks = [];
  const reader = reply.body.getReader();
  for (let got = await reader.read(); !got.done; got = await reader.read()) {
    chunks.push(got.value);
    came(got.value.length);
  }
  const blob = new Blob(chunks);
  const headers = { "Content-Type": reply.headers.get("Content-Type") ?? "" };
  if (!stored) await store?.put(url, new Response(blob, { headers })).catch(() => {}); // no room
  return unpack(blob);
};

/**
 * Load what a part of the page needs and is not there yet.
 * @param {Manifest} manifest @param {string} part @param {Progress} progress
 */
export const loadPart = async (manifest, part, progress) => {
  const names = missing(manifest, part);
  const all = totalBytes(manifest, names);
  let done = 0;
  const came = (bytes) => progress(Math.min(done += bytes, all), all);
  for (const name of names) {
    const coming = download(manifest.files[name], came);
    coming.catch(() => kept.delete(name)); // to be tried again
    kept.set(name, coming);
  }
  await Promise.all([...manifest.runtime, ...manifest.parts[part]].map((name) => kept.get(name)));
};

/** @param {string} name */
export const bytes = async (name) => /** @type {Uint8Array} */ (await kept.get(name));

/** @param {string} name */
export const json = async (name) => JSON.parse(new TextDecoder().decode(await bytes(name)));

/** Start ONNX Runtime, from bytes that are there. @param {Manifest} manifest */
const startRuntime = async (manifest) => {
  const ort = await import(address(manifest.files["ort.wasm.min.mjs"]));
  ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
  ort.env.wasm.wasmBinary = (await bytes("ort-wasm-simd-threaded.wasm")).buffer;
  ort.env.wasm.wasmPaths = { mjs: address(manifest.files["ort-wasm-simd-threaded.mjs"]) };
  return ort;
};

/**
 * Open a model.
 * @param {Manifest} manifest @param {string} name @param {boolean} [words] with the shared table
 * @returns {Promise<(row: {ids: number[], types: number[]}, outputs?: string[]) =>
 *   Promise<Record<string, {dims: number[], data: Float32Array}>>>} it takes one row of S ids
 */
export const openModel = async (manifest, name, words = false) => {
  runtime ??= startRuntime(manifest);
  const ort = await runtime;
  const externalData = words ? [{ path: "words.bin", data: await bytes("words.bin") }] : undefined;
  const session = await ort.InferenceSession.create(await bytes(name), { externalData });
  const tensor = (row) =>
    new ort.Tensor("int64", BigInt64Array.from(row, (i) => BigInt(i)), [1, row.length]);
  return ({ ids, types }, outputs = session.outputNames) => session.run({
    input_ids: tensor(ids),
    attention_mask: tensor(ids.map(() => 1)),
    token_type_ids: tensor(types),
  }, outputs);
};
