# %% 1. what a real pair costs
answer = -math.log(0.9)

# %% 1. what a wrong pair costs
answer = -math.log(0.1)

# %% 1. having no opinion
answer = math.log(2)

# %% 1. where 0.9 of the pairs are real
answer = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))

# %% 1. those are bits
answer = -(math.log2(0.9) + math.log2(0.1)) / 2

# %% 2. turns every bit
answer = lambda labels: ~labels

# %% 2. no int64
answer = lambda labels: labels == 0

# %% 2. unchanged
answer = lambda labels: labels

# %% 2. 0 stays 0
answer = lambda labels: -labels

# %% 2. not [0, -1, -1]
answer = lambda labels: labels - 1

# %% 3. its free room is the first's
answer = (30, 30)

# %% 3. in proportion
answer = (47, 13)

# %% 3. 15 off each
answer = (55, 5)

# %% 3. the other way round
answer = (20, 40)

# %% 3. no pair is left
answer = (60, 0)

# %% 4. unlike numbers of chunks
answer = 1 / 3

# %% 4. from another article
_, counts = np.unique(small.chunks[:, 2], return_counts=True)
answer = 1 - ((counts / counts.sum()) ** 2).sum()

# %% 4. the very same chunk
answer = 1 / len(small.chunks)

# %% 4. own chunk
answer = (counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1))

# %% 4. no more than 1
answer = (counts**2).sum() / counts.sum()

# %% 5. 1 [SEP] in place of two
answer = lambda a, b: (
    [tokenizer.cls_id, *a, tokenizer.sep_id, *b],
    [0] * (len(a) + 2) + [1] * len(b),
)

# %% 5. the first [SEP] belongs
answer = lambda a, b: (
    [tokenizer.cls_id, *a, tokenizer.sep_id, *b, tokenizer.sep_id],
    [0] * (len(a) + 1) + [1] * (len(b) + 2),
)

# %% 5. all segments are 0
answer = lambda a, b: (
    [tokenizer.cls_id, *a, tokenizer.sep_id, *b, tokenizer.sep_id],
    [0] * (len(a) + len(b) + 3),
)

# %% 5. [CLS] stands once
answer = lambda a, b: (
    [tokenizer.cls_id, *a, tokenizer.sep_id, tokenizer.cls_id, *b, tokenizer.sep_id],
    [0] * (len(a) + 2) + [1] * (len(b) + 2),
)

# %% 5. does not start with [CLS]
answer = lambda a, b: (
    [*a, tokenizer.sep_id, *b, tokenizer.sep_id],
    [0] * (len(a) + 1) + [1] * (len(b) + 1),
)

# %% 6. 2 at 0%
def mixed(corpus, rows, max_length, chance, before=1, other=2, kinds=3, safe=True, cut=True):
    first, second = cut_chunks(corpus, rows, chance)
    elsewhere = chance.integers(0, len(corpus.chunks), len(rows))
    if safe:
        elsewhere = draw_other_documents(corpus, rows, chance)
    _, wrong = cut_chunks(corpus, elsewhere, chance)
    labels = chance.integers(0, kinds, len(rows))
    a = np.where(labels[:, None] == before, second, first)
    b = np.where(labels[:, None] == before, first, second)
    b = np.where(labels[:, None] == other, wrong, b)
    if cut:
        a, b = truncate_pairs(a, b, max_length - 3, chance)
    return Pairs(a, b, labels)


answer = draw_pairs

# %% 6. label 1: 100% are from two documents
answer = lambda *given: mixed(*given, before=2, other=1)

# %% 6. pairs are from one document
answer = lambda *given: mixed(*given, safe=False)

# %% 6. 48 is the most
answer = lambda *given: mixed(*given, cut=False)

# %% 6. the second should come before
answer = lambda *given: mixed(*given, before=3)
