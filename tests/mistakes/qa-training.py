# %% 1. articles do not count
answer_1 = 2 * 3 / (6 + 3)

# %% 1. how many of the words said are right
answer_1 = 2 / 5

# %% 1. three words too many
answer_1 = 1.0

# %% 1. the harmonic mean
answer_1 = (2 / 5 + 2 / 2) / 2

# %% 2. the others are questions too
answer_2 = (88, 50)

# %% 2. 94 would be right if
answer_2 = (94, 50)

# %% 2. a refusal is right and scores 100
answer_2 = (44, 0)

# %% 2. a refusal gets 0 there
answer_2 = (44, 100)

# %% 3. row 0 holds a half of the answer: what
answer_3 = [10 + 48, 10 + 48 - 30, 0]

# %% 3. the columns before the text count too
answer_3 = [0, 48 - 30, 0]

# %% 3. row 1 begins with token 30
answer_3 = [0, 10 + 48, 0]

# %% 3. points at [CLS], in column 0
answer_3 = [-1, 28, -1]

# %% 3. the whole answer, and has to point at it
answer_3 = [0, 0, 0]

# %% 4. where the words recur
answer_4 = np.mean([x.answers[0] in sentences(x.context)[0] for x in dev])

# %% 4. divide by the questions
answer_4 = sum(x.starts[0] + len(x.answers[0]) <= len(sentences(x.context)[0]) for x in dev)

# %% 4. only those with an answer count
answer_4 = sum(
    x.starts[0] + len(x.answers[0]) <= len(sentences(x.context)[0]) for x in dev
) / len(leadqa["dev"])

# %% 4. stands elsewhere
answer_4 = np.mean([x.starts[0] + len(x.answers[0]) > len(sentences(x.context)[0]) for x in dev])

# %% 5. said twice, wanted four times
def answer_5(prediction, wanted):
    predicted = {*normalise_answer(prediction).split()}
    words = [{*normalise_answer(x).split()} for x in wanted]
    return max(2 * len(predicted & x) / (len(predicted) + len(x)) for x in words)

# %% 5. normalise both first
def answer_5(prediction, wanted):
    predicted, words = Counter(prediction.split()), [Counter(x.split()) for x in wanted]
    return max(2 * (predicted & x).total() / (predicted.total() + x.total()) for x in words)

# %% 5. the best match counts
def answer_5(prediction, wanted):
    predicted = Counter(normalise_answer(prediction).split())
    words = [Counter(normalise_answer(x).split()) for x in wanted]
    return np.mean([2 * (predicted & x).total() / (predicted.total() + x.total()) for x in words])

# %% 5. one word too many was said
def answer_5(prediction, wanted):
    predicted = Counter(normalise_answer(prediction).split())
    words = [Counter(normalise_answer(x).split()) for x in wanted]
    return max((predicted & x).total() / x.total() for x in words)

# %% 5. divides by zero: no word is shared
def answer_5(prediction, wanted):
    predicted = Counter(normalise_answer(prediction).split())
    words = [Counter(normalise_answer(x).split()) for x in wanted]
    both = [(predicted & x).total() for x in words]
    parts = [(n / predicted.total(), n / x.total()) for n, x in zip(both, words, strict=True)]
    return max(2 * p * r / (p + r) for p, r in parts)

# %% 6. take both models' F1 of each that is drawn
def answer_6(a, b):
    chance, n = np.random.default_rng(0), len(a)
    x, y = (z[chance.integers(0, n, (1000, n))].mean(1) for z in (a, b))
    return np.quantile(y - x, [0.025, 0.975])

# %% 6. where single questions lie
answer_6 = lambda a, b: np.quantile(b - a, [0.025, 0.975])

# %% 6. upside down
def answer_6(a, b):
    chance, n = np.random.default_rng(0), len(a)
    return np.quantile((a - b)[chance.integers(0, n, (1000, n))].mean(1), [0.025, 0.975])

# %% 6. then 2.5 and 97.5 %
def answer_6(a, b):
    chance, n = np.random.default_rng(0), len(a)
    return np.quantile((b - a)[chance.integers(0, n, (1000, n))].mean(1), [0.05, 0.95])

# %% 6. as many questions as there are
def answer_6(a, b):
    chance, n = np.random.default_rng(0), len(a)
    return np.quantile((b - a)[chance.integers(0, n, (1000, 100))].mean(1), [0.025, 0.975])
