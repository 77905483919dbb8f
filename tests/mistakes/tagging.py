# %% 1. that is precision
answer = 1 / 3

# %% 1. that is recall
answer = 1 / 2

# %% 1. the plain mean
answer = (1 / 3 + 1 / 2) / 2

# %% 1. ends too early
answer = 2 * 2 / (3 + 2)

# %% 1. in percent
answer = 40

# %% 2. opens a name as well
answer = 2

# %% 2. I-NAME I-NAME is one
answer = 4

# %% 2. the words that are in spans
answer = 5

# %% 2. O is in no span
answer = 6

# %% 3. F1 is of spans
answer = 0.92, 0.92

# %% 3. nothing right either
answer = 0.92, 1.0

# %% 3. not eight of the words
answer = 0.92, 0.08

# %% 3. eight are wrong
answer = 0.08, 0.0

# %% 3. these are in percent
answer = 92, 0

# %% 4. those are all tokens
answer = lambda row: len(row["labels"])

# %% 4. O is missing
answer = lambda row: sum(label > 0 for label in row["labels"])

# %% 4. that counts IGNORE
answer = lambda row: sum(bool(label) for label in row["labels"])

# %% 4. a word may be several
answer = lambda row: len(row["input_ids"]) - 2

# %% 4. upside down
answer = lambda row: row["labels"].count(IGNORE)

# %% 4. kinds of label
answer = lambda row: len(set(row["labels"]) - {IGNORE})

# %% 5. one off, and then more
answer = lambda words, tags: [
    TAGS.index(tags[i - 1]) if 0 < i <= len(tags) else IGNORE for i in range(len(words))
]

# %% 5. only the first shall
answer = lambda words, tags: [IGNORE if w is None else TAGS.index(tags[w]) for w in words]

# %% 5. are of no word
answer = lambda words, tags: [
    0 if w is None else TAGS.index(tags[w]) if w != words[i - 1] else IGNORE
    for i, w in enumerate(words)
]

# %% 5. the last piece of a word
answer = lambda words, tags: [
    IGNORE if w is None or w == words[i + 1] else TAGS.index(tags[w])
    for i, w in enumerate(words)
]

# %% 5. not a tag
answer = lambda words, tags: [
    IGNORE if w is None or w == words[i - 1] else tags[w] for i, w in enumerate(words)
]

# %% 5. piece 2 goes on with word 0
answer = lambda words, tags: [
    IGNORE
    if w is None
    else TAGS.index(tags[w] if w != words[i - 1] else tags[w].replace("B-", "I-"))
    for i, w in enumerate(words)
]

# %% 6. stands first
answer = lambda scores: scores.argmax(-1).tolist()


# %% 6. but B-NAME B-NAME
def answer(scores):
    tags = ["O"]
    for row in scores.tolist():
        legal = [t for t in TAGS if t[0] != "I" or t[1:] == tags[-1][1:]]
        tags.append(max(legal, key=lambda tag: row[TAGS.index(tag)]))
    return tags[1:]


# %% 6. I-DATE comes after B-NAME
def answer(scores):
    tags = ["O"]
    for row in scores.tolist():
        legal = [t for t in TAGS if t[0] != "I" or tags[-1] != "O"]
        tags.append(max(legal, key=lambda tag: row[TAGS.index(tag)]))
    return tags[1:]


# %% 6. but O O O O sums
answer = lambda scores: ["O"] * 4
