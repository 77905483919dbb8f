// From a question and a text to rows, and from scores to answers: minibert.windows and
// minibert.spans, in the same order and with the same names.

/**
 * @typedef {import("./tokenizer.js").Tokenizer} Tokenizer
 * @typedef {import("./tokenizer.js").Place} Place
 * @typedef {{rows: {ids: number[], types: number[]}[], spans: Place[], column: number,
 *   offsets: Place[]}} Windows
 * @typedef {{text: string, start: number, end: number, score: number, probability: number,
 *   noAnswer: number}} Answer
 */

const ASKED = 64; // tokens of a question that are used

/**
 * Lay a question beside each part of its text.
 * @param {string} question @param {string} context @param {Tokenizer} tokenizer
 * @param {number} [maxLength] @param {number} [stride] tokens from window to window
 * @returns {Windows}
 */
export const cutWindows = (
  question, context, tokenizer, maxLength = 384, stride = Math.floor(maxLength / 3),
) => {
  const inside = tokenizer.encode(question).ids.slice(0, ASKED);
  const asked = [tokenizer.cls, ...inside, tokenizer.sep];
  const { ids, offsets } = tokenizer.encode(context);
  const rows = [], spans = [];
  for (let begin = 0; ; begin += stride) {
    const end = begin + maxLength - asked.length - 1;
    const part = [...ids.slice(begin, end), tokenizer.sep];
    rows.push({ ids: [...asked, ...part], types: [...asked.map(() => 0), ...part.map(() => 1)] });
    spans.push([begin, Math.min(end, ids.length)]);
    if (end >= ids.length) return { rows, spans, column: asked.length, offsets };
  }
};

/** For each of `count` tokens the window to trust. @param {Place[]} spans @param {number} count */
export const trustedWindow = (spans, count) => {
  const best = new Array(count).fill(-1), trusted = new Array(count).fill(0);
  spans.forEach(([begin, end], window) => {
    for (let token = begin; token < end; token++) {
      const score = Math.min(token - begin, end - 1 - token) + 0.01 * (end - begin);
      if (score > best[token]) [best[token], trusted[token]] = [score, window];
    }
  });
  return trusted;
};

/** log of the sum of exp. @param {number[]} values */
const logSumExp = (values) => {
  const top = Math.max(...values);
  if (top === -Infinity) return top;
  return top + Math.log(values.reduce((sum, x) => sum + Math.exp(x - top), 0));
};

/** The best first; of equals the one that begins first, then the shorter. */
const better = (a, b) => b[0] - a[0] || a[1] - b[1] || a[2] - b[2];

/**
 * Read the scores of all windows together.
 * @param {string} context @param {Windows} windows
 * @param {{start: ArrayLike<number>, end: ArrayLike<number>}[]} scores of each window
 * @param {{others?: number, longest?: number}} [options] tokens in an answer
 * @returns {{answers: Answer[], none: number, margin: number}} the best spans; the
 *   probability of no answer; how far its score lies above that of the best span
 */
export const chooseAnswers = (context, windows, scores, { others = 3, longest = 30 } = {}) => {
  const { spans, column, offsets } = windows;
  const trusted = trustedWindow(spans, offsets.length);
  const found = [], sums = [], nulls = [];
  scores.forEach(({ start, end }, window) => {
    const [first, last] = spans[window];
    const begins = [], ends = [];
    for (let token = first; token < last; token++) {
      const at = column + token - first;
      begins.push(trusted[token] === window ? start[at] : -Infinity);
      ends.push(end[at]);
    }
    nulls.push(start[0] + end[0]);
    sums.push(logSumExp(begins) + logSumExp(ends));
    const here = [];
    begins.forEach((score, i) => {
      for (let j = i; score > -Infinity && j < Math.min(i + longest, ends.length); j++) {
        here.push([score + ends[j], first + i, first + j]);
      }
    });
    found.push(...here.sort(better).slice(0, others + 1));
  });
  const none = Math.min(...nulls);
  const every = logSumExp([...sums, none]);
  const letters = Array.from(context);
  const best = found.sort(better).slice(0, others + 1);
  const margin = none - best[0][0];
  const answers = best.map(([score, first, last]) => {
    const [start, end] = [offsets[first][0], offsets[last][1]];
    const probability = Math.exp(score - every);
    const text = letters.slice(start, end).join("");
    return { text, start, end, score, probability, noAnswer: margin };
  });
  return { answers, none: Math.exp(none - every), margin };
};
