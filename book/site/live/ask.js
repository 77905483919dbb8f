// The page Ask the page: three figures, each of which loads its model on a click.

import { chooseAnswers, cutWindows } from "./answers.js";
import { address, bytes, json, loadPart, missing, openModel, readManifest, totalBytes }
  from "./models.js";
import { Tokenizer } from "./tokenizer.js";

/** @typedef {import("./models.js").Manifest} Manifest */

const CONTEXT = "The Danube is the second-longest river in Europe. It rises in the Black Forest "
  + "of Germany, flows through ten countries, more than any other river in the world, and ends "
  + "in the Black Sea. Four capitals lie on it: Vienna, Bratislava, Budapest and Belgrade.";
const QUESTION = "Where does the Danube end?";
const SENTENCE = "The Danube is a ___ that flows into the Black Sea.";
const QUERY = "a clever creature with eight arms that lives in the sea";
const MOST = 94; // tokens of a sentence with a blank: the small model's positions, less two
const FOUND = 5; // leads, and words for a blank

/**
 * @param {string} tag @param {Object} set properties; `aria` are attributes
 * @param {...(Node|string)} inside @returns {any}
 */
const make = (tag, set, ...inside) => {
  const one = document.createElement(tag);
  const { aria, ...rest } = set;
  Object.assign(one, rest);
  Object.entries(aria ?? {}).forEach(([name, value]) => one.setAttribute(name, value));
  one.append(...inside);
  return one;
};

const megabytes = (count) => `${(count / 1e6).toFixed(1)} MB`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const nextFrame = () => new Promise((done) => setTimeout(done, 30)); // let the page be drawn

/** Softmax. @param {ArrayLike<number>} scores */
const softmax = (scores) => {
  const list = Array.from(scores);
  const top = list.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = list.map((x) => Math.exp(x - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
};

/** A field with its label. @param {string} text @param {any} field @param {string} id */
const labelled = (text, field, id) => {
  field.id = id;
  return [make("label", { htmlFor: id }, text), field];
};

/**
 * A form whose button says what it will load, loads it once, and then computes.
 * @param {{root: Element, manifest: Manifest, part: string, verb: string, fields: Node[],
 *   open: () => Promise<any>, compute: (opened: any) => Promise<Node[]>}} figure
 */
const figure = ({ root, manifest, part, verb, fields, open, compute }) => {
  const button = make("button", {});
  const bar = make("progress", { hidden: true, aria: { "aria-label": "loaded" } });
  const status = make("p", { aria: { role: "status" } });
  const results = make("div", { className: "results", aria: { "aria-live": "polite" } });
  const form = make("form", {}, ...fields, make("p", {}, button), bar, status, results);
  let opened;

  const name = () => {
    const size = totalBytes(manifest, missing(manifest, part));
    const loading = `Load ${megabytes(size)}, then ${verb.toLowerCase()}`;
    button.textContent = opened || !size ? verb : loading;
  };

  const load = async () => {
    bar.hidden = false;
    await loadPart(manifest, part, (done, all) => {
      [bar.value, bar.max] = [done, all];
      status.textContent = `${megabytes(done)} of ${megabytes(all)}`;
    });
    status.textContent = "Starting the model …";
    await nextFrame();
    opened = await open();
    bar.hidden = true;
    keepOffline(manifest, part);
  };

  form.onsubmit = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    status.className = "";
    try {
      if (!opened) await load();
      status.textContent = "Computing …";
      await nextFrame();
      const begun = performance.now();
      const shown = await compute(opened);
      status.textContent = `Computed in ${Math.round(performance.now() - begun)} ms.`;
      results.replaceChildren(...shown);
    } catch (error) {
      bar.hidden = true;
      status.className = "error";
      status.textContent = error.message;
    }
    button.disabled = false;
    document.dispatchEvent(new Event("live-loaded"));
  };
  document.addEventListener("live-loaded", name);
  name();
  root.replaceChildren(form);
};

/** Keep the page and what it loaded for when there is no network. */
const keepOffline = async (manifest, part) => {
  if (!("serviceWorker" in navigator) || !isSecureContext) return;
  const top = new URL("../", import.meta.url).href;
  await navigator.serviceWorker.register(`${top}offline.js`, { scope: top });
  const { active } = await navigator.serviceWorker.ready;
  const seen = performance.getEntriesByType("resource").map((one) => one.name);
  const loaded = [...manifest.runtime, ...manifest.parts[part]]
    .map((name) => address(manifest.files[name]));
  const page = location.href.replace(/[#?].*/, "");
  const channel = new MessageChannel();
  channel.port1.onmessage = () => { document.documentElement.dataset.offline = part; };
  active.postMessage([...new Set([page, ...seen, ...loaded])].filter((x) => x.startsWith(top)),
    [channel.port2]);
};

/** The question and its text. */
const ask = (root, manifest) => {
  const context = make("textarea", { rows: 7, value: CONTEXT, required: true });
  const question = make("input", { type: "text", required: true, value: QUESTION });

  const compute = async ({ run, tokenizer }) => {
    const text = context.value;
    const windows = cutWindows(question.value, text, tokenizer);
    if (windows.column < 3 || !windows.offsets.length) {
      throw new Error("The paragraph and the question need a word each.");
    }
    const scores = [];
    for (const row of windows.rows) {
      const { start_logits: start, end_logits: end } = await run(row);
      scores.push({ start: start.data, end: end.data });
    }
    const { answers, none, margin } = chooseAnswers(text, windows, scores);
    return [...drawAnswers(text, answers),
      make("p", { className: "none" }, `No answer in the paragraph: ${percent(none)}. `
        + (margin > manifest.threshold
          ? "That is above the model's threshold: the paragraph probably does not say." : ""))];
  };
  figure({
    root, manifest, part: "ask", verb: "Answer", compute,
    fields: [...labelled("A paragraph", context, "live-context"),
      ...labelled("A question", question, "live-question")],
    open: async () => ({
      run: await openModel(manifest, "qa.onnx", true),
      tokenizer: new Tokenizer(await json("minilm.json")),
    }),
  });
};

/** The text with an answer lit up, and the answers to choose from. */
const drawAnswers = (text, answers) => {
  const letters = Array.from(text);
  const shown = make("p", { className: "text" });
  const light = ({ start, end }) => shown.replaceChildren(letters.slice(0, start).join(""),
    make("mark", {}, letters.slice(start, end).join("")), letters.slice(end).join(""));
  const rows = answers.map((one) => make("li", {},
    make("button", { type: "button", onclick: () => light(one) }, one.text),
    ` ${percent(one.probability)}`));
  light(answers[0]);
  return [shown, make("p", {}, "The answer and the next best:"),
    make("ol", { className: "answers" }, ...rows)];
};

/** A sentence with a blank, and who looks at whom in it. */
const fill = (root, manifest) => {
  const sentence = make("input", { type: "text", required: true, value: SENTENCE });

  const compute = async ({ run, tokenizer }) => {
    const { ids, tokens } = tokenizer.encode(sentence.value.replace(/_+/g, " [MASK] "));
    if (!ids.length || ids.length > MOST) {
      throw new Error(`The sentence has ${ids.length} tokens, not 1 to ${MOST}.`);
    }
    const row = [tokenizer.cls, ...ids, tokenizer.sep];
    const output = await run({ ids: row, types: row.map(() => 0) });
    const maps = Object.entries(output).filter(([name]) => name !== "logits").map(([, map]) => map);
    const place = row.indexOf(tokenizer.mask);
    return [...drawWords(output.logits, place, tokenizer),
      ...drawAttention(["[CLS]", ...tokens, "[SEP]"], maps, Math.max(place, 1))];
  };
  figure({
    root, manifest, part: "fill", verb: "Fill in", compute,
    fields: labelled("A sentence; the blank is ___", sentence, "live-sentence"),
    open: async () => ({
      run: await openModel(manifest, "small.onnx"),
      tokenizer: new Tokenizer(await json("small.json")),
    }),
  });
};

/** The likeliest pieces for a blank. */
const drawWords = ({ data, dims }, place, tokenizer) => {
  if (place < 0) return [make("p", {}, "There is no blank (___) in the sentence.")];
  const size = dims[2];
  const shares = softmax(data.slice(place * size, (place + 1) * size));
  const best = shares.map((share, id) => ({ share, id })).sort((a, b) => b.share - a.share);
  return [make("ol", { className: "words" }, ...best.slice(0, FOUND).map(({ share, id }) =>
    make("li", {}, make("b", {}, tokenizer.pieces[id]), ` ${percent(share)}`)))];
};

/** The shares that one token gives to the others, in any head of any layer. */
const drawAttention = (tokens, maps, first) => {
  const size = tokens.length;
  const heads = maps[0].dims[1];
  const numbers = (count) => Array.from({ length: count }, (_, i) => new Option(`${i}`, `${i}`));
  const layer = make("select", { onchange: () => paint() }, ...numbers(maps.length));
  const head = make("select", { onchange: () => paint() }, ...numbers(heads));
  const said = make("p", { className: "said", aria: { role: "status" } });
  let chosen = first;
  const words = tokens.map((token, i) => make("button", {
    type: "button", className: "token",
    onclick: () => { chosen = i; paint(); },
  }, token));
  const paint = () => {
    const at = (Number(head.value) * size + chosen) * size;
    const shares = Array.from(maps[Number(layer.value)].data.slice(at, at + size));
    words.forEach((word, i) => {
      word.style.setProperty("--share", shares[i].toFixed(3));
      word.title = shares[i].toFixed(2);
      word.setAttribute("aria-pressed", String(i === chosen));
    });
    const order = shares.map((share, i) => ({ share, i })).sort((a, b) => b.share - a.share);
    const most = order.slice(0, 3).map(({ share, i }) => `${tokens[i]} (${i}) ${percent(share)}`);
    said.textContent = `${tokens[chosen]} (${chosen}) looks most at: ${most.join(", ")}.`;
  };
  paint();
  return [
    make("p", {}, "Who looks at whom? Choose a token: the stronger another one's colour, "
      + "the more the chosen one looks at it."),
    make("div", { className: "line" },
      make("label", {}, "layer ", layer), make("label", {}, "head ", head)),
    make("p", { className: "tokens" }, ...words), said,
  ];
};

/** The leads that mean something similar. */
const search = (root, manifest) => {
  const query = make("input", { type: "text", required: true, value: QUERY });

  const compute = async ({ run, tokenizer, leads, vectors }) => {
    const ids = [tokenizer.cls, ...tokenizer.encode(query.value).ids.slice(0, 254), tokenizer.sep];
    const output = await run({ ids, types: ids.map(() => 0) }, ["last_hidden_state"]);
    const found = nearest(meanPool(output.last_hidden_state), vectors, FOUND);
    const rows = found.map(({ i, cosine }) => {
      const [title, text] = leads[i];
      return make("li", {}, make("b", {}, title), ` ${cosine.toFixed(2)}`, make("br", {}), text);
    });
    return [make("ol", { className: "leads" }, ...rows)];
  };
  figure({
    root, manifest, part: "search", verb: "Search", compute,
    fields: labelled("What are you looking for?", query, "live-query"),
    open: async () => {
      const run = await openModel(manifest, "minilm.onnx", true);
      const vectors = new Int8Array((await bytes("vectors.bin")).buffer);
      const tokenizer = new Tokenizer(await json("minilm.json"));
      return { run, tokenizer, vectors, leads: await json("leads.json") };
    },
  });
};

/**
 * The mean of the tokens' vectors.
 * @param {{data: Float32Array, dims: number[]}} states (1, S, H)
 */
const meanPool = ({ data, dims: [, size, width] }) =>
  Float32Array.from({ length: width }, (_, h) => {
    let sum = 0;
    for (let s = 0; s < size; s++) sum += data[s * width + h];
    return sum / size;
  });

/**
 * The rows with the highest cosines.
 * @param {Float32Array} query (H,) @param {Int8Array} vectors (n, H) @param {number} count
 */
const nearest = (query, vectors, count) => {
  const width = query.length;
  const length = Math.hypot(...query);
  const found = [];
  for (let i = 0; i < vectors.length / width; i++) {
    let product = 0, square = 0;
    for (let h = 0; h < width; h++) {
      const x = vectors[i * width + h];
      product += query[h] * x;
      square += x * x;
    }
    found.push({ i, cosine: product / (length * Math.sqrt(square) || 1) });
  }
  return found.sort((a, b) => b.cosine - a.cosine).slice(0, count);
};

const FIGURES = { ask, fill, search };

/** Without WebAssembly, or what else the models need, the pictures stay. */
const able = () =>
  typeof WebAssembly === "object" && "DecompressionStream" in window && "Segmenter" in Intl;

const manifest = able() ? await readManifest().catch(() => undefined) : undefined;
if (manifest) {
  for (const root of document.querySelectorAll("[data-live]")) {
    FIGURES[root.dataset.live]?.(root, manifest);
  }
}
