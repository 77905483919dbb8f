// BERT's tokenizer: the same ids and places as minibert.Tokenizer.
// A place counts characters as Python does: code points, not units of UTF-16.

/**
 * @typedef {[number, number]} Place  from a character to the one after the last
 * @typedef {[number, number][]} Ranges  of code points, both ends included, in order
 * @typedef {{ids: number[], tokens: string[], offsets: Place[]}} Encoding
 * @typedef {{vocabulary: string[], characters: {
 *   dropped: Ranges, marks: Ranges, punctuation: Ranges, chinese: Ranges}}} Description
 */

const SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const LONGEST = 100; // characters; a longer word is [UNK]

/** @param {Ranges} ranges @returns {(c: string) => boolean} */
const member = (ranges) => (c) => {
  const code = c.codePointAt(0);
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle][1] < code) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && ranges[low][0] <= code;
};

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** @param {string[]} letters @returns {number[]} how many make up each written character */
const clusters = (letters) =>
  Array.from(graphemes.segment(letters.join("")), (one) => Array.from(one.segment).length);

/**
 * Let a piece keep the signs of its characters that cleaning dropped, up to its neighbours:
 * minibert.offsets.whole_characters.
 * @param {string[]} letters @param {Place[]} offsets @returns {Place[]}
 */
const wholeCharacters = (letters, offsets) => {
  if (letters.every((c) => c < "\x80")) return offsets;
  const blank = (c) => /\s/u.test(c);
  /** @type {Place[]} */
  const whole = [];
  let done = 0;
  offsets.forEach(([start, end], i) => {
    if (i && offsets[i - 1][0] === start && offsets[i - 1][1] === end) {
      whole.push(whole[whole.length - 1]);
      return;
    }
    let after = i + 1;
    while (after < offsets.length && offsets[after][0] < end) after++;
    const limit = after < offsets.length ? offsets[after][0] : letters.length;
    const [from, to] = [start, end];
    if (done < from && !blank(letters[from - 1])) {
      start -= clusters(letters.slice(done, from + 1)).at(-1) - 1;
    }
    if (to < limit && !blank(letters[to])) end += clusters(letters.slice(to - 1, limit))[0] - 1;
    whole.push([start, end]);
    done = end;
  });
  return whole;
};

export class Tokenizer {
  /** @param {Description} description as tools/live.py writes it */
  constructor({ vocabulary, characters }) {
    this.pieces = vocabulary;
    this.ids = new Map(vocabulary.map((piece, i) => [piece, i]));
    this.dropped = member(characters.dropped);
    this.mark = member(characters.marks);
    this.punctuation = member(characters.punctuation);
    this.chinese = member(characters.chinese);
    [this.pad, this.unknown, this.cls, this.sep, this.mask] =
      SPECIAL.map((piece) => this.ids.get(piece));
  }

  /**
   * Cut a text into pieces, without [CLS] and [SEP] around them.
   * @param {string} text @returns {Encoding}
   */
  encode(text) {
    const letters = Array.from(text);
    const ids = [], offsets = [];
    let at = 0;
    for (const part of text.split(/(\[(?:PAD|UNK|CLS|SEP|MASK)\])/)) {
      const inside = Array.from(part);
      if (SPECIAL.includes(part)) {
        ids.push(this.ids.get(part));
        offsets.push([at, at + inside.length]);
      } else {
        for (const word of this.words(inside, at)) this.cut(word, ids, offsets);
      }
      at += inside.length;
    }
    const tokens = ids.map((i) => this.pieces[i]);
    return { ids, tokens, offsets: wholeCharacters(letters, offsets) };
  }

  /**
   * Clean characters, and part them into words.
   * @param {string[]} letters @param {number} at the first one's place in the text
   * @returns {[string, number][][]} words of (character, its place)
   */
  words(letters, at) {
    const words = [];
    let word = [];
    const close = () => {
      if (word.length) words.push(word);
      word = [];
    };
    letters.forEach((letter, i) => {
      if (this.dropped(letter)) return;
      if (/\s/u.test(letter)) return close();
      if (this.chinese(letter)) close();
      for (const c of letter.normalize("NFD")) {
        if (this.mark(c)) continue;
        for (const low of c.toLowerCase()) {
          if (this.punctuation(low)) {
            close();
            words.push([[low, at + i]]);
          } else word.push([low, at + i]);
        }
      }
      if (this.chinese(letter)) close();
    });
    close();
    return words;
  }

  /**
   * The longest pieces first: WordPiece.
   * @param {[string, number][]} word @param {number[]} ids @param {Place[]} offsets
   */
  cut(word, ids, offsets) {
    const found = [];
    let start = 0;
    while (word.length <= LONGEST && start < word.length) {
      let end = word.length, id;
      for (; end > start; end--) {
        const piece = word.slice(start, end).map(([c]) => c).join("");
        id = this.ids.get(start ? `##${piece}` : piece);
        if (id !== undefined) break;
      }
      if (id === undefined) break;
      found.push([id, word[start][1], word[end - 1][1] + 1]);
      start = end;
    }
    if (start < word.length) found.splice(0, found.length,
      [this.unknown, word[0][1], word[word.length - 1][1] + 1]);
    for (const [id, first, last] of found) {
      ids.push(id);
      offsets.push([first, last]);
    }
  }
}
