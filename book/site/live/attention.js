// The toy of the chapter Attention: a sentence, two matrices, and every number between
// them and the mix. One plain script, no library; it also runs from a folder of files.
// Shapes: S words, 4 features, D = 2.
"use strict";

(() => {
  /** @typedef {number[][]} Matrix */

  const FEATURES = ["article", "noun", "verb", "human"];
  const COLUMNS = ["for a noun", "for a verb"];
  const D = 2;
  const MOST = 8; // words
  const START = {
    sentence: "the dog bit the man",
    query: [[2, 0], [0, 2], [2, 0], [0, 0]],
    key: [[0, 0], [2, 0], [0, 2], [0, 0]],
  };
  const KINDS = {
    article: "a an the this that my your his her our their every some no",
    human: "man woman boy girl child baby king queen doctor teacher farmer friend nurse poet",
    verb: "bit bites saw sees ate eats chased chases loves loved liked likes heard hears "
      + "found finds met meets fed feeds kissed kisses is was sleeps slept ran runs sings",
    other: "and or not in on at to of with by from under over very",
  };
  /** What one in none of the lists is taken for: a noun. */
  const KNOWN = new Map(
    Object.entries(KINDS).flatMap(([kind, words]) => words.split(" ").map((w) => [w, kind])),
  );

  /** @param {string} word @returns {number[]} its four features */
  const describe = (word) => {
    const kind = KNOWN.get(word.toLowerCase()) ?? "noun";
    return FEATURES.map((name) => Number(name === kind || (kind === "human" && name === "noun")));
  };

  /** @param {Matrix} a (S, n) @param {Matrix} b (n, m) @returns {Matrix} (S, m) */
  const product = (a, b) =>
    a.map((row) => b[0].map((_, j) => row.reduce((sum, x, i) => sum + x * b[i][j], 0)));

  /** @param {Matrix} a @returns {Matrix} */
  const transpose = (a) => a[0].map((_, j) => a.map((row) => row[j]));

  /** @param {number[]} row with -Infinity where none may look @returns {number[]} */
  const softmax = (row) => {
    const top = Math.max(...row);
    const powers = row.map((x) => Math.exp(x - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((x) => x / sum);
  };

  /**
   * Attention with every step kept, as minibert.attention.attention does it.
   * @param {{x: Matrix, wQuery: Matrix, wKey: Matrix, scaled: boolean, back: boolean}} given
   */
  const attend = ({ x, wQuery, wKey, scaled, back }) => {
    const query = product(x, wQuery);
    const key = product(x, wKey);
    const scores = product(query, transpose(key));
    const seen = scores.map((row, i) =>
      row.map((s, j) => (back && j > i ? -Infinity : s / (scaled ? Math.sqrt(D) : 1))));
    const weights = seen.map(softmax);
    return { query, key, scores, seen, weights, mix: product(weights, x) };
  };

  /**
   * @param {string} tag @param {Object} set properties @param {...(Node|string)} inside
   * @returns {any}
   */
  const make = (tag, set, ...inside) => {
    const one = document.createElement(tag);
    const { data, aria, ...rest } = set;
    Object.assign(one, rest);
    Object.assign(one.dataset, data);
    Object.entries(aria ?? {}).forEach(([name, value]) => one.setAttribute(name, value));
    one.append(...inside);
    return one;
  };

  /** @param {number} x */
  const show = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(2)).replace("-", "\u2212");

  /**
   * A table with named rows and columns; `cell` gives each cell's contents.
   * @param {string} name @param {string} caption @param {string[]} rows
   * @param {string[]} columns @param {(i: number, j: number) => (Node|string)} cell
   */
  const table = (name, caption, rows, columns, cell) => {
    const head = make("tr", {}, make("td", {}),
      ...columns.map((text) => make("th", { scope: "col" }, text)));
    const body = rows.map((text, i) => make("tr", {}, make("th", { scope: "row" }, text),
      ...columns.map((_, j) => make("td", { data: { i, j } }, cell(i, j)))));
    return make("table", { data: { name } }, make("caption", {}, caption),
      make("thead", {}, head), make("tbody", {}, ...body));
  };

  /** @param {Matrix} values @param {number} [digits] */
  const numbers = (values, digits) => (i, j) =>
    digits === undefined ? show(values[i][j]) : values[i][j].toFixed(digits);

  /** Build the toy in an element. @param {HTMLElement} root */
  const start = (root) => {
    const sentence = make("input", { type: "text", maxLength: 80, id: "toy-sentence" });
    const scaled = make("input", { type: "checkbox", checked: true, name: "scaled" });
    const back = make("input", { type: "checkbox", name: "back" });
    const from = make("select", { name: "from" });
    const to = make("select", { name: "to" });
    const note = make("p", { aria: { role: "status" }, className: "note" });
    const given = make("div", { className: "tables" });
    const made = make("div", { className: "tables" });
    const said = make("p", { aria: { role: "status" }, className: "said" });
    let words = [], x = [], wQuery = [], wKey = [];
    let pair = [2, 1];

    /** A cell that is flipped. */
    const flip = (i, j) => make("button", {
      type: "button",
      aria: {
        "aria-label": `${words[i]}, ${FEATURES[j]}`,
        "aria-pressed": String(Boolean(x[i][j])),
      },
      onclick: (event) => {
        x[i][j] = 1 - x[i][j];
        event.target.textContent = x[i][j];
        event.target.setAttribute("aria-pressed", String(Boolean(x[i][j])));
        compute();
      },
    }, String(x[i][j]));

    /** A weight that is dragged. */
    const slide = (name, matrix) => (i, j) => {
      const value = make("output", {}, show(matrix[i][j]));
      const range = make("input", {
        type: "range", min: -4, max: 4, step: 0.25,
        aria: { "aria-label": `${name}, ${FEATURES[i]}, ${COLUMNS[j]}` },
      });
      range.value = String(matrix[i][j]);
      range.oninput = () => {
        matrix[i][j] = Number(range.value);
        value.textContent = show(matrix[i][j]);
        compute();
      };
      return make("span", {}, value, " ", range);
    };

    const pick = (i, j) => {
      pair = [i, j];
      compute();
    };

    /** What happens between the two chosen words, in one line. */
    const explain = ({ query, key, scores, seen, weights }) => {
      const [i, j] = pair;
      if (seen[i][j] === -Infinity) {
        return `${words[i]} may not look at ${words[j]}, which comes later: the share is 0.`;
      }
      const terms = query[i].map((q, d) => `${show(q)} × ${show(key[j][d])}`).join(" + ");
      const root = scaled.checked ? `, divided by √2: ${show(seen[i][j])}` : "";
      const sum = seen[i].reduce((all, s) => all + Math.exp(s), 0);
      return `${words[i]} looks at ${words[j]}: ${terms} = ${show(scores[i][j])}${root}. `
        + `Softmax: e to that is ${Math.exp(seen[i][j]).toPrecision(3)}, of ${sum.toPrecision(3)} `
        + `for the whole row: ${weights[i][j].toFixed(2)}. So ${weights[i][j].toFixed(2)} of the `
        + `mixed row of ${words[i]} is ${words[j]}.`;
    };

    const compute = () => {
      const result = attend({ x, wQuery, wKey, scaled: scaled.checked, back: back.checked });
      const { query, key, scores, weights, mix } = result;
      made.replaceChildren(
        table("query", "Queries: X times W query", words, COLUMNS, numbers(query)),
        table("key", "Keys: X times W key", words, COLUMNS, numbers(key)),
        table("scores", "Scores: each query with each key", words, words, numbers(scores)),
        table("weights", "Softmax: the shares of each row", words, words, numbers(weights, 2)),
        table("mix", "Mix: shares times X", words, FEATURES, numbers(mix, 2)),
      );
      for (const cell of made.querySelectorAll("[data-name=weights] td[data-i]")) {
        const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
        cell.className = "share";
        cell.style.setProperty("--share", (0.75 * weights[i][j]).toFixed(3));
        cell.onclick = () => pick(i, j);
      }
      const [i, j] = pair;
      const marks = [`query"] td[data-i="${i}"]`, `key"] td[data-i="${j}"]`,
        `mix"] td[data-i="${i}"]`,
        ...["scores", "weights"].map((name) => `${name}"] td[data-i="${i}"][data-j="${j}"]`)];
      for (const mark of marks) {
        made.querySelectorAll(`[data-name="${mark}`).forEach((one) => one.classList.add("picked"));
      }
      [from.value, to.value] = pair.map(String);
      said.textContent = explain(result);
    };

    /** Lay out what depends on the words. */
    const layOut = () => {
      for (const select of [from, to]) {
        select.replaceChildren(...words.map((word, i) => new Option(`${i + 1} ${word}`, `${i}`)));
      }
      pair = pair.map((i) => Math.min(i, words.length - 1));
      given.replaceChildren(
        table("x", "X: the words, and what they are", words, FEATURES, flip),
        table("w-query", "W query: what is looked for", FEATURES, COLUMNS,
          slide("W query", wQuery)),
        table("w-key", "W key: what can be found", FEATURES, COLUMNS, slide("W key", wKey)),
      );
      compute();
    };

    const read = () => {
      const all = sentence.value.match(/[\p{L}\p{M}\p{N}'’-]+/gu) ?? [];
      if (!all.length) return;
      words = all.slice(0, MOST);
      x = words.map(describe);
      const strange = words.filter((word) => !KNOWN.has(word.toLowerCase()) && word !== "dog");
      note.textContent = [
        all.length > MOST ? `Only the first ${MOST} words are taken.` : "",
        strange.length ? `Taken for a noun: ${strange.join(", ")}. Change that in X.` : "",
      ].join(" ").trim();
      layOut();
    };

    const reset = () => {
      sentence.value = START.sentence;
      wQuery = structuredClone(START.query);
      wKey = structuredClone(START.key);
      [scaled.checked, back.checked, pair] = [true, false, [2, 1]];
      read();
    };

    sentence.oninput = read;
    scaled.onchange = back.onchange = compute;
    from.onchange = to.onchange = () => pick(Number(from.value), Number(to.value));
    root.replaceChildren(
      make("label", { htmlFor: sentence.id }, `A sentence of up to ${MOST} words`), sentence, note,
      given,
      make("div", { className: "line" },
        make("label", {}, scaled, " divide the scores by √2"),
        make("label", {}, back, " look only back"),
        make("button", { type: "button", onclick: reset }, "As it was")),
      made,
      make("div", { className: "line" },
        make("label", {}, "Explain: ", from), make("label", {}, "looks at ", to)),
      said,
    );
    reset();
  };

  document.querySelectorAll("[data-live=attention]").forEach(start);
})();
