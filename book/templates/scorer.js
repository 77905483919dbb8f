// How the search orders what it finds: Sphinx's own scores, and pages on which things are looked
// up come after the chapters that speak of them as much.
var Scorer = {
  score: ([page, , , , score]) => score - (AFTER.has(page) ? 4 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
const AFTER = new Set([
  "api", "bibliography", "data", "glossary", "projects", "questions", "records", "teaching",
  "transformers", "welcome",
].map((name) => `book/${name}`));
