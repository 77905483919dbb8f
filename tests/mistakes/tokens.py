# %% 1. a longer entry than
answer = ["un", "##bit", "##ten"]

# %% 1. bitten starts a word
answer = ["un", "bitten"]

# %% 1. ##bitten is not in the list
answer = ["un", "##bitten"]

# %% 1. with its ##
answer = ["un", "bitt", "en"]

# %% 1. does not spell unbitten
answer = ["[UNK]"]

# %% 2. the first [SEP] ends the first text
answer = [0, 0, 0, 1, 1, 1, 1]

# %% 2. [CLS] and each [SEP] have a segment
answer = [0, 0, 1, 1]

# %% 2. ? is a token
answer = [0, 0, 0, 0, 1, 1]

# %% 2. counted from 0
answer = [1, 1, 1, 1, 2, 2, 2]

# %% 2. the attention mask
answer = [1, 1, 1, 1, 1, 1, 1]

# %% 3. no room for [CLS] and two [SEP]
answer = (40, 88)

# %% 3. leave room for 2 special
answer = (40, 86)

# %% 3. the shorter text fits whole
answer = (62, 63)

# %% 3. the question loses
answer = (15, 110)

# %% 3. the question comes first
answer = (85, 40)

# %% 4. piece 5 is missing
answer = lambda encoding, text: text[encoding.offsets[2][0] : encoding.offsets[4][1]]

# %% 4. joined or decoded, not cut
answer = lambda encoding, text: tokenizer.decode(encoding.ids[2:6])

# %% 4. the pieces, not the text
answer = lambda encoding, text: "".join(encoding.tokens[2:6])

# %% 4. these are characters
answer = lambda encoding, text: text[2:6]

# %% 4. a piece late
answer = lambda encoding, text: text[encoding.offsets[3][0] : encoding.offsets[6][1]]

# %% 4. give text and not tuple
answer = lambda encoding, text: (encoding.offsets[2][0], encoding.offsets[5][1])

# %% 5. long words would count more
answer = lambda encoding, labels: [-100 if w is None else labels[w] for w in encoding.words]

# %% 5. the last piece of each word
answer = lambda encoding, labels: [
    -100 if w is None or w == after else labels[w]
    for w, after in zip(encoding.words, [*encoding.words[1:], None], strict=True)
]

# %% 5. [CLS] and [SEP] have a place
answer = lambda encoding, labels: [
    -100 if w == before else labels[w]
    for before, w in zip(encoding.words, encoding.words[1:-1], strict=False)
]

# %% 5. one for each token is wanted
answer = lambda encoding, labels: labels

# %% 5. which the loss skips
answer = lambda encoding, labels: [
    0 if w is None or w == before else labels[w]
    for before, w in zip([None, *encoding.words], encoding.words, strict=False)
]

# %% 6. one of them also stands elsewhere
answer = {"dog": 1, "dig": 1}

# %% 6. always together, but too often
answer = {"ox": 2}

# %% 6. a count is 1, 2, 3
answer = {"ox": 0.5}

# %% 6. has no pair
answer = {"a": 1}
